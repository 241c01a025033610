"""The landmark tensor v1: clips are decoded as they were encoded, and broken rules are refused and named."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from signet.errors import InvalidLandmarks
from signet.landmarks import (
    HEADER_BYTES,
    JOINTS,
    PARTS,
    POSE_JOINTS,
    ClipLength,
    ClipRecord,
    Landmarks,
    dump,
    load,
    read_length,
    read_record,
)
from tests.conftest import MakeClip

Tensors = dict[str, npt.NDArray[Any]]

# Names as corpora have them, and worse: anything that JSON can hold.
_text = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=40)
_finite = st.floats(-60_000, 60_000, width=16)


@st.composite
def _clips(draw: st.DrawFn) -> Landmarks:
    frames = draw(st.integers(1, 12))
    steps = draw(st.lists(st.floats(0.001, 2.0), min_size=frames, max_size=frames))
    presence = draw(hnp.arrays(np.uint8, (frames, len(PARTS)), elements=st.integers(0, 1)))
    joints = draw(hnp.arrays(np.float16, (frames, JOINTS, 3), elements=_finite, fill=_finite))
    visibility = draw(hnp.arrays(np.float16, (frames, POSE_JOINTS), elements=st.floats(0, 1, width=16)))
    for index, where in enumerate(PARTS.values()):
        joints[presence[:, index] == 0, where] = np.nan
    record = ClipRecord(
        clip_id=draw(_text.filter(bool)),
        corpus=draw(_text),
        gloss=draw(_text),
        split=draw(st.sampled_from(["", "train", "val", "test"])),
        signer=draw(_text),
        fps=draw(st.floats(0.1, 1000)),
        width=draw(st.integers(1, 16384)),
        height=draw(st.integers(1, 16384)),
        source_sha256=draw(st.sampled_from(["", "0" * 64])),
        frame_end=frames,
        extractor=draw(_text),
        warnings=tuple(draw(st.lists(_text, max_size=2))),
    )
    return Landmarks(joints, presence, visibility, np.cumsum(steps).astype(np.float32), record)


@given(_clips())
@settings(max_examples=60, deadline=None)
def test_each_clip_is_decoded_as_it_was_encoded(clip: Landmarks) -> None:
    data = dump(clip)
    back = load(data)
    assert back.record == clip.record
    for name in ("landmarks", "presence", "visibility", "timestamps"):
        before, after = getattr(clip, name), getattr(back, name)
        assert before.dtype == after.dtype
        assert np.array_equal(before, after, equal_nan=name in {"landmarks", "visibility"})
    assert read_record(data[:HEADER_BYTES]) == clip.record
    assert dump(back) == data


def test_equal_clips_give_equal_bytes_for_any_memory_layout(make_clip: MakeClip) -> None:
    clip = make_clip()
    other = replace(clip, landmarks=np.asfortranarray(clip.landmarks), presence=clip.presence[::1].copy())
    assert dump(clip) == dump(other)


def test_a_reader_ignores_unknown_tensors(make_clip: MakeClip) -> None:
    clip = make_clip()
    tensors = _tensors(clip) | {"lips": np.zeros((clip.frames, 40, 3), np.float16)}
    assert load(_encode(tensors, clip)).record == clip.record


def test_a_record_with_fields_of_a_later_version_is_read(make_clip: MakeClip) -> None:
    clip = make_clip()
    record = clip.record.model_dump(by_alias=True) | {"camera": "left"}
    assert load(save(_tensors(clip), {"signet": json.dumps(record)})).record == clip.record


def _tensors(clip: Landmarks) -> Tensors:
    return {name: getattr(clip, name).copy() for name in ("landmarks", "presence", "visibility", "timestamps")}


def _encode(tensors: Tensors, clip: Landmarks) -> bytes:
    return save(tensors, {"signet": clip.record.model_dump_json(by_alias=True)})


def _without(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def _set(name: str, index: Any, value: float) -> Any:
    return lambda tensors: tensors[name].__setitem__(index, value)


def _retype(name: str, dtype: Any) -> Any:
    return lambda tensors: tensors.__setitem__(name, tensors[name].astype(dtype))


def _cut(name: str, index: Any) -> Any:
    return lambda tensors: tensors.__setitem__(name, np.ascontiguousarray(tensors[name][index]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_without("landmarks"), "the tensor 'landmarks' is missing"),
        (_without("presence"), "the tensor 'presence' is missing"),
        (_without("visibility"), "the tensor 'visibility' is missing"),
        (_without("timestamps"), "'timestamps' is missing|must be float16 \\[-1"),
        (_retype("landmarks", np.float32), "'landmarks' must be float16 \\[30, 75, 3\\], not float32"),
        (_retype("presence", np.int64), "'presence' must be uint8"),
        (_retype("timestamps", np.float64), "'timestamps' must be float32"),
        (_cut("landmarks", np.s_[:, :74]), "not float16 \\[30, 74, 3\\]"),
        (_cut("landmarks", np.s_[:-1]), "not float16 \\[29, 75, 3\\]"),
        (_cut("presence", np.s_[:, :2]), "not uint8 \\[30, 2\\]"),
        (_cut("visibility", np.s_[:, :1]), "not float16 \\[30, 1\\]"),
        (_set("timestamps", 3, np.nan), "finite and strictly increasing"),
        (_set("timestamps", 3, np.inf), "finite and strictly increasing"),
        (_set("timestamps", 3, 0.0), "finite and strictly increasing"),
        (_set("presence", (2, 1), 2), "0 and 1 only"),
        (_set("landmarks", (2, 5, 1), np.nan), "'pose' is present, but some"),
        (_set("landmarks", (2, 40, 0), np.inf), "'left' is present, but some"),
        (_set("presence", (2, 2), 0), "'right' is absent, but its joints are not NaN"),
    ],
)
def test_a_tensor_that_breaks_a_rule_is_refused_with_that_rule(
    make_clip: MakeClip, break_it: Any, message: str
) -> None:
    clip = make_clip()
    tensors = _tensors(clip)
    break_it(tensors)
    with pytest.raises(InvalidLandmarks, match=message) as refused:
        load(_encode(tensors, clip), "upload")
    assert str(refused.value).startswith("upload: not a landmark tensor v1")
    assert "docs/landmarks-v1.md" in str(refused.value)


def test_a_clip_without_frames_is_refused(make_clip: MakeClip) -> None:
    clip = make_clip()
    tensors = {name: tensor[:0] for name, tensor in _tensors(clip).items()}
    with pytest.raises(InvalidLandmarks, match="it has 0 frames"):
        load(_encode(tensors, clip))


def test_a_film_is_refused(make_clip: MakeClip) -> None:
    with pytest.raises(InvalidLandmarks, match="it has 36001 frames; 1 to 36000 are allowed"):
        dump(make_clip(frames=36_001, slope=0.0))


def test_a_record_that_no_reader_could_read_is_not_written(make_clip: MakeClip) -> None:
    clip = make_clip(gloss="本" * 1000)
    with pytest.raises(InvalidLandmarks, match="its header claims"):
        dump(clip)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes are too few"),
        (b"\x00" * 7, "7 bytes are too few"),
        (b"<!DOCTYPE html><html>this is no tensor at all</html>", "its header claims"),
        (struct.pack("<Q", 2**63) + b"{}", "its header claims"),
        (struct.pack("<Q", HEADER_BYTES) + b" " * HEADER_BYTES, "its header claims"),
        (struct.pack("<Q", 2) + b"{}", "carries no signet.landmarks/1 record"),
        (struct.pack("<Q", 4) + b"null", "carries no signet.landmarks/1 record"),
        (struct.pack("<Q", 4000) + b"[" * 4000, "carries no signet.landmarks/1 record"),
        (struct.pack("<Q", 6) + b"\xff\xfe\xff\xfe\xff\xfe", "carries no signet.landmarks/1 record"),
        (save({"a": np.zeros(1)}), "carries no signet.landmarks/1 record"),
        (save({"a": np.zeros(1)}, {"signet": "no json"}), "its record is not of"),
        (save({"a": np.zeros(1)}, {"signet": '{"schema": "signet.landmarks/2"}'}), "schema"),
    ],
)
def test_hostile_bytes_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InvalidLandmarks, match=message):
        load(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_id", ""),
        ("fps", 0),
        ("fps", "NaN"),
        ("height", 0),
        ("width", 99_999),
        ("frame_end", 0),
        ("source_sha256", "ABC"),
    ],
)
def test_a_record_with_an_impossible_field_is_refused_with_its_name(
    make_clip: MakeClip, field: str, value: object
) -> None:
    clip = make_clip()
    record = clip.record.model_dump(by_alias=True) | {field: value}
    with pytest.raises(InvalidLandmarks, match=field):
        load(save(_tensors(clip), {"signet": json.dumps(record)}))


def test_truncated_bytes_are_refused_at_any_length(make_clip: MakeClip) -> None:
    data = dump(make_clip(frames=3))
    for length in range(0, len(data) - 1, 37):
        with pytest.raises(InvalidLandmarks):
            load(data[:length])


@given(st.binary(max_size=200), st.integers(0, 600))
@settings(max_examples=80, deadline=None)
def test_damaged_bytes_are_always_refused(noise: bytes, where: int) -> None:
    data = bytearray(_GOOD)
    data[where : where + len(noise)] = noise
    try:
        load(bytes(data))
    except InvalidLandmarks:
        return


_GOOD = dump(
    Landmarks(
        np.zeros((2, JOINTS, 3), np.float16),
        np.ones((2, 3), np.uint8),
        np.ones((2, POSE_JOINTS), np.float16),
        np.array([0, 0.04], np.float32),
        ClipRecord(clip_id="good", fps=25, width=320, height=240, frame_end=2),
    )
)


def test_a_record_without_warnings_has_the_bytes_of_earlier_versions(make_clip: MakeClip) -> None:
    clip = make_clip()
    assert b"warnings" not in dump(clip)
    warned = replace(clip, record=clip.record.model_copy(update={"warnings": ("two people",)}))
    assert read_record(dump(warned)[:HEADER_BYTES]).warnings == ("two people",)
    assert load(dump(clip)).record.warnings == ()


@given(_clips())
@settings(max_examples=30, deadline=None)
def test_the_length_of_a_clip_is_read_without_its_tensors(clip: Landmarks) -> None:
    data = dump(clip)
    expected = ClipLength(clip.frames, float(clip.timestamps[-1]) - float(clip.timestamps[0]))
    assert read_length(data) == clip.length == load(data).length == expected


_FAULTY_TIMES: tuple[object, ...] = (
    {},
    {"data_offsets": None},
    {"data_offsets": [0]},
    {"data_offsets": [8, 4]},
    {"data_offsets": [-8, 4]},
    {"data_offsets": [0, 1 << 70]},
    {"data_offsets": [0.0, 4.0]},
    {"data_offsets": [True, "4"]},
    {"data_offsets": [0, 2]},
    [],
)


@pytest.mark.parametrize("times", _FAULTY_TIMES)
def test_a_header_without_usable_offsets_has_no_length(times: object) -> None:
    header = json.dumps({"timestamps": times}).encode()
    assert read_length(struct.pack("<Q", len(header)) + header + bytes(16)) is None


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 100, b"\x05" + bytes(7) + b"[" * 5])
def test_bytes_without_a_header_have_no_length(data: bytes) -> None:
    assert read_length(data) is None


@pytest.mark.parametrize("field", ["gloss", "split", "signer", "extractor", "clip_id", "corpus"])
def test_a_record_whose_text_forges_a_line_of_a_log_is_refused(make_clip: MakeClip, field: str) -> None:
    data = dump(make_clip(gloss="book"))
    record = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["signet"])
    for text in ("a\nINFO forged", "a\x1b[2J", "\u202egnp", "bo\u200bok", "x" * 1001 if field == "gloss" else "\0"):
        header = json.dumps({"__metadata__": {"signet": json.dumps(record | {field: text})}}).encode()
        with pytest.raises(InvalidLandmarks) as refused:
            read_record(len(header).to_bytes(8, "little") + header, "runs.safetensors")
        assert f"{field}: character " in str(refused.value) or "at most 1000" in str(refused.value)
        assert str(refused.value).isprintable()
