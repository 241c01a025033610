"""The transcript of a video, and its JSON form. docs/transcript.schema.json is its JSON schema."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SCHEMA: Final = "signet.transcript/1"

# The limits of a gloss and of names are those of a model's card.
_Text = Annotated[str, StringConstraints(max_length=4096)]
_Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
_Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_STRICT = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True)


class Alternative(BaseModel):
    """Another sign that may have been made at this time."""

    model_config = _STRICT

    gloss: _Text
    """the name of the sign, as in the vocabulary of the model"""
    probability: _Probability
    """the probability that it was this sign, given that it was one of the vocabulary"""


class Sign(BaseModel):
    """One sign of the video."""

    model_config = _STRICT

    start: _Seconds
    """seconds from the first frame of the video to the start of the sign"""
    end: _Seconds
    """seconds from the first frame of the video to the end of the sign"""
    gloss: _Text
    """the name of the sign, as in the vocabulary of the model"""
    probability: _Probability
    """the probability that it was this sign, given that it was one of the vocabulary"""
    alternatives: tuple[Alternative, ...] = ()
    """other signs, the most probable first"""
    vocabulary_score: _Probability | None = None
    """how sure the model is that this is a sign of its vocabulary; null if the model has no such score"""

    @model_validator(mode="after")
    def _check_order(self) -> "Sign":
        if self.end < self.start:
            raise ValueError("a sign ends before it starts")
        return self


class Media(BaseModel):
    """The video."""

    model_config = _STRICT

    name: _Text
    """the file name of the video, without its folder"""
    sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    """sha256 of the file in hexadecimal digits; empty if it is not known, as for a camera"""
    duration: _Seconds = 0.0
    """seconds from the first to the last frame"""


class TranscriptModel(BaseModel):
    """The model that found the signs."""

    model_config = _STRICT

    name: _Text
    """the name of the model"""
    version: _Text
    """its version"""
    vocabulary_size: Annotated[int, Field(ge=0)] = 0
    """how many signs it knows"""
    threshold: _Probability = 0.0
    """signs with a lower vocabulary_score, or a lower probability where that is null, are left out"""


class Transcript(BaseModel):
    """The signs of one video, in the order of their start."""

    model_config = _STRICT

    schema_version: Literal["signet.transcript/1"] = Field(default=SCHEMA, alias="schema")
    """the version of this format"""
    media: Media
    model: TranscriptModel
    signs: tuple[Sign, ...]
    """the signs, in the order of their start"""
    warnings: tuple[_Text, ...] = ()
    """facts about the video that make the transcript doubtful, as sentences"""

    def to_json(self) -> bytes:
        """The transcript as JSON, in UTF-8."""
        return self.model_dump_json(by_alias=True, indent=1).encode() + b"\n"
