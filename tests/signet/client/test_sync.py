"""Both clients at real servers. The tests of what they share run for each of them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from services.evaluator.__main__ import evaluator
from signet import landmarks
from signet.client import LandmarkPart, SignetClient
from signet.errors import InvalidInput, InvalidLandmarks, NotFound, SignetError, Unavailable
from tests.servers import extractor, listening
from tests.services.evaluator.conftest import GLOSSES, World, everyday_clips, make_clip, place_of

if TYPE_CHECKING:
    from tests.signet.client.conftest import Caller


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An evaluator that serves a model of six glosses, and has no extractor."""
    world = World(tmp_path_factory.mktemp("world"))
    world.publish(world.snapshot(everyday_clips()))
    with listening(lambda: evaluator(world.settings())) as address:
        yield address


def _clip(gloss: str) -> landmarks.Landmarks:
    return make_clip("new", "", place_of(GLOSSES.index(gloss), len(GLOSSES)), frames=40)


def test_a_clip_is_recognised_as_an_object_as_bytes_and_as_a_file(
    caller: "Caller", address: str, tmp_path: Path
) -> None:
    clip = _clip("drink")
    path = tmp_path / "clip.safetensors"
    path.write_bytes(landmarks.dump(clip))
    for source in (clip, landmarks.dump(clip), path, str(path)):
        answer = caller.recognise(address, source, top_k=3)
        assert answer.best is not None
        assert answer.best.gloss == "drink"
        assert len(answer.predictions) == 3
        assert answer.moment is not None
        assert answer.nothing_signed is None
        assert (answer.model_name, answer.vocabulary_size) == ("signet", 6)
        assert 0 < answer.timing.total_seconds < 5
        assert len(answer.request_id) == 36


def test_a_call_can_name_its_model_and_version(caller: "Caller", address: str) -> None:
    status, *_ = caller.serving(address)  # and those of earlier calls
    assert (status.model_name, status.alias, status.is_default, status.reason) == ("signet", "latest", True, "")
    answer = caller.recognise(address, _clip("go"), model=("signet", status.model_version))
    assert answer.model_version == status.model_version
    assert caller.recognise(address, _clip("go"), model_name="other", model=("signet", "")).best is not None
    with pytest.raises(NotFound, match="other"):
        caller.recognise(address, _clip("go"), model_name="other")
    with pytest.raises(NotFound, match="other"):
        caller.recognise(address, _clip("go"), model=("other", ""))
    with pytest.raises(NotFound, match="nothing"):
        caller.recognise(address, _clip("go"), model=("", "nothing"))
    assert "latest" in {status.alias for status in caller.serving(address, "signet")}


def test_nothing_signed_has_a_reason_and_no_prediction(caller: "Caller", address: str) -> None:
    answer = caller.recognise(address, make_clip("still", "", None))
    assert answer.best is None
    assert answer.nothing_signed == "no hand found"


def test_errors_name_the_file_of_the_clip(caller: "Caller", address: str, tmp_path: Path) -> None:
    path = tmp_path / "page.safetensors"
    path.write_bytes(b"<html>")
    with pytest.raises(InvalidInput, match=r"page\.safetensors: landmarks: not a landmark tensor"):
        caller.recognise(address, path)
    with pytest.raises(InvalidInput, match="knows 6 glosses"):
        caller.recognise(address, _clip("go"), top_k=7)
    with pytest.raises(InvalidInput, match="top_k=-1"):
        caller.recognise(address, _clip("go"), top_k=-1)
    with pytest.raises(Unavailable, match="has no extractor"):
        caller.recognise(address, b"a video")


def test_several_clips_are_answered_in_their_order(caller: "Caller", address: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"<html>")
    clips: list[Any] = [_clip(GLOSSES[number % 6]) for number in range(30)]
    clips[7], clips[9] = broken, tmp_path / "missing.mp4"
    answers = caller.recognise_many(address, clips, concurrency=4)
    assert len(answers) == 30
    for number, answer in enumerate(answers):
        if number in {7, 9}:
            assert isinstance(answer, InvalidInput)
            assert str(answer).startswith(str(clips[number]))
        else:
            assert not isinstance(answer, SignetError)
            assert answer.best is not None
            assert answer.best.gloss == GLOSSES[number % 6]


def test_only_so_many_clips_are_recognised_at_a_time(caller: "Caller", scripted: Any) -> None:
    scripted.seconds = 0.05
    answers = caller.recognise_many(scripted.address, [str(number).encode() for number in range(12)], concurrency=3)
    assert [answer.best.gloss for answer in answers] == [str(number) for number in range(12)]  # type: ignore[union-attr]
    assert scripted.most_busy == 3


def test_clips_are_read_only_as_they_are_needed(scripted: Any) -> None:
    read = []

    def clips() -> Iterator[bytes]:
        for number in range(1000):
            read.append(number)
            yield b"book"

    with SignetClient(scripted.address) as client:
        answers = client.recognise_many(clips(), concurrency=2)
        next(answers)
        assert len(read) == 4
        answers.close()  # type: ignore[attr-defined]
    assert len(read) == 4


def test_a_video_is_sent_in_chunks_and_its_parts_are_joined(caller: "Caller", scripted: Any, tmp_path: Path) -> None:
    video = bytes(range(256)) * 4096 * 3 + b"end"  # 3 MiB and three bytes
    path = tmp_path / "long.mp4"
    path.write_bytes(video)
    for source in (video, path, str(path)):
        scripted.script = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", {})]
        parts = caller.extract(scripted.address, source)
        assert parts == [LandmarkPart(0, b"one two"), LandmarkPart(1, b"one two")]
        assert scripted.videos.pop() == video
    with pytest.raises(InvalidLandmarks, match="part 1"):
        parts[1].landmarks()


def test_a_video_that_cannot_be_read_is_an_error_of_its_file(caller: "Caller", scripted: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.mp4: cannot be read"):
        caller.extract(scripted.address, tmp_path / "none.mp4")
    with pytest.raises(InvalidInput, match=r"cannot be read \(Is a directory"):  # found while it is sent
        caller.extract(scripted.address, tmp_path)
    scripted.script = [(grpc.StatusCode.INVALID_ARGUMENT, "video: not a video.", {})]
    path = tmp_path / "page.mp4"
    path.write_bytes(b"<html>")
    with pytest.raises(InvalidInput, match=r"page\.mp4: not a video\."):
        caller.extract(scripted.address, path)
    with pytest.raises(InvalidInput, match="no address of an extractor"):
        caller.extract(scripted.address, path, extractor="")


def test_a_page_named_mp4_is_refused_by_a_real_extractor(
    caller: "Caller", tmp_path: Path, directory_store: Any
) -> None:
    path = tmp_path / "page.mp4"
    path.write_bytes(b"<html><body>404</body></html>")
    with listening(lambda: extractor(directory_store, tmp_path / "wlasl")) as address:
        began = time.monotonic()
        with pytest.raises(InvalidInput, match=r"page\.mp4: .*web page") as caught:
            caller.extract(address, path)
        assert caught.value.request_id
        assert time.monotonic() - began < 20
