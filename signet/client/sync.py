"""The client for programs with threads."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

from signet.client.extraction import VideoExtraction
from signet.client.inputs import ClipSource, read_clip
from signet.client.options import OPTIONS, ClientOptions
from signet.client.parts import LandmarkPart, VideoChunks, VideoSource
from signet.client.results import Recognition, ServedModelStatus, statuses_from_response
from signet.client.retries import RetriedCall, RetryPolicy
from signet.client.stream_results import RecognitionEvent
from signet.client.streaming import RecognitionOptions, SignRecognition, StreamFrame
from signet.client.transcription import TranscribedVideo, TranscriptionEvent
from signet.errors import SignetError
from signet.security.credentials import ChannelSecurity, ClientSettings
from signet.telemetry.tracing import open_client_tracing
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2_grpc


class SignetClient:
    """A client of an evaluator, and of an extractor if one is named. Threads can share it.

        with SignetClient("localhost:50053") as client:
            print(client.recognise("clip.mp4").best)

    Each call has a deadline and an id. A call that a server refuses because it is busy, or that reaches no server, is
    sent again until its deadline.

    Args:
        address: host:port of the evaluator.
        extractor: host:port of an extractor, for `extract`.
        timeout: seconds until the deadline of each call. None chooses it: 60 s, and 6 s for each second of a video.
        retry: when a call is sent again.
        traces: whether each call has a span in the OpenTelemetry of this program, which the servers continue.
        security: TLS, certificates and the token: `ClientSettings(ca="ca.pem", token_file="token")`. What it does not
            give comes from the variables SIGNET_CLIENT_* of the environment.
        model_name: the model that is asked; "" for the default one of the evaluator.
        model_version: a version or an alias of it; "" for the default one of the evaluator.

    Raises:
        InvalidSetting: an address, a file or a variable cannot be used, the token would be sent without TLS, or
            OpenTelemetry is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        extractor: str = "",
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        traces: bool = False,
        security: ClientSettings | None = None,
        model_name: str = "",
        model_version: str = "",
    ) -> None:
        recorder, secured = open_client_tracing() if traces else None, ChannelSecurity(security)
        self._options = ClientOptions(
            address, extractor, timeout, retry or RetryPolicy(), recorder, secured, model_name, model_version
        )
        self._channel = secured.open_channel(address, OPTIONS)
        self._recognizer = evaluator_pb2_grpc.RecognizerStub(self._channel)
        self._extractor_channel = secured.open_channel(extractor, OPTIONS) if extractor else None
        self._extractor: Any = extractor_pb2_grpc.ExtractorStub(self._extractor_channel) if extractor else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections, and cancel the calls that are under way."""
        self._channel.close()
        if self._extractor_channel is not None:
            self._extractor_channel.close()

    def recognise(
        self,
        clip: ClipSource,
        *,
        top_k: int = 0,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> Recognition:
        """Ask which sign a clip shows.

        Args:
            clip: a path or the bytes of a video or of a landmark tensor v1, or a clip of `signet.landmarks`.
            top_k: how many glosses to return; 0 means five, or the whole vocabulary if that is smaller.
            model_name: the model; "" for that of this client.
            model_version: a version or an alias of the model; "" for that of this client.
            timeout: seconds until the deadline of this call, with all its attempts.
            request_id: the id of the call; "" makes a new one.

        Raises:
            InvalidInput: the clip cannot be used; the message names it and says what to do.
            Busy: the server has too much work, also after all attempts.
            Unavailable: there is no server, or it cannot read videos.
            DeadlineExceeded: there is no answer within the deadline.
            SignetError: the other errors of `signet.errors`. Each has the `request_id` of its call.
        """
        given = read_clip(clip)
        call = self._options.begin_recognition(given, timeout, request_id)
        request = self._options.recognize_request(given, top_k, model_name, model_version)
        with call:
            response = _send(call, self._recognizer.Recognize, request)
        return Recognition.from_response(response, call.request_id)

    def recognise_many(
        self,
        clips: Iterable[ClipSource],
        *,
        concurrency: int = 8,
        top_k: int = 0,
        timeout: float | None = None,
    ) -> Iterator[Recognition | SignetError]:
        """Recognise several clips at a time, and return their answers in the order of the clips.

        A clip that cannot be recognised gives its error in place of an answer. The others go on. At most twice
        `concurrency` clips are read ahead of the answer that is returned next.
        """

        def recognise(clip: ClipSource) -> Recognition | SignetError:
            try:
                return self.recognise(clip, top_k=top_k, timeout=timeout)
            except SignetError as error:
                return error

        waiting: deque[Future[Recognition | SignetError]] = deque()
        pool = ThreadPoolExecutor(concurrency, "signet-client")
        try:
            for clip in clips:
                waiting.append(pool.submit(recognise, clip))
                if len(waiting) >= 2 * concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def recognise_stream(
        self,
        frames: Iterable[StreamFrame],
        options: RecognitionOptions | None = None,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> Iterator[RecognitionEvent]:
        """Recognise continuous signing as it happens.

            for event in client.recognise_stream(camera_frames()):
                if isinstance(event, FinalSign):
                    print(event.gloss, event.start, event.end)

        The frames are all `LandmarkFrame` or all `ImageFrame`. A thread reads them as they are needed, so that an
        iterator may wait for a camera. The last signs come after the last frame.

        Args:
            frames: the frames with their times.
            options: how they are recognised.
            model_name: the model; "" for that of this client.
            model_version: a version or an alias of the model; "" for that of this client.
            timeout: seconds until the deadline. Default: that of this client, or none.
            request_id: the id of the call; "" makes a new one.

        Raises:
            Unavailable: there is no server, it stops, or its extractor is lost. Events before are not lost: open
                another stream for the frames that follow.
            SignetError: the other errors of `recognise`. The stream is opened again only before its first event.
        """
        options = options or RecognitionOptions()
        call, config = self._options.begin_stream(options, model_name, model_version, timeout, request_id)
        method = self._recognizer.RecognizeStream
        recognition = SignRecognition(method, call, config, frames, options.group_seconds)
        try:
            yield from recognition
        finally:
            recognition.cancel()

    def transcribe_video(
        self,
        video: VideoChunks,
        options: RecognitionOptions | None = None,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> Iterator[TranscriptionEvent]:
        """Find the signs of a whole video, and tell how far the server is.

            for event in client.transcribe_video("talk.mp4"):
                if isinstance(event, FinalSign):
                    print(event.gloss, event.start, event.end)

        The video is sent in chunks, and is never in memory as a whole. The evaluator needs an extractor, which takes a
        video of at most ten minutes and 64 MiB. If the server is busy, or is lost in the middle, the event
        `TranscriptionRetry` says so, and the video is sent again after a pause. No sign is given twice.

        Args:
            video: a path, the bytes of an encoded video file, or chunks of these bytes. Chunks cannot be sent again.
            options: how it is recognised: `hand`, `alternatives` and `threshold`.
            model_name: the model; "" for that of this client.
            model_version: a version or an alias of the model; "" for that of this client.
            timeout: seconds until the deadline of this call, with all its attempts. Default: two hours.
            request_id: the id of the call; "" makes a new one.

        Raises:
            InvalidInput: the video cannot be used; the message names it and says what to do.
            Busy: the server has too much work, also after all attempts.
            Unavailable: there is no server, it has no extractor, or it was lost, also after all attempts.
            SignetError: the other errors of `recognise`.
        """
        options = options or RecognitionOptions()
        begin = self._options.begin_transcription
        call, config = begin(video, options, model_name, model_version, timeout, request_id)
        transcription = TranscribedVideo(self._recognizer.TranscribeVideo, call, config, video)
        try:
            yield from transcription
        finally:
            transcription.cancel()

    def serving(self, model_name: str = "", *, timeout: float | None = None) -> tuple[ServedModelStatus, ...]:
        """Ask which versions the evaluator has in memory, and why it refuses others.

        Args:
            model_name: only this model; "" for all models. The default model comes first.
            timeout: seconds until the deadline of this call. Default: 10 s.

        Raises:
            SignetError: the errors of `recognise`.
        """
        request = evaluator_pb2.GetServingStatusRequest(model_name=model_name)
        with self._options.begin_question("signet.v1.Recognizer/GetServingStatus", timeout) as call:
            return statuses_from_response(_send(call, self._recognizer.GetServingStatus, request))

    def extract(
        self, video: VideoSource, *, timeout: float | None = None, request_id: str = ""
    ) -> Iterator[LandmarkPart]:
        """Have an extractor turn a video of any size that it accepts into landmark tensors.

        The video is sent in chunks, and is never in memory as a whole. A video of at most ten minutes gives one part.

        Args:
            video: a path, or the bytes of an encoded video file.
            timeout: seconds until the deadline of this call, with all its attempts. Default: two hours.
            request_id: the id of the call; "" makes a new one.

        Raises:
            InvalidInput: the video cannot be used, or the client has no address of an extractor.
            SignetError: the other errors of `recognise`. A call is not sent again after its first answer.
        """
        call = self._options.begin_extraction(video, timeout, request_id)
        extraction = VideoExtraction(self._extractor.ExtractClipStream, call, video)
        try:
            yield from extraction
        finally:
            extraction.cancel()


def _send(call: RetriedCall, method: Callable[..., Any], request: Any) -> Any:
    """Send a request, again if that can help, and return the response."""
    while True:
        try:
            return method(request, timeout=call.remaining(), metadata=call.metadata)
        except grpc.RpcError as error:
            seconds = call.wait_after(error)
            if seconds is None:
                raise call.to_error(error) from error
        time.sleep(seconds)
