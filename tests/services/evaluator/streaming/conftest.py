"""Streams of made signing, and a stand-in for the extractor."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from signet.v1 import extractor_pb2, extractor_pb2_grpc
from signet.v1.evaluator_pb2 import RecognizeStreamRequest, StreamConfig
from signet.v1.streaming_pb2 import EncodedImage, LandmarkFrames, RefusedImage
from tests.services.evaluator.conftest import GLOSSES, make_clip, place_of

FRAME_SECONDS = 1 / 30
Joints = npt.NDArray[np.float16]


def signing(glosses: Sequence[str]) -> Joints:
    """Frames [n, 75, 3] in which these glosses are signed one after the other, with rests, 30 a second."""
    clips = [
        make_clip(f"{number} {gloss}", gloss, place_of(GLOSSES.index(gloss), len(GLOSSES)), frames=45).landmarks
        for number, gloss in enumerate(glosses)
    ]
    return np.concatenate(clips)


def config(**fields: Any) -> RecognizeStreamRequest:
    """The first message."""
    return RecognizeStreamRequest(config=StreamConfig(**fields))


def frames(joints: Joints, start: int = 0, origin: float = 100.0, kind: str = "float16") -> RecognizeStreamRequest:
    """A message with frames. The first one is the frame `start` of the stream."""
    seconds = [origin + (start + number) * FRAME_SECONDS for number in range(len(joints))]
    return RecognizeStreamRequest(frames=LandmarkFrames(seconds=seconds, **{kind: joints.astype(kind).tobytes()}))


def groups(joints: Joints, size: int = 3) -> Iterator[RecognizeStreamRequest]:
    """All frames in groups."""
    for start in range(0, len(joints), size):
        yield frames(joints[start : start + size], start)


def picture(joints: Joints, start: int) -> RecognizeStreamRequest:
    """A picture of one frame, as `StandInExtractor` reads it."""
    return RecognizeStreamRequest(image=EncodedImage(seconds=100 + start * FRAME_SECONDS, data=joints.tobytes()))


class StandInExtractor(extractor_pb2_grpc.ExtractorServicer):
    """Takes the bytes of a picture for its landmarks. `b"bad"` is refused; `busy` refuses streams."""

    def __init__(self, *, busy: bool = False) -> None:
        self._busy = busy

    def ExtractStream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """Answer each picture."""
        next(requests)
        if self._busy:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "10000"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no place is free")
        yield extractor_pb2.ExtractStreamResponse(started=extractor_pb2.ExtractStreamStarted())
        for request in requests:
            image = request.image
            response = extractor_pb2.ExtractStreamResponse()
            if image.data == b"bad":
                response.refused.CopyFrom(RefusedImage(seconds=image.seconds, reason="html", message="a web page"))
            else:
                response.landmarks.CopyFrom(LandmarkFrames(seconds=[image.seconds], float16=image.data))
            yield response
        yield extractor_pb2.ExtractStreamResponse(ended=extractor_pb2.ExtractStreamEnded(), skipped=20)

    def ExtractClipStream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """Take the chunks for a landmark tensor, and give it back in two pieces."""
        received = list(requests)
        data = b"".join(request.chunk for request in received)
        if data.startswith(b"bad"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "video: a web page, no video")
        if received[0].progress:
            time.sleep(0.6)
            yield extractor_pb2.ExtractClipStreamResponse(tracked_share=0.25)
        for half in (data[:1000], data[1000:]):
            time.sleep(0.7)
            yield extractor_pb2.ExtractClipStreamResponse(landmarks=half)
