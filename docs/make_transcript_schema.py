"""Writes docs/transcript.schema.json, the JSON schema of transcripts: `python -m docs.make_transcript_schema`."""

import json
from pathlib import Path

from signet.transcripts import Transcript

PAGE = Path(__file__).parent / "transcript.schema.json"


def schema_text() -> str:
    """The JSON schema."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Transcript.model_json_schema()}
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(schema_text())
