"""The card of a published version, `model.json`."""

from pydantic import BaseModel, ConfigDict, Field

from signet.decoding import DEFAULT_BEAM_WIDTH, ContinuousDecoder
from signet.field_types import Count, Finite, Gloss, IsoTime, Label, Share
from signet.landmarks import describe_sampling_difference
from signet.statistics.vocabulary_score import VocabularyScore

SCHEMA = "signet.model/1"
CARD = "model.json"

# Limits of a card. `signet train` accepts penalties up to 20; a wider beam than the default finds nothing more.
MAX_PENALTY = 1000.0
MAX_BEAM_WIDTH = 256


class Metrics(BaseModel):
    """The results of a model on its val split when it was published, counted by the trainer."""

    model_config = ConfigDict(frozen=True)

    val_clips: Count
    val_correct: Count
    val_greedy_correct: Count
    blank_ratio: Share
    epoch: Count


class Enrolment(BaseModel):
    """What a version says that was made from another one, by adding signs to it or by forgetting them."""

    model_config = ConfigDict(frozen=True)

    parent: Label  # the version that it was made from
    trained: Count  # the first so many glosses of the vocabulary were trained; the others were enrolled
    # How the trained signs are recognised among all signs: on the clips of this split, or on "embeddings", the kept
    # vectors of training clips.
    measured_on: Label
    clips: Count
    correct: Count
    parent_correct: Count  # of the parent, on the same clips


class ModelCard(BaseModel):
    """model.json: all that a server or a reader must know about a version."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    name: Label
    version: Label
    created: IsoTime
    run_id: Label
    dataset_name: Label
    dataset_version: Label
    vocabulary: tuple[Gloss, ...] = Field(max_length=20_000)  # class c is vocabulary[c - 1]; class 0 is the blank
    frame_rate: float = Field(gt=0, le=1000)
    # `signet.landmarks.SMOOTHING_SECONDS` of its clips. Older cards lack it: their clips were not smoothed.
    smoothing_seconds: float = Field(0.0, ge=0, le=60)
    # How the model is decoded; on the card, so that all readers decode alike. The blank penalty applies to isolated
    # signs too. Cards that are older than the beam search get its defaults.
    blank_penalty: float = Field(ge=-MAX_PENALTY, le=MAX_PENALTY)
    insertion_penalty: float = Field(0.0, ge=-MAX_PENALTY, le=MAX_PENALTY)
    repetition_penalty: float = Field(0.0, ge=-MAX_PENALTY, le=MAX_PENALTY)
    beam_width: int = Field(DEFAULT_BEAM_WIDTH, ge=1, le=MAX_BEAM_WIDTH)
    undoubted: bool = False
    # How the model scores whether a clip shows any sign of its vocabulary. Older cards lack it.
    vocabulary_score: VocabularyScore | None = None
    # Streams reject a sign with a lower score, unless the client gives another threshold. Without it, none is rejected.
    rejection_threshold: Share | None = None
    parameters: int = Field(ge=0, le=10**12)
    config: dict[str, str | int | float | bool | None]
    metrics: Metrics
    # The split by which this checkpoint was chosen among others; its accuracy there is optimistic. Empty if there was
    # no choice.
    selected_on: Label = ""
    onnx_difference: Finite  # largest difference between the probabilities of ONNX and torch on real clips at export
    # Median over these clips of each one's largest difference, and how many clips there were. Older cards lack both.
    onnx_median_difference: Finite | None = None
    onnx_clips: Count = 0
    # None if the version was trained. Older cards lack it.
    enrolment: Enrolment | None = None
    # sha256 of the other files of this version, by file name.
    files: dict[str, str]

    @property
    def sampling_difference(self) -> str:
        """How the sampling of its clips differs from today's, in words; "" if it does not."""
        return describe_sampling_difference(self.frame_rate, self.smoothing_seconds)

    @property
    def trained_vocabulary(self) -> tuple[str, ...]:
        """The glosses of the training, without those that were enrolled."""
        return self.vocabulary if self.enrolment is None else self.vocabulary[: self.enrolment.trained]

    @property
    def enrolled_vocabulary(self) -> tuple[str, ...]:
        """The glosses that were enrolled."""
        return self.vocabulary[len(self.trained_vocabulary) :]

    @property
    def decoder(self) -> ContinuousDecoder:
        """The model's decoder of continuous signing."""
        return ContinuousDecoder(
            self.beam_width, self.blank_penalty, self.insertion_penalty, self.repetition_penalty, self.undoubted
        )
