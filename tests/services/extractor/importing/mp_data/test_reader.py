"""Trees of the action-detection tutorial are imported: the right frames, parts, signs, splits, and notes."""

import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions, LandmarkSource
from services.extractor.importing.unlabelled import first_reading
from signet.errors import InvalidInput
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, load
from signet.store import DirectoryStore, keys
from tests.services.extractor.importing.signers import ASPECT, film, write_frames, write_tree

# Recordings and frames of each folder of samples.
SAMPLES = {"mp_data_1662": (12, 491), "mp_data_258": (12, 360), "mp_data_ragged": (1, 44)}


def _open(path: Path, **options: object) -> LandmarkSource:
    return open_source(path, ImportOptions(**options))  # type: ignore[arg-type]


def _notes(source: LandmarkSource) -> str:
    return "\n".join(source.notes)


@pytest.mark.parametrize("width", [1662, 258, 225, 126, 63])
def test_each_layout_gives_its_parts_in_frame_heights(tmp_path: Path, width: int) -> None:
    shot = film(1, both_hands=width != 63)
    write_frames(tmp_path / "data/hello/0", shot.rows(width))
    source = _open(tmp_path / "data")
    assert source.kind == "mp-data"
    (clip,) = source.clips
    assert (clip.gloss, clip.split, clip.clip_id) == ("hello", "train", "hello-0")
    landmarks = clip.read()
    scale = np.array([ASPECT, 1, ASPECT], np.float32)
    assert np.allclose(landmarks.joints[:, RIGHT_HAND], shot.hands[:, 1] * scale, atol=1e-5)
    if width == 63:
        assert np.isnan(landmarks.joints[:, LEFT_HAND]).all()
    else:
        assert np.allclose(landmarks.joints[:, LEFT_HAND], shot.hands[:, 0] * scale, atol=1e-5)
    with_pose = width in {1662, 258, 225}
    if with_pose:
        assert np.allclose(landmarks.joints[:, POSE], shot.pose[..., :3] * scale, atol=1e-5)
    assert np.isnan(landmarks.joints[:, POSE]).all() == (not with_pose)
    assert np.isfinite(landmarks.visibility).all() == (width in {1662, 258})
    assert ("the files hold no pose" in _notes(source)) == (not with_pose)


@pytest.mark.parametrize("shape", [(42, 3), (2, 21, 3), (1, 126)])
def test_hands_may_have_axes_of_their_own(tmp_path: Path, shape: tuple[int, ...]) -> None:
    shot = film(1, both_hands=True)
    folder = write_frames(tmp_path / "data/hello/0", shot.rows(126))
    for index, row in enumerate(shot.rows(126)):
        np.save(folder / f"{index}.npy", row.reshape(shape))
    (clip,) = _open(tmp_path / "data").clips
    assert np.allclose(clip.read().joints[:, RIGHT_HAND], shot.hands[:, 1] * [ASPECT, 1, ASPECT], atol=1e-5)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = film(2, frames=120).rows(258)
    write_frames(tmp_path / "data/hello/0", rows)
    (clip,) = _open(tmp_path / "data", fps=25.0).clips
    landmarks = clip.read()
    assert np.allclose(landmarks.joints[:, RIGHT_HAND.start, 1], rows[:, -63 + 1], atol=1e-6)
    assert np.allclose(landmarks.timestamps, np.arange(120) / 25)


