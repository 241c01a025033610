"""The JSON form of a transcript is that of its schema."""

import json
import re

import pytest
from pydantic import ValidationError

from docs.make_transcript_schema import PAGE, schema_text
from signet.transcripts import Media, Sign, Transcript, TranscriptModel
from tests.conftest import ROOT
from tests.signet.transcripts.test_subtitles import HOSTILE, transcript


def test_the_documented_schema_is_that_of_the_code() -> None:
    assert PAGE.read_text() == schema_text(), "run `python -m docs.make_transcript_schema`"


def test_glosses_are_exact() -> None:
    written = transcript(HOSTILE)
    data = json.loads(written.to_json())
    assert data["schema"] == "signet.transcript/1"
    assert [sign["gloss"] for sign in data["signs"]] == HOSTILE
    assert Transcript.model_validate_json(written.to_json()) == written


def test_every_field_that_is_written_is_in_the_schema() -> None:
    schema = json.loads(PAGE.read_text())
    data = json.loads(transcript(["book"]).to_json())
    assert set(data) == set(schema["properties"])
    for name, kind in (("media", "Media"), ("model", "TranscriptModel")):
        assert set(data[name]) == set(schema["$defs"][kind]["properties"])
    assert set(data["signs"][0]) == set(schema["$defs"]["Sign"]["properties"])


def test_the_example_of_the_page_is_a_transcript() -> None:
    page = (ROOT / "docs/transcripts.md").read_text()
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert Transcript.model_validate_json(found[1]).signs


def test_a_later_minor_version_with_more_fields_is_read() -> None:
    data = json.loads(transcript(["book"]).to_json())
    data["signs"][0]["hand"] = "left"
    assert Transcript.model_validate(data).signs[0].gloss == "book"


@pytest.mark.parametrize("values", [{"start": 2, "end": 1}, {"start": -1, "end": 1}, {"start": 0, "end": float("nan")}])
def test_impossible_times_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Sign(gloss="book", probability=1, **values)


def test_an_unknown_schema_is_refused() -> None:
    model = TranscriptModel(name="m", version="v")
    data = Transcript(media=Media(name="a.mp4"), model=model, signs=()).model_dump(by_alias=True)
    with pytest.raises(ValidationError):
        Transcript.model_validate(data | {"schema": "signet.transcript/2"})
