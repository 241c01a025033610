"""One call of ExtractClipStream: a video in chunks to the extractor, and landmark tensors back.

Both clients use gRPC's calls for threads here. In a call of grpc.aio, a chunk that is being sent while the server
refuses the video replaces the status of the server by INTERNAL.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from signet.client.parts import LandmarkPart, PartJoiner, VideoSource, upload_requests
from signet.client.retries import RetriedCall
from signet.errors import SignetError


class VideoExtraction:
    """The landmark tensors of a video, as they arrive. The call begins with the first `next`.

    Args:
        method: the stub's method.
        call: the call.
        video: a path or bytes.
    """

    def __init__(self, method: Callable[..., Any], call: RetriedCall, video: VideoSource) -> None:
        self._method = method
        self._call = call
        self._video = video
        self._cancelled = threading.Event()
        self._stream: Any = None
        self._parts = self._receive()

    def __iter__(self) -> "VideoExtraction":
        return self

    def __next__(self) -> LandmarkPart:
        return next(self._parts)

    def cancel(self) -> None:
        """End the call, also while another thread waits for its next part."""
        self._cancelled.set()
        if self._stream is not None:
            self._stream.cancel()

    def _receive(self) -> Iterator[LandmarkPart]:
        with self._call as call:
            while not self._cancelled.is_set():
                upload, joiner, answered = _Upload(upload_requests(self._video)), PartJoiner(), False
                self._stream = self._method(upload, timeout=call.remaining(), metadata=call.metadata)
                try:
                    for response in self._stream:
                        answered = True
                        if (part := joiner.add(response)) is not None:
                            yield part
                    if (part := joiner.finish()) is not None:
                        yield part
                except grpc.RpcError as error:
                    if upload.failure is not None:
                        raise upload.failure from error
                    seconds = None if answered or self._cancelled.is_set() else call.wait_after(error)
                    if seconds is None:
                        raise call.to_error(error) from error
                    self._cancelled.wait(seconds)
                else:
                    return


class _Upload:
    """The messages of a video. gRPC reads them in a thread, where an error would be lost.

    After an error the messages end. The server then refuses the video, because it has fewer bytes than were announced.
    """

    def __init__(self, requests: Iterator[Any]) -> None:
        self._requests = requests
        self.failure: SignetError | None = None

    def __iter__(self) -> "_Upload":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._requests)
        except SignetError as error:
            self.failure = error
            raise StopIteration from error