def test_missing_frames_leave_gaps_in_time_and_faulty_frames_are_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "data/hello/0", film(2).rows())
    (folder / "7.npy").unlink()
    np.save(folder / "9.npy", np.zeros(100))
    np.save(folder / "11.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (folder / "12.npy").write_bytes((folder / "13.npy").read_bytes()[:5000])
    (folder / "14.npy").write_bytes(b"")
    source = _open(tmp_path / "data", fps=30.0)
    (clip,) = source.clips
    landmarks = clip.read()
    kept = [number for number in range(30) if number not in {7, 9, 11, 12, 14}]
    assert np.allclose(landmarks.timestamps, np.array(kept) / 30)
    notes = _notes(source)
    assert "1 frames are missing between 0 and 29" in notes
    assert "1 frames have another length: frame 9 has 100 instead of 1662 numbers" in notes
    assert "11.npy: holds Python objects" in notes
    assert "12.npy: its header declares 13296 bytes of numbers, and the file has 4872" in notes
    assert "14.npy: not a .npy file" in notes
    assert any("11.npy" in warning for warning in landmarks.warnings)


def test_absent_parts_are_absent_and_not_at_the_origin(tmp_path: Path) -> None:
    rows = film(3).rows(258)
    rows[:10, -63:] = 0
    rows[5] = 0
    write_frames(tmp_path / "data/hello/0", rows)
    (clip,) = _open(tmp_path / "data").clips
    joints = clip.read().joints
    assert np.isnan(joints[:10, RIGHT_HAND]).all()
    assert np.isfinite(joints[10:, RIGHT_HAND]).all()
    assert np.isnan(joints[5]).all()
    assert np.isnan(joints[:, LEFT_HAND]).all()


def test_a_recorder_that_lost_poses_is_noticed(tmp_path: Path) -> None:
    rows = film(3).rows(1662)
    rows[:20, :132] = 0  # in all frames, the left hand is missing
    write_frames(tmp_path / "data/hello/0", rows)
    notes = _notes(_open(tmp_path / "data"))
    assert "bad data: in 1 of 1 recordings, 20 frames have a hand and no pose, always where the left hand is" in notes


def test_folders_name_the_signs(tmp_path: Path) -> None:
    root = tmp_path / "MP_Data"
    for name in ("thank you", "i/me", "hello", "مرحبا"):
        write_frames(root / name / "0", film(len(name)).rows(258))
    np.save(root / "labels.npy", np.array(["hello", "i/me"]))
    np.save(root / "0.npy", film(9).rows(258)[0])
    source = _open(root)
    assert {clip.gloss for clip in source.clips} == {"thank you", "i/me", "hello", "مرحبا"}
    assert "1 .npy files belong to no recording: 0.npy" in _notes(source)
    assert "1 .npy files hold text, no landmarks: labels.npy" in _notes(source)
    ids = {clip.gloss: clip.clip_id for clip in source.clips}
    assert (ids["thank you"], ids["i/me"]) == ("thank-you-0", "i-me-0")
    assert all(keys.is_name(clip_id) for clip_id in ids.values())


def test_a_folder_above_or_below_the_signs_can_be_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "project/MP_Data", signs=2, takes=2, width=126)
    above = _open(tmp_path / "project")
    assert {clip.gloss for clip in above.clips} == {"sign0", "sign1"}
    sign = _open(tmp_path / "project/MP_Data/sign1")
    assert {clip.gloss for clip in sign.clips} == {"sign1"}
    (recording,) = _open(tmp_path / "project/MP_Data/sign1/0").clips
    assert recording.gloss == "sign1"


