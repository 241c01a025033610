"""Attacks by videos: in calls of the extractor, and through the evaluator."""

from bench.hostile.attacker import Attack, Attacker
from bench.hostile.messages import EXTRACT_CLIP, RECOGNIZE
from bench.hostile.videos import bombs, large_pictures
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.v1 import evaluator_pb2, extractor_pb2

_BOTH = ("extractor", "evaluator")


def _extract(video: bytes, clip_id: str = "hostile") -> tuple[str, bytes]:
    return EXTRACT_CLIP, extractor_pb2.ExtractClipRequest(video=video, clip_id=clip_id).SerializeToString()


def _recognize(video: bytes) -> tuple[str, bytes]:
    return RECOGNIZE, evaluator_pb2.RecognizeRequest(video=video).SerializeToString()


def _video_bombs(attacker: Attacker) -> None:
    videos = bombs(attacker.target.video)
    attacker.begin()
    attacker.flood("extractor", [_extract(video, name) for name, video in videos.items()], at_once=4)


def _video_bombs_recognized(attacker: Attacker) -> None:
    videos = bombs(attacker.target.video)
    attacker.begin()
    attacker.flood("evaluator", [_recognize(video) for video in videos.values()], at_once=4)


def _large_pictures(attacker: Attacker) -> None:
    request = _extract(large_pictures())
    attacker.begin()
    attacker.flood("extractor", [request], at_once=4, most=4)


def _large_videos(attacker: Attacker) -> None:
    """Valid videos with 30 MB after them, and as many bytes as a message has that only begin as a video."""
    videos = [attacker.target.video + bytes(30_000_000), attacker.target.video[:100] + bytes(MAX_MESSAGE_BYTES - 100)]
    attacker.flood("extractor", [_extract(video) for video in videos], at_once=16)


def _many_clips(attacker: Attacker) -> None:
    attacker.flood("extractor", [_extract(attacker.target.video)], at_once=100)


def _many_clips_recognized(attacker: Attacker) -> None:
    attacker.flood("evaluator", [_recognize(attacker.target.video + bytes(20_000_000))], at_once=20)


ATTACKS = {
    "video-bombs": Attack(
        "small files that request gigabytes, and files that are no video, 4 at once", _video_bombs, ("extractor",),
        ("ExtractClip",), 12,
    ),
    "video-bombs-recognized": Attack(
        "the same files in Recognize calls", _video_bombs_recognized, _BOTH, ("Recognize",), 10
    ),
    "large-pictures": Attack(
        "4 clips of 300 frames of 4096x2304 pixels at once", _large_pictures, ("extractor",), ("ExtractClip",), 20
    ),
    "large-videos": Attack(
        "16 calls at once with the largest message, of which a video is the beginning", _large_videos, ("extractor",),
        ("ExtractClip",), 12,
    ),
    "many-clips": Attack("100 good clips at once", _many_clips, ("extractor",), ("ExtractClip",), 15),
    "many-clips-recognized": Attack(
        "20 Recognize calls at once with a good clip and 20 MB after it", _many_clips_recognized, _BOTH, seconds=10
    ),
}  # fmt: skip
