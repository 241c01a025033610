"""Each instance of the metadata is judged by itself, and other layouts are named."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extractor.sources.instances import NO_BOX, Instance, InstanceList
from services.extractor.sources.metadata import parse_metadata
from signet.errors import InvalidInput

GOOD = {
    "video_id": "00335", "split": "val", "signer_id": 7, "frame_start": 10, "frame_end": 60, "fps": 25,
    "bbox": [1, 2, 30, 40], "source": "asl5200", "url": "https://youtu.be/0UsjUE-TXns",
}  # fmt: skip
OTHER = GOOD | {"video_id": "00336", "split": "train"}
READ = Instance(
    "00335", "book", "val", "7", 10, 60, "asl5200", (1, 2, 30, 40), 25.0, "https://youtu.be/0UsjUE-TXns"
)  # fmt: skip


def read(*instances: object, gloss: object = "book") -> InstanceList:
    return parse_metadata(json.dumps([{"gloss": gloss, "instances": instances}]).encode(), "w.json")


def test_an_instance_is_read() -> None:
    assert read(GOOD) == InstanceList((READ,))


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("signer_id", None, "signer", ""),
        ("signer_id", "null", "signer", ""),
        ("signer_id", -1, "signer", ""),
        ("signer_id", [], "signer", ""),
        ("bbox", [1.5, 2.5, 300.2, 400.9], "box", NO_BOX),
        ("bbox", [1, 2, 3], "box", NO_BOX),
        ("bbox", "x", "box", NO_BOX),
        ("bbox", {"left": 1}, "box", NO_BOX),
        ("split", "supplement", "split", ""),
        ("split", None, "split", ""),
        ("split", 3, "split", ""),
        ("fps", None, "fps", 0.0),
        ("fps", "fast", "fps", 0.0),
        ("fps", 0, "fps", 0.0),
    ],
)
def test_a_field_that_cannot_be_used_is_unknown_and_said_once(
    field: str, value: object, attribute: str, expected: object
) -> None:
    metadata = read(GOOD | {field: value}, OTHER | {field: value})
    assert [getattr(instance, attribute) for instance in metadata.instances] == [expected] * 2
    assert [instance.frame_end for instance in metadata.instances] == [60, 60]
    (note,) = metadata.notes
    assert note.startswith(f"w.json: {field} is unknown")
    assert "in 2 instances, for example 00335" in note


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("signer_id", "7", "signer", "7"),
        ("signer_id", 7.0, "signer", "7"),
        ("frame_start", "10", "frame_start", 10),
        ("frame_start", 10.0, "frame_start", 10),
        ("frame_start", 0, "frame_start", 1),
        ("frame_start", None, "frame_start", 1),
        ("frame_end", "60", "frame_end", 60),
        ("frame_end", None, "frame_end", -1),
        ("frame_end", 0, "frame_end", -1),
        ("fps", "29,97", "fps", 29.97),
        ("bbox", ["1", "2", "30", "40.0"], "box", (1, 2, 30, 40)),
        ("bbox", None, "box", NO_BOX),
        ("bbox", [], "box", NO_BOX),
        ("video_id", 12345, "clip_id", "12345"),
        ("video_id", 12345.0, "clip_id", "12345"),
        ("video_id", " 12345 ", "clip_id", "12345"),
        ("source", None, "source", ""),
        ("url", 5, "url", ""),
    ],
)
def test_numbers_and_texts_are_read_in_every_usual_form(
    field: str, value: object, attribute: str, expected: object
) -> None:
    metadata = read(GOOD | {field: value})
    assert getattr(metadata.instances[0], attribute) == expected
    assert metadata.notes == ()


def test_a_rate_is_needed_only_where_frames_are_numbered() -> None:
    whole = GOOD | {"fps": None, "frame_start": 1, "frame_end": -1}
    assert read(whole).notes == ()
    assert "frames are counted at 25 per second" in read(GOOD | {"fps": None}).notes[0]


@pytest.mark.parametrize(
    ("written", "split"),
    [("dev", "val"), ("Dev ", "val"), ("validation", "val"), ("valid", "val"), ("TRAIN", "train"), ("testing", "test")],
)
def test_other_names_of_a_split_are_understood_and_said_once(written: str, split: str) -> None:
    metadata = read(GOOD | {"split": written}, OTHER | {"split": written})
    assert {instance.split for instance in metadata.instances} == {split}
    assert metadata.notes == (f"w.json: split {written!r} is read as {split!r} in 2 instances, for example 00335",)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (GOOD | {"video_id": None}, "the video_id is missing or no text: entry 1 (book), instance 1 (null)"),
        (GOOD | {"video_id": "../../etc/x"}, "dashes and underscores: ../../etc/x ('../../etc/x')"),
        (GOOD | {"frame_start": "first"}, "frame_start is not a whole number: 00335 ('first')"),
        (GOOD | {"frame_end": 60.5}, "frame_end is not a whole number: 00335 (60.5)"),
        (GOOD | {"frame_end": True}, "frame_end is not a whole number: 00335 (True)"),
        (GOOD | {"frame_end": 10**400}, "frame_end is not a whole number: 00335 (1000"),
        ("00335", "an instance is no object: entry 1 (book), instance 1 ('00335')"),
        (None, "an instance is no object: entry 1 (book), instance 1 (null)"),
    ],
)
def test_an_instance_that_cannot_be_used_is_left_out_and_named_with_the_reason(broken: object, says: str) -> None:
    metadata = read(broken, OTHER)
    assert [instance.clip_id for instance in metadata.instances] == ["00336"]
    (note,) = metadata.notes
    assert note.startswith("w.json: 1 instance left out, because ")
    assert says in note


@pytest.mark.parametrize("gloss", [None, "", "  ", [], True, "caf\ufffd"])
def test_an_entry_without_a_usable_gloss_is_left_out_and_its_instances_are_counted(gloss: object) -> None:
    entries = [{"gloss": gloss, "instances": [GOOD, GOOD | {"video_id": "1"}]}, {"gloss": " go ", "instances": [OTHER]}]
    metadata = parse_metadata(json.dumps(entries).encode(), "w.json")
    assert [(instance.clip_id, instance.gloss) for instance in metadata.instances] == [("00336", "go")]
    (note,) = metadata.notes
    assert note.startswith("w.json: 2 instances left out, because the gloss")
    assert "entry 1" in note


def test_bytes_of_another_encoding_spoil_only_the_gloss_that_has_them() -> None:
    text = json.dumps(
        [{"gloss": "café", "instances": [GOOD]}, {"gloss": "go", "instances": [OTHER]}], ensure_ascii=False
    )
    metadata = parse_metadata(text.encode("cp1252"), "w.json")
    assert [instance.gloss for instance in metadata.instances] == ["go"]
    assert "save the file as UTF-8" in metadata.notes[0]


def test_of_an_id_that_is_listed_twice_the_first_instance_is_used() -> None:
    metadata = read(GOOD, GOOD | {"frame_end": 50}, OTHER)
    assert [(instance.clip_id, instance.frame_end) for instance in metadata.instances] == [
        ("00335", 60),
        ("00336", 60),
    ]
    assert "1 instance left out, because the video_id is listed more than once" in metadata.notes[0]


def test_an_id_with_two_glosses_or_splits_is_left_out() -> None:
    entries = [{"gloss": "book", "instances": [GOOD, OTHER]}, {"gloss": "go", "instances": [GOOD]}]
    metadata = parse_metadata(json.dumps(entries).encode(), "w.json")
    assert [instance.clip_id for instance in metadata.instances] == ["00336"]
    assert "2 instances left out, because the same video_id has different glosses or splits: 00335" in metadata.notes[0]
    assert read(GOOD, GOOD | {"split": "train"}, OTHER).instances[0].clip_id == "00336"


def test_a_long_or_deep_value_is_shortened_in_the_note() -> None:
    deep = json.loads("[" * 300 + "]" * 300)
    for broken in (GOOD | {"video_id": "x" * 100_000}, GOOD | {"frame_end": deep}, GOOD | {"frame_start": "9" * 9000}):
        metadata = read(OTHER, broken)
        assert len(metadata.instances) == 1
        assert len(metadata.notes[0]) < 300
    with pytest.raises(InvalidInput, match="the gloss is too long") as refused:
        read(OTHER, gloss="g" * 100_000)
    assert len(str(refused.value)) < 600


def test_many_faults_are_counted_and_some_of_them_named() -> None:
    metadata = read(OTHER, *[GOOD | {"video_id": f"{number}/"} for number in range(500)])
    (note,) = metadata.notes
    assert note.startswith("w.json: 500 instances left out")
    assert note.endswith("19/ ('19/') and 480 more")


@pytest.mark.parametrize(
    ("root", "says"),
    [
        (
            [{"org_text": "match", "clean_text": "match", "start_time": 0.0, "end_time": 2.767, "signer_id": 0,
              "signer": 0, "start": 0, "end": 83, "file": "x", "label": 830, "height": 360.0, "fps": 30.0, "url": "u",
              "text": "match", "box": [0.1, 0.2, 1.0, 0.8], "width": 640.0}],
            "has the layout of MS-ASL",
        ),
        ({"05237": {"subset": "train", "action": [77, 1, 55]}}, "has the layout of nslt_100.json"),
        (["hello", "nice"], "is a list of names, such as MSASL_classes.json"),
        ({"book": ["00335"]}, "has an unknown layout"),
        (5, "has an unknown layout"),
        (None, "has an unknown layout"),
        ([[1]], "has an unknown layout"),
        ({}, "has an unknown layout"),
    ],
)  # fmt: skip
def test_another_layout_is_named_with_the_one_that_is_read(root: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=r"w\.json: ") as caught:
        parse_metadata(json.dumps(root).encode(), "w.json")
    assert says in str(caught.value)
    assert "Signet reads the layout of WLASL_v0.3.json" in str(caught.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(GOOD)), _VALUES) | _VALUES, max_size=4), _VALUES)
def test_no_value_of_a_field_refuses_the_other_instances(broken: list[object], gloss: object) -> None:
    entries = [
        {
            "gloss": "go",
            "instances": [*(entry | {"video_id": "x"} if isinstance(entry, dict) else entry for entry in broken)],
        },
        {"gloss": gloss, "instances": broken},
        {"gloss": "book", "instances": [GOOD | {"video_id": "the-good-one"}]},
    ]
    metadata = parse_metadata(json.dumps(entries).encode(), "w.json")
    assert "the-good-one" in {instance.clip_id for instance in metadata.instances}


@pytest.mark.clips
@pytest.mark.parametrize(
    ("folder", "note"),
    [
        ("06_one_bad_field_refuses_all_float_bbox", "bbox is unknown in 1 instance, for example 24946"),
        ("06_one_bad_field_refuses_all_null_signer", "signer_id is unknown in 1 instance, for example 24946 (null)"),
    ],
)
def test_one_bad_field_does_not_refuse_the_file(faults: Path, folder: str, note: str) -> None:
    metadata = parse_metadata((faults / folder / "WLASL_v0.3.json").read_bytes(), "w.json")
    assert [instance.clip_id for instance in metadata.instances] == ["24946", "08918", "64211"]
    assert len(metadata.notes) == 1
    assert note in metadata.notes[0]


@pytest.mark.clips
def test_metadata_that_a_windows_program_saved_is_read(faults: Path, wlasl: Path) -> None:
    assert len(parse_metadata((faults / "05_bom/WLASL_v0.3_with_bom.json").read_bytes(), "w.json").instances) > 0
    text = (wlasl / "WLASL_v0.3.json").read_text()
    published = parse_metadata(text.encode(), "w.json")
    assert published.notes == ()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        assert parse_metadata(text.replace("\n", "\r\n").encode(encoding), "w.json") == published


@pytest.mark.parametrize(
    ("gloss", "said"), [("本" * 1000, "the gloss is too long (1000 characters)"), ("a\ud800", "not UTF-8")]
)
def test_a_gloss_that_no_landmark_tensor_can_hold_is_left_out_with_a_reason(gloss: str, said: str) -> None:
    kept = "[wh]book 🤟🏽 \\ud800"  # a backslash, and no surrogate
    content = [{"gloss": gloss, "instances": [GOOD]}, {"gloss": kept, "instances": [OTHER]}]
    metadata = parse_metadata(json.dumps(content).encode(), "w.json")
    assert [instance.gloss for instance in metadata.instances] == [kept]
    (note,) = metadata.notes
    assert said in note
    note.encode()


def test_half_a_pair_of_surrogates_in_a_signer_or_a_source_can_be_stored() -> None:
    (instance,) = read(GOOD | {"signer_id": "\udfff", "source": "x\ud800", "url": "\udc80"}).instances
    assert (instance.signer, instance.source, instance.url) == ("", "x\ufffd", "\ufffd")


@pytest.mark.parametrize(
    "gloss", ["a\nINFO forged", "a\x1b[2Jb", "\u202egnp", "bo\u200bok", "\u200dbook", "a\x85b", "a\0b"]
)
def test_a_gloss_with_control_characters_is_left_out_and_named_and_nothing_else_is_lost(gloss: str) -> None:
    content = [{"gloss": gloss, "instances": [GOOD]}, {"gloss": "می\u200cخواهم", "instances": [OTHER]}]
    metadata = parse_metadata(json.dumps(content).encode(), "w.json")
    assert [instance.gloss for instance in metadata.instances] == ["می\u200cخواهم"]
    (note,) = metadata.notes
    assert note.startswith("w.json: 1 instance left out, because the gloss cannot be used: entry 1 (")
    assert f"U+{next(ord(sign) for sign in gloss if not sign.isprintable()):04X}" in note


def test_a_signer_or_a_source_with_control_characters_is_unknown() -> None:
    metadata = read(GOOD | {"signer_id": "7\n8", "source": "a\x1b[2J", "url": "http://x/\u202e"})
    (instance,) = metadata.instances
    assert (instance.signer, instance.source, instance.url) == ("", "", "")
    assert "signer_id is unknown in 1 instance" in metadata.notes[0]
