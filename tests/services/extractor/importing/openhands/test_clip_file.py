"""Clips of OpenHands."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.openhands.clip_file import read_clip_file
from services.extractor.importing.source import FrameSize
from services.extractor.importing.unlabelled.raw import to_joints
from signet.errors import ClipError
from tests.services.extractor.foreign_files import openhands_arrays, sign
from tests.services.extractor.importing.openhands.test_safe_pickle import Command


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_parts_that_were_not_found_are_absent(tmp_path: Path) -> None:
    joints = sign(5)
    joints[1, 33:54] = np.nan
    joints[2, :33] = np.nan
    raw = read_clip_file(write_pickle(tmp_path / "1.pkl", openhands_arrays(joints, 1.5)))
    np.testing.assert_allclose(to_joints(raw, 1.5), joints, atol=1e-5)
    np.testing.assert_array_equal(raw.visibility[0], 1)
    assert (raw.fps, raw.size) == (None, None)


def _lists(joints: np.ndarray) -> Mapping[str, object]:  # type: ignore[type-arg]
    return {name: array.tolist() for name, array in openhands_arrays(joints, 1.0).items()}


def _with_face(joints: np.ndarray) -> Mapping[str, object]:  # type: ignore[type-arg]
    arrays = openhands_arrays(joints, 1.0)
    face = np.zeros((len(joints), 468, 3))
    return {
        "keypoints": np.concatenate([arrays["keypoints"][:, :33], face, arrays["keypoints"][:, 33:]], axis=1),
        "confidences": np.concatenate([arrays["confidences"][:, :33], face[..., 0], arrays["confidences"][:, 33:]], 1),
    }


def _with_size(joints: np.ndarray) -> Mapping[str, object]:  # type: ignore[type-arg]
    arrays = openhands_arrays(joints, 1.0)
    return arrays | {"confidences": arrays["confidences"][..., None], "vid_width": np.int64(640), "vid_height": 480}


@pytest.mark.parametrize("variant", [_lists, _with_face, _with_size])
def test_variants_have_the_same_landmarks(tmp_path: Path, variant: object) -> None:
    joints = sign(4)
    raw = read_clip_file(write_pickle(tmp_path / "1.pkl", variant(joints)))  # type: ignore[operator]
    np.testing.assert_allclose(to_joints(raw, 1.0), joints, atol=1e-5)
    assert raw.size == (FrameSize(640, 480) if variant is _with_size else None)


def test_the_selection_of_59_points_gets_its_wrists_from_the_hands(tmp_path: Path) -> None:
    joints = sign(3)
    chosen = [*range(15), 23, 24, *range(33, 75)]
    arrays = {name: array[:, chosen] for name, array in openhands_arrays(joints, 1.0).items()}
    raw = read_clip_file(write_pickle(tmp_path / "1.pkl", arrays))
    np.testing.assert_allclose(raw.pose[:, :15], joints[:, :15], atol=1e-5)
    np.testing.assert_allclose(raw.pose[:, 15:17, :2], joints[:, [33, 54], :2], atol=1e-5)
    np.testing.assert_array_equal(raw.visibility[:, 15:17], 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param([1, 2], "holds list. OpenHands writes a dictionary", id="list"),
        pytest.param({"pose": 1}, "holds a dictionary of pose", id="other entries"),
        pytest.param({"keypoints": np.zeros((3, 27, 3))}, "10 of the 21 joints of a hand", id="27 points"),
        pytest.param({"keypoints": np.zeros((3, 17, 3))}, "keypoints have 17 points", id="17 points"),
        pytest.param({"keypoints": np.zeros((3, 75))}, r"not \[3, 75\]", id="two dimensions"),
        pytest.param({"keypoints": np.zeros((0, 75, 3))}, "has 0 frames", id="no frames"),
        pytest.param({"keypoints": np.zeros((36_001, 75, 2), np.int8)}, "has 36001 frames", id="too long"),
        pytest.param({"keypoints": np.zeros((3, 75, 3)), "confidences": np.zeros((3, 7))}, "confidences", id="shapes"),
        pytest.param({"keypoints": [[["a"]]]}, "must hold numbers", id="texts"),
        pytest.param({"keypoints": [[[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]]]}, "different lengths", id="ragged"),
        pytest.param({"keypoints": 5}, "must be an array", id="number"),
    ],
)
def test_other_content_is_refused_with_its_name(tmp_path: Path, content: object, says: str) -> None:
    path = write_pickle(tmp_path / "bad.pkl", content)
    with pytest.raises(ClipError, match=says) as raised:
        read_clip_file(path)
    assert str(path) in str(raised.value)


def test_a_hostile_pickle_is_refused_and_nothing_is_executed(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "bad.pkl", {"keypoints": Command(tmp_path / "written")})
    with pytest.raises(ClipError, match=r"posix\.system.*Nothing of the file was executed"):
        read_clip_file(path)
    assert not (tmp_path / "written").exists()
    for content, says in ((b"", "is empty"), (b"<html>", "not a whole pickle"), (b"\x80\x04", "not a whole pickle")):
        path.write_bytes(content)
        with pytest.raises(ClipError, match=says):
            read_clip_file(path)


def test_numbers_and_repeated_arrays_that_are_too_large_are_faults_of_their_clip(tmp_path: Path) -> None:
    huge = write_pickle(tmp_path / "1.pkl", {"keypoints": [[[10**400, 1, 1]] * 75] * 3})
    with pytest.raises(ClipError, match=r"1\.pkl.*too large"):
        read_clip_file(huge)
    frame = np.zeros((1000, 3), np.float32)
    repeated = write_pickle(tmp_path / "2.pkl", {"keypoints": [frame] * 20_000})
    with pytest.raises(ClipError, match="more than 10800000 values"):
        read_clip_file(repeated)