def test_uppermost_folders_named_after_splits_are_splits(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_tree(tmp_path / "data" / split, signs=2, takes=1, width=126, frames=10 + len(split))
    source = _open(tmp_path / "data")
    assert {(clip.gloss, clip.split) for clip in source.clips} == {
        (sign, split) for sign in ("sign0", "sign1") for split in ("train", "val", "test")
    }


def test_a_file_may_hold_a_whole_recording(tmp_path: Path) -> None:
    for sign in range(2):
        (tmp_path / f"data/sign{sign}").mkdir(parents=True)
        for take in range(2):
            np.save(tmp_path / f"data/sign{sign}/{take}.npy", film(sign, take).rows(258))
    source = _open(tmp_path / "data")
    assert [(clip.gloss, len(clip.read().timestamps)) for clip in source.clips] == [
        ("sign0", 30), ("sign0", 30), ("sign1", 30), ("sign1", 30),
    ]  # fmt: skip


def test_rate_size_and_signers_are_assumed_and_said(tmp_path: Path) -> None:
    equal = _open(write_tree(tmp_path / "equal", signs=2, takes=2, width=258))
    assert {(clip.fps, clip.width, clip.height) for clip in equal.clips} == {(15.0, 640, 480)}
    assert "15 frames a second are assumed" in _notes(equal)
    assert "640x480 (4:3, a webcam's) is assumed" in _notes(equal)
    assert "signers are unknown" in _notes(equal)
    write_frames(tmp_path / "equal/sign0/9", film(0, 9, 47).rows(258))
    assert {clip.fps for clip in _open(tmp_path / "equal").clips} == {30.0}
    told = _open(tmp_path / "equal", fps=12.0, aspect=16 / 9)
    assert {(clip.fps, clip.width, clip.height) for clip in told.clips} == {(12.0, 853, 480)}
    assert "assumed" not in _notes(told)
    assert told.fingerprint != equal.fingerprint


def test_a_rate_that_would_mean_unusual_movement_is_questioned(tmp_path: Path) -> None:
    source = _open(write_tree(tmp_path / "data", signs=1, takes=2, width=258), fps=None)
    assert "Check the rate" not in _notes(source)
    for take in range(2):
        shutil.rmtree(tmp_path / f"data/sign0/{take}")
        write_frames(tmp_path / f"data/sign0/{take}", film(0, take, 300).rows(258)[::10])
    assert "Check the rate" in _notes(_open(tmp_path / "data"))


def test_pixels_are_told_from_fractions(tmp_path: Path) -> None:
    shot = film(4, both_hands=True)
    rows = shot.rows(258)
    scaled = rows.copy()
    pose = scaled[:, :132].reshape(-1, 33, 4)
    hands = scaled[:, 132:].reshape(-1, 42, 3)
    pose[..., :2] *= [1280, 960]
    hands[..., :2] *= [1280, 960]
    write_frames(tmp_path / "pixels/hello/0", scaled)
    write_frames(tmp_path / "fractions/hello/0", rows)
    pixels = _open(tmp_path / "pixels", width=1280, height=960)
    assert "coordinates of 1 of 1 recordings are pixels" in _notes(pixels)
    (a,), (b,) = pixels.clips, _open(tmp_path / "fractions").clips
    assert np.allclose(a.read().joints, b.read().joints, atol=1e-4, equal_nan=True)
    # The joints reach down to y = 700.
    assert "picture size: 1280x720 is assumed" in _notes(_open(tmp_path / "pixels"))


def test_coordinates_relative_to_the_wrist_are_refused(tmp_path: Path) -> None:
    hands = film(4, both_hands=True).hands
    relative = hands - hands[:, :, :1]
    write_frames(tmp_path / "data/hello/0", relative.reshape(30, -1))
    with pytest.raises(InvalidInput, match="coordinates are relative to the wrist or to the body"):
        _open(tmp_path / "data")


def test_copies_of_a_recording_are_in_one_split_and_each_sign_has_val(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", signs=2, takes=6, width=258)
    for take in range(6):
        shot = film(0, take)
        write_frames(root / f"sign0/{take}_aug0", shot.noised(0.03).rows(258))
        write_frames(root / f"sign0/{10 + take}", shot.mirrored().rows(258))
        write_frames(root / f"sign0/{20 + take}", shot.flipped().scaled(1.1).rows(258))
    source = _open(root)
    splits = {clip.clip_id: clip.split for clip in source.clips}
    for take in range(6):
        copies = [f"sign0-{take}", f"sign0-{take}_aug0", f"sign0-{10 + take}", f"sign0-{20 + take}"]
        assert len({splits[clip_id] for clip_id in copies}) == 1, copies
    assert "24 of 30 recordings are copies of one another" in _notes(source)
    assert sum(split == "val" for clip_id, split in splits.items() if clip_id.startswith("sign0")) == 4
    assert sum(split == "val" for clip_id, split in splits.items() if clip_id.startswith("sign1")) == 1
    assert "6 of 30 recordings were mirrored after the tracking" in _notes(source)


def test_exchanged_hands_are_exchanged_back(tmp_path: Path) -> None:
    shot = film(5, both_hands=True)
    for width in (258, 126):
        rows = shot.rows(width)
        swapped = np.concatenate([rows[:, :-126], rows[:, -63:], rows[:, -126:-63]], axis=1)
        write_frames(tmp_path / f"{width}/hello/0", swapped)
        source = _open(tmp_path / str(width))
        assert "left and right hand are exchanged in 1 of 1 recordings" in _notes(source)
        (clip,) = source.clips
        assert np.allclose(clip.read().joints[:, LEFT_HAND], shot.hands[:, 0] * [ASPECT, 1, ASPECT], atol=1e-5)


def test_left_handed_recordings_are_questioned_and_mirrored_if_the_user_says_so(tmp_path: Path) -> None:
    for take in range(5):
        write_frames(tmp_path / f"data/hello/{take}", film(6, take).mirrored().rows(258))
    assert "the left hand leads in 5 of 5 recordings" in _notes(_open(tmp_path / "data"))
    said = _open(tmp_path / "data", mirrored=True)
    assert "the left hand leads" not in _notes(said)
    joints = said.clips[0].read().joints
    assert np.allclose(joints[:, RIGHT_HAND], film(6, 0).hands[:, 1] * [ASPECT, 1, ASPECT], atol=1e-5)
    assert "the left hand leads" not in _notes(_open(tmp_path / "data", mirrored=False))


def test_a_file_of_splits_gives_splits_signers_and_glosses(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", signs=2, takes=2, width=126)
    table = tmp_path / "splits.csv"
    table.write_text("clip,gloss,split,signer\nsign0/0,,test,anna\nsign1-1,book,val,ben\nnobody,,,\n")
    source = _open(root, splits=table)
    labels = {clip.clip_id: (clip.gloss, clip.split, clip.signer) for clip in source.clips}
    assert labels["sign0-0"] == ("sign0", "test", "anna")
    assert labels["sign1-1"] == ("book", "val", "ben")
    assert labels["sign0-1"] == ("sign0", "train", "")
    assert "1 lines name no clip of this corpus, for example nobody" in _notes(source)


def test_copies_are_looked_for_among_the_signs_that_a_file_of_splits_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("x/1", "y/2", "z/3"):
        write_frames(tmp_path / "data" / folder, film(1, take=int(folder[-1]) // 3).rows(258))
    (tmp_path / "splits.csv").write_text("clip,gloss\nx/1,book\ny/2,book\nz/3,book\n")
    assert "are copies" not in _notes(_open(tmp_path / "data"))
    notes = _notes(_open(tmp_path / "data", splits=tmp_path / "splits.csv"))
    assert "2 of 3 recordings are copies of one another" in notes
    monkeypatch.setattr(first_reading, "MOST_COMPARED_FRAMES", 70)
    notes = _notes(_open(tmp_path / "data", splits=tmp_path / "splits.csv"))
    assert "1 of 3 recordings are too many, or have too many frames, to compare their landmarks" in notes


def test_an_import_is_repeatable_and_stores_quality(tmp_path: Path, directory_store: DirectoryStore) -> None:
    root = write_tree(tmp_path / "data", signs=2, takes=3, width=258)
    first = run_import(_open(root), directory_store, "signs")
    assert (first.extracted, first.broken) == (6, 0)
    clip = load(directory_store.get(keys.clip("signs", "sign0-0")))
    assert clip.record.extractor.startswith("import/mp-data/")
    assert clip.record.quality is not None
    again = run_import(_open(root), directory_store, "signs")
    assert (again.extracted, again.present) == (0, 6)


def test_names_that_nobody_can_print_are_accounted_for(tmp_path: Path, directory_store: DirectoryStore) -> None:
    root = write_tree(tmp_path / "data", signs=1, takes=1, width=126, frames=8)
    for name in ("line\nbreak", os.fsdecode(b"latin1-\xe9"), "x" * 200):
        write_frames(root / "sign0" / name, film(1, frames=8).rows(126))
    (root / "sign0/0/8\n.npy").write_bytes(b"broken")
    result = run_import(_open(root), directory_store, "signs")
    assert (result.extracted, result.broken) == (2, 2)
    assert all(failure.message.isprintable() for failure in result.failures)
    clip = load(directory_store.get(keys.clip("signs", "sign0-0")))
    assert "8\\n.npy: not a .npy file" in clip.record.warnings[0]


def test_the_samples_of_real_recorders_are_imported(imports: Path) -> None:
    counts = {name: [len(clip.read().timestamps) for clip in _open(imports / name).clips] for name in SAMPLES}
    assert {name: (len(frames), sum(frames)) for name, frames in counts.items()} == SAMPLES
    assert "22 frames have a hand and no pose, always where the left hand" in _notes(_open(imports / "mp_data_ragged"))


def test_folders_without_landmarks_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data/X.npy", np.zeros((4, 30, 5)))
    with pytest.raises(InvalidInput, match=r"no landmarks of a known kind. Found: 1 .npy .*mp-data: folders <sign>"):
        _open(tmp_path / "data")
    with pytest.raises(InvalidInput, match=r"Frames with 1692, 1662, 1530, 258, 225, 126, 63 numbers can be imported"):
        open_source(tmp_path / "data", ImportOptions(), "mp-data")


def test_frames_of_other_layouts_are_not_kept_in_memory(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "data/hello/0", film(1).rows(258))
    for number in range(30, 42):
        np.save(folder / f"{number}.npy", np.zeros((1000, 1000), np.float32))
    tracemalloc.start()
    source = _open(tmp_path / "data")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "12 frames have another length: frame 30 has 1000000 instead of 258 numbers" in _notes(source)
    assert peak < 24e6
