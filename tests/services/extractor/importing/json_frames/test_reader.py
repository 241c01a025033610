"""JSON files with landmarks for each frame are imported in the layouts that people write."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.json_frames import reader
from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions, LandmarkSource
from signet.errors import InvalidInput
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND
from tests.services.extractor.importing.signers import ASPECT, Film, film

Frame = dict[str, object]


def _open(path: Path, **options: object) -> LandmarkSource:
    return open_source(path, ImportOptions(**options))  # type: ignore[arg-type]


def _lists(shot: Film) -> list[Frame]:
    """Frames with lists of numbers; null where a hand is absent."""
    return [
        {
            "pose": pose[:, :3].tolist(),
            "left_hand": hands[0].tolist() if hands[0].any() else None,
            "right_hand": hands[1].tolist() if hands[1].any() else [None] * 21,
        }
        for pose, hands in zip(shot.pose, shot.hands, strict=True)
    ]


def _objects(shot: Film) -> list[Frame]:
    """Frames as MediaPipe's JavaScript returns them."""

    def points(part: np.ndarray) -> list[dict[str, float]]:  # type: ignore[type-arg]
        names = ("x", "y", "z", "visibility")
        return [dict(zip(names, map(float, row), strict=False)) for row in part] if part.any() else []

    return [
        {"poseLandmarks": points(pose), "leftHandLandmarks": points(hands[0]), "rightHandLandmarks": points(hands[1])}
        for pose, hands in zip(shot.pose, shot.hands, strict=True)
    ]


LAYOUTS: dict[str, Callable[[Film], object]] = {
    "sample": lambda shot: {"sign": "book", "fps": 29.97, "frames": _lists(shot)},
    "objects": lambda shot: {"label": "book", "metadata": {"fps": 29.97}, "frames": _objects(shot)},
    "landmarks": lambda shot: {"gloss": "book", "fps": "29.97", "landmarks": _lists(shot)},
    "nested": lambda shot: {
        "word": "book",
        "fps": 29.97,
        "frames": [{"frame": i, "landmarks": frame} for i, frame in enumerate(_lists(shot))],
    },
    "hands": lambda shot: {
        "sign": "book",
        "fps": 29.97,
        "frames": [
            {"pose": frame["pose"], "hands": {"left": frame["left_hand"], "right": frame["right_hand"]}}
            for frame in _lists(shot)
        ],
    },
    "flat": lambda shot: {
        "sign": "book",
        "fps": 29.97,
        "frames": [
            {"pose": pose.ravel().tolist(), "lh": hands[0].ravel().tolist(), "rh": hands[1].ravel().tolist()}
            for pose, hands in zip(shot.pose, shot.hands, strict=True)
        ],
    },
    "numbered": lambda shot: {"sign": "book", "fps": 29.97, "frames": {str(i): f for i, f in enumerate(_lists(shot))}},
    "by part": lambda shot: {
        "sign": "book",
        "fps": 29.97,
        **{part: [frame[part] for frame in _lists(shot)] for part in ("pose", "left_hand", "right_hand")},
    },
    "by sign": lambda shot: {"book": {"fps": 29.97, "frames": _lists(shot)}},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_landmarks(tmp_path: Path, layout: str) -> None:
    shot = film(1, frames=12)
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(LAYOUTS[layout](shot)))
    source = _open(path)
    assert source.kind == "json"
    (clip,) = source.clips
    assert clip.gloss == "book"
    assert clip.fps == pytest.approx(29.97)
    landmarks = clip.read()
    scale = np.array([ASPECT, 1, ASPECT], np.float32)
    assert np.allclose(landmarks.joints[:, POSE], shot.pose[..., :3] * scale, atol=1e-5)
    assert np.allclose(landmarks.joints[:, RIGHT_HAND], shot.hands[:, 1] * scale, atol=1e-5)
    assert np.isnan(landmarks.joints[:, LEFT_HAND]).all()
    assert np.allclose(landmarks.timestamps, np.arange(12) / 29.97)


def test_a_file_may_hold_many_clips_and_a_list_of_frames(tmp_path: Path) -> None:
    clips = [
        {"sign": f"sign{sign}", "signer": f"s{sign}", "split": "dev", "frames": _lists(film(sign))} for sign in (0, 1)
    ]
    (tmp_path / "many.json").write_text(json.dumps(clips))
    source = _open(tmp_path / "many.json")
    assert [(clip.gloss, clip.signer, clip.split) for clip in source.clips] == [
        ("sign0", "s0", "val"), ("sign1", "s1", "val"),
    ]  # fmt: skip
    (tmp_path / "signs/thank you").mkdir(parents=True)
    (tmp_path / "signs/thank you/1.json").write_text(json.dumps(_objects(film(3))))
    (tmp_path / "signs/thank you/2.json").write_text(json.dumps(_objects(film(3, 1))), encoding="utf-16")
    assert [clip.gloss for clip in _open(tmp_path / "signs").clips] == ["thank you", "thank you"]
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/thank you_03.json").write_text(json.dumps(_objects(film(3))))
    assert [clip.gloss for clip in _open(tmp_path / "flat").clips] == ["thank you"]


def test_a_folder_may_hold_a_file_for_each_frame(tmp_path: Path) -> None:
    shot = film(2, frames=12)
    folder = tmp_path / "data/hello/0"
    folder.mkdir(parents=True)
    for index, frame in enumerate(_objects(shot)):
        (folder / f"frame_{index}.json").write_text(json.dumps(frame))
    (clip,) = _open(tmp_path / "data").clips
    assert clip.gloss == "hello"
    expected = shot.hands[:, 1] * [ASPECT, 1, ASPECT]
    assert np.allclose(clip.read().joints[:, RIGHT_HAND], expected, atol=1e-5)


