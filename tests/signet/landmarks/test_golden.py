"""The golden files of docs/landmarks-v1.md: valid files are read as specified, invalid ones are refused by rule."""

import re
from pathlib import Path

import numpy as np
import pytest

from signet.errors import InvalidLandmarks
from signet.landmarks import HEADER_BYTES, LEFT_HAND, PARTS, dump, load, read_record
from tests.signet.landmarks.golden import generate

GOLDEN = Path(__file__).parent / "golden"
SPEC = Path(__file__).parents[3] / "docs/landmarks-v1.md"

# What a refusal says, by the rule that was broken.
REFUSALS = {
    "1.1": "not readable as safetensors|its header claims",
    "1.2": "its header claims",
    "2.1": "carries no signet.landmarks/1 record",
    "2.2": "schema",
    "2.3": "clip_id|height",
    "2.5": "gloss",
    "3.1": "'visibility' is missing",
    "3.2": "must be float16",
    "3.3": r"must be uint8 \[3, 3\]",
    "3.4": "it has 0 frames",
    "4.1": "finite and strictly increasing",
    "4.3": "span 3601 s",
    "5.1": "0 and 1 only",
    "5.2": "'right' is present",
    "5.3": "'left' is absent",
}


def names(kind: str) -> list[str]:
    return sorted(path.name for path in (GOLDEN / kind).iterdir())


def rule(name: str) -> str:
    return ".".join(name.split("-")[:2])


def test_the_golden_files_equal_those_of_the_generator() -> None:
    written = {path.relative_to(GOLDEN).as_posix(): path.read_bytes() for path in GOLDEN.rglob("*.safetensors")}
    assert written == generate.files()


@pytest.mark.parametrize("name", names("valid"))
def test_a_valid_file_is_read_as_the_spec_says(name: str) -> None:
    data = (GOLDEN / "valid" / name).read_bytes()
    clip = load(data, name)
    expected = {key: tensor[: clip.frames] for key, tensor in generate.tensors().items()}
    for key, tensor in expected.items():
        np.testing.assert_array_equal(getattr(clip, key), tensor)
    assert read_record(data[:HEADER_BYTES]) == clip.record
    assert clip.record.schema_version == "signet.landmarks/1"
    for index, where in enumerate(PARTS.values()):
        there = np.isfinite(clip.landmarks[:, where]).all(axis=(1, 2))
        np.testing.assert_array_equal(there, clip.presence[:, index] == 1)


def test_joints_are_at_the_places_of_the_spec() -> None:
    clip = load((GOLDEN / "valid/three-frames.safetensors").read_bytes())
    wrist = clip.landmarks[0, LEFT_HAND][0]
    assert wrist.tolist() == [33 / 64, 33 / 64 + 1 / 4, 33 / 64 + 2 / 4]


def test_fields_that_may_be_left_out_have_the_defaults_of_the_spec() -> None:
    record = load((GOLDEN / "valid/minimal-record.safetensors").read_bytes()).record
    assert (record.corpus, record.gloss, record.split, record.signer, record.extractor) == ("", "", "", "", "")
    assert (record.source_sha256, record.frame_start) == ("", 1)


def test_our_encoder_writes_the_same_file() -> None:
    data = (GOLDEN / "valid/three-frames.safetensors").read_bytes()
    assert dump(load(data)) == data


@pytest.mark.parametrize("name", names("invalid"))
def test_an_invalid_file_is_refused_by_the_rule_that_it_breaks(name: str) -> None:
    with pytest.raises(InvalidLandmarks, match=REFUSALS[rule(name)]):
        load((GOLDEN / "invalid" / name).read_bytes(), name)


def test_every_rule_that_a_reader_must_check_has_a_file_that_breaks_it() -> None:
    checked = set(re.findall(r"^\*\*(\d\.\d)\*\* \(checked\)", SPEC.read_text(), re.MULTILINE))
    assert checked == {rule(name) for name in names("invalid")} == set(REFUSALS)