def test_times_and_sizes_of_the_file_are_used(tmp_path: Path) -> None:
    for key, unit in (("timestamp", 1.0), ("timestamp", 1000.0), ("timestampMs", 1000.0), ("t_ms", 1000.0)):
        frames = [{key: unit * (5 + 0.1 * i**1.1), **frame} for i, frame in enumerate(_lists(film(1)))]
        (tmp_path / "clip.json").write_text(json.dumps({"sign": "a", "resolution": "1280x720", "frames": frames}))
        source = _open(tmp_path / "clip.json")
        (clip,) = source.clips
        assert np.allclose(clip.read().timestamps, 0.1 * np.arange(30) ** 1.1, atol=1e-3)
        assert (clip.width, clip.height) == (1280, 720)
        assert not any("assumed" in note for note in source.notes)


def test_pixels_are_told_from_fractions(tmp_path: Path) -> None:
    shot = film(1, both_hands=True)
    shot.pose[..., :2] *= [640, 480]
    shot.hands[..., :2] *= [640, 480]
    (tmp_path / "clip.json").write_text(json.dumps({"sign": "a", "width": 640, "height": 480, "frames": _lists(shot)}))
    source = _open(tmp_path / "clip.json")
    assert "coordinates of 1 of 1 recordings are pixels and are converted" in source.notes
    (clip,) = source.clips
    expected = film(1, both_hands=True).hands[:, 1] * [ASPECT, 1, ASPECT]
    assert np.allclose(clip.read().joints[:, RIGHT_HAND], expected, atol=1e-5)


def test_unusable_files_are_named_and_the_others_are_imported(tmp_path: Path) -> None:
    frames = _lists(film(1))
    frames[3]["pose"] = [[float("nan"), 0.5, 0.1]] * 33
    frames[4]["pose"] = [[float("inf"), 0.5, 0.1]] * 33
    frames[5]["right_hand"] = [[0.5, 0.5, 0.0]] * 20
    frames[6]["right_hand"] = [[0.5, "x", 0.0]] * 21
    (tmp_path / "good.json").write_text(json.dumps({"sign": "a", "frames": frames}))
    bad = {
        "empty.json": ("", "the file is empty"),
        "cut.json": ('{"sign": "a", "frames": [{"pose": [[0.1', "Invalid JSON"),
        "deep.json": ("[" * 100_000, "Invalid JSON"),
        "none.json": ('{"sign": "a", "frames": []}', "no frames with pose, left_hand or right_hand"),
        "openpose.json": ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "OpenPose's joints"),
        "page.json": ("<html>", "is a web page"),
        "nulls.json": ('{"frames": [{"pose": null, "left_hand": null}]}', "no frame has a pose or a hand"),
    }
    for name, (text, _) in bad.items():
        (tmp_path / name).write_text(text)
    source = _open(tmp_path)
    (clip,) = source.clips
    joints = clip.read().joints
    assert np.isnan(joints[3:5, POSE]).all()
    assert np.isnan(joints[5:7, RIGHT_HAND]).all()
    assert any("right: has 20 joints instead of 21 (1 of 30 frames)" in note for note in source.notes)
    messages = {failure.clip_id: failure.message for failure in source.failures}
    assert messages.keys() == {Path(name).stem for name in bad}
    for name, (_, says) in bad.items():
        assert says in messages[Path(name).stem]


def test_the_sample_of_a_real_recorder_is_imported(imports: Path) -> None:
    (clip,) = _open(imports / "json_per_frame").clips
    assert (clip.gloss, len(clip.read().timestamps)) == ("book", 58)
    assert clip.fps == pytest.approx(29.97, abs=0.01)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.write(b'{"frames": [{"pose": null}],' + b" " * 1000)
        file.truncate(1 << 40)
    with pytest.raises(InvalidInput, match=r"huge.json: has 1048576 MiB; at most 128 are read. Split the file"):
        _open(tmp_path / "huge.json")


def test_a_file_is_parsed_once_for_all_clips_that_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [{"sign": "a", "frames": _lists(film(1, take))} for take in range(5)]
    (tmp_path / "clips.json").write_text(json.dumps(clips))
    expected = _open(tmp_path / "clips.json")
    monkeypatch.setattr(reader, "_KEPT_BYTES", 0)
    parsed: list[Path] = []
    parse = reader._parse

    def count_and_parse(path: Path) -> object:
        parsed.append(path)
        return parse(path)

    monkeypatch.setattr(reader, "_parse", count_and_parse)
    source = _open(tmp_path / "clips.json")
    for clip, other in zip(source.clips, expected.clips, strict=True):
        np.testing.assert_array_equal(clip.read().joints, other.read().joints)
    assert source.fingerprint == expected.fingerprint
    assert len(parsed) == 2


def test_a_split_that_does_not_exist_is_said(tmp_path: Path) -> None:
    (tmp_path / "clip.json").write_text(json.dumps({"sign": "a", "split": "held out", "frames": _lists(film(1))}))
    source = _open(tmp_path / "clip.json")
    assert "clip: its split 'held out' is none of train, val, test, and is left out" in source.notes


def test_one_recording_with_impossible_pixels_does_not_change_the_others(tmp_path: Path) -> None:
    for name, scale in (("good", 640), ("bad", 50_000)):
        shot = film(1, both_hands=True)
        shot.pose[..., :2] *= [scale, scale * 0.75]
        shot.hands[..., :2] *= [scale, scale * 0.75]
        (tmp_path / f"{name}.json").write_text(json.dumps({"sign": "a", "frames": _lists(shot)}))
    source = _open(tmp_path)
    assert [(clip.width, clip.height) for clip in source.clips] == [(640, 360)]
    assert [(failure.clip_id, failure.reason) for failure in source.failures] == [("bad", "range")]
