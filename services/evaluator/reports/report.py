"""The evaluation report: all models of report.json. `services.evaluator.reports.report_store` keeps it."""

from typing import Self

from pydantic import Field, computed_field, model_validator

from services.evaluator.reports.continuous_figures import ContinuousSigning
from services.evaluator.reports.report_part import ReportPart
from signet.field_types import Count, IsoTime, ShortText
from signet.heldout import CROSS_VALIDATION
from signet.landmarks import NothingSigned
from signet.statistics.counts import GlossCounts, Spread, rank_glosses
from signet.statistics.intervals import wilson

SCHEMA = "signet.report/1"
PUBLISHED = "published model"

# A model with a larger share of empty best paths is close to blank collapse.
_CLOSE_TO_COLLAPSE = 0.5


class Proportion(ReportPart):
    """A share of n clips, with its 95 % Wilson interval."""

    correct: Count
    n: Count

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.correct > self.n:
            raise ValueError(f"{self.correct} of {self.n} clips")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """The share, 0 to 1; 0 for no clips."""
        return self.correct / self.n if self.n else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return wilson(self.correct, self.n)[0]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return wilson(self.correct, self.n)[1]

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return self.low, self.high


class Provenance(ReportPart):
    """The model, the clips and the code of an evaluation."""

    model_name: ShortText
    model_version: ShortText
    run_id: str
    parameters: int
    blank_penalty: float
    dataset_name: str
    dataset_version: str
    extractor: str
    split: ShortText
    glosses: int  # size of the vocabulary, C
    commit: str  # Git commit of the evaluator, from its settings
    signet_version: str
    # The splits on which the weights were selected, separated by commas; empty if no selection used held-out clips.
    selected_on: str = ""
    protocol: str = PUBLISHED  # PUBLISHED; or the protocol of the training run, which says how the clips were held out
    folds: int = 0  # folds of a cross-validation; 0 otherwise
    # For clips that were taken from the corpus instead of the snapshot: the version of the corpus, "unfinished" if no
    # extraction of it has ended, and a hash of these clips. Empty otherwise.
    corpus_version: str = ""
    clips_version: str = ""
    # Settings of the continuous decoder.
    decoder: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @property
    def selected(self) -> bool:
        """Whether the weights were selected on the clips of this report."""
        if self.protocol == CROSS_VALIDATION:
            return bool(self.selected_on)
        return self.split in {name.strip() for name in self.selected_on.split(",")}


class BlankStatistics(ReportPart):
    """How often the blank wins in best-path decoding."""

    frame_ratio: float  # share of all frames whose best class is the blank
    empty: Proportion  # clips whose best path holds no gloss
    collapsed: bool  # blank collapse: every best path is empty
    penalty: float  # the blank penalty of the model's card, in nats

    @property
    def verdict(self) -> str:
        """Whether the model is blank-collapsed, in words."""
        if self.collapsed:
            return "blank-collapsed"
        if self.empty.value > _CLOSE_TO_COLLAPSE:
            return "close to blank collapse"
        return "not blank-collapsed"


class GlossAccuracy(ReportPart):
    """How often one gloss is recognised."""

    gloss: str
    recognised: Proportion
    predicted: int  # clips of any gloss whose first guess is this gloss


class ConfusionCell(ReportPart):
    """A cell of the confusion matrix that is not zero."""

    truth: str
    predicted: str
    clips: int


class GlossProbability(ReportPart):
    """One gloss and its probability."""

    gloss: str
    probability: float


class ClipResult(ReportPart):
    """The model's prediction for one clip."""

    clip_id: str
    signer: str
    truth: str
    guesses: tuple[GlossProbability, ...]  # the first five, best first
    rank: int  # rank of the true gloss among all glosses; 1 is right
    truth_probability: float
    greedy: tuple[str, ...]
    # Glosses that the continuous decoder finds; None in reports that are older than this decoder.
    continuous: tuple[str, ...] | None = None
    blank_ratio: float
    frames: int

    @property
    def correct(self) -> bool:
        """Whether the first guess is right."""
        return self.rank == 1


class CalibrationBin(ReportPart):
    """Clips whose first guess has a probability in (low, high], and how many of them are right."""

    low: float
    high: float
    confidence: float  # mean probability of the first guess; 0 for no clips
    accuracy: Proportion = Field(alias="right")


class CalibrationFigures(ReportPart):
    """Measures of calibration; `signet.statistics.calibration` has the formulas."""

    expected_error: float
    negative_log_likelihood: float  # nats per clip
    brier: float
    bins: tuple[CalibrationBin, ...]


class Calibration(ReportPart):
    """Calibration of the exact posterior, without a temperature and with one fitted on other groups of clips."""

    before: CalibrationFigures
    # None if all clips are in one group: a temperature would be fitted on the clips that it is evaluated on.
    after: CalibrationFigures | None
    temperatures: tuple[float, ...]  # one for each group
    groups: str  # a description of the groups


class SignerResult(ReportPart):
    """How often the clips of one signer are recognised."""

    signer: str
    recognised: Proportion


class SignerSpread(ReportPart):
    """Accuracy by signer, for signers with at least `least_clips` clips, the worst first."""

    least_clips: int
    signers: tuple[SignerResult, ...]
    minimum: float
    median: float
    maximum: float
    # Signers with fewer clips, and the number of their clips; clips whose signer is not known.
    rare_signers: int
    rare_clips: int
    unknown_clips: int


class GlossErrorRate(ReportPart):
    """Continuous recognition of concatenated held-out clips: edit errors per sign."""

    errors: int
    signs: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """The rate; insertions can make it larger than 1."""
        return self.errors / self.signs if self.signs else 0.0


class SeedResult(ReportPart):
    """The models of one seed on all held-out clips, pooled over the folds."""

    seed: int
    members: int
    top1: Proportion
    top5: Proportion
    synonym_aware: Proportion | None
    continuous: Proportion
    greedy: Proportion
    # Clips in which the continuous decoder finds nothing, and clips whose best path is empty.
    empty_continuous: Proportion
    empty: Proportion
    calibration_error: float
    gloss_errors: GlossErrorRate | None


class MemberAccuracy(ReportPart):
    """One model of a run on the held-out clips of its fold."""

    fold: int
    seed: int
    top1: Proportion
    continuous: Proportion


class AcrossSeeds(ReportPart):
    """The results of a training over several seeds."""

    seeds: tuple[SeedResult, ...]
    members: tuple[MemberAccuracy, ...]  # all models of these seeds, by fold and seed
    shown: int  # the seed that the rest of the report shows: the median by top-1; of two medians, the lower one
    top1: Spread
    # Wilson interval of the mean top-1 on these clips, that is, of one model.
    low: float
    high: float
    top5: Spread
    synonym_aware: Spread | None
    continuous: Spread
    greedy: Spread
    empty_continuous: Spread
    exact_continuous_gap: Spread  # top-1 minus continuous accuracy
    calibration_error: Spread
    gloss_error_rate: Spread | None
    # The ensemble of all seeds, by the geometric mean of their posteriors; None for one seed.
    ensemble_top1: Proportion | None
    ensemble_top5: Proportion | None
    incomplete: tuple[int, ...]  # seeds that are left out because a fold is missing


class LeftOut(ReportPart):
    """A clip of the split that is not evaluated, because training clips show the same recording."""

    clip_id: str
    gloss: str
    training_clips: tuple[str, ...] = Field(alias="twins")  # ids of the training clips


class UnknownSigns(ReportPart):
    """How well the model's score separates clips of its vocabulary from clips of other signs of the same split."""

    known: int  # clips of the vocabulary
    unknown: int  # clips of other signs of the corpus
    auroc: float  # the area under the ROC curve
    low: float  # 95 % interval of the area, by bootstrap over the clips
    high: float
    false_positive_rate: float  # share of unknown signs that are accepted if 95 % of the known ones are
    expected_error: float  # expected calibration error of the score; both kinds have half of the weight
    curve: tuple[tuple[float, float], ...]  # the ROC curve: false positive rate, true positive rate


class UnsignedClip(ReportPart):
    """A clip to which the service answers that nothing is signed."""

    clip_id: str
    gloss: str
    reason: NothingSigned


class Caveat(ReportPart):
    """A caveat that a reader must know."""

    title: str
    text: str
    caution: bool = False  # whether the figures may be misleading because of it


class Report(ReportPart):
    """An evaluation report, stored as report.json."""

    schema_version: str = Field(default=SCHEMA, alias="schema")
    report_id: str
    created: IsoTime
    provenance: Provenance
    top1: Proportion  # by the exact CTC posterior over single-sign hypotheses
    top5: Proportion
    # Top-1 if glosses that label the same recording count as one. None if the snapshot has no such glosses.
    synonym_aware: Proportion | None
    greedy: Proportion  # the best path is the true gloss and nothing else
    exact_greedy_gap: float  # top1 - greedy, as a share: a measure of blank collapse
    mean_truth_probability: float
    glosses_predicted: Count
    blank: BlankStatistics
    per_gloss: tuple[GlossAccuracy, ...]
    confusions: tuple[ConfusionCell, ...]
    clips: tuple[ClipResult, ...]
    notes: tuple[Caveat, ...]
    seconds: dict[str, float]  # of the stages load, model and decode, and in total
    # The continuous decoder finds the true gloss and nothing else; None in reports that are older than this decoder.
    continuous: Proportion | None = None
    empty_continuous: Proportion | None = None  # clips in which it finds nothing
    exact_continuous_gap: float | None = None  # top1 - continuous, as a share
    gloss_errors: GlossErrorRate | None = None
    calibration: Calibration | None = None
    signers: SignerSpread | None = None
    across_seeds: AcrossSeeds | None = None  # None for a published model
    left_out: tuple[LeftOut, ...] = ()
    outside_vocabulary: int = 0  # clips of the split whose gloss is not in the model's vocabulary
    # Clips to which the service answers that nothing is signed. The figures count the ranking that it does not give.
    # None for a run, whose report is made without the landmarks, and in older reports.
    nothing_signed: tuple[UnsignedClip, ...] | None = None
    # None for a run, for a model without a score, and if the corpus has no clips of other signs.
    unknown_signs: UnknownSigns | None = None
    # None for a run, if it was left out (`signet evaluate --no-continuous`), and in older reports.
    continuous_signing: ContinuousSigning | None = None

    @property
    def title(self) -> str:
        """Name of what was evaluated: a version of a model, or a training run."""
        about = self.provenance
        return f"{about.model_name} {f'run {about.run_id}' if self.across_seeds else about.model_version}"

    @property
    def ranked_glosses(self) -> tuple[GlossAccuracy, ...]:
        """Glosses that have clips, the best first; of equal ones the one with more clips."""
        by_gloss = {result.gloss: result for result in self.per_gloss}
        counts = (
            GlossCounts(result.gloss, result.recognised.n, result.recognised.correct, result.predicted)
            for result in self.per_gloss
        )
        return tuple(by_gloss[ranked.gloss] for ranked in rank_glosses(counts))

    def to_json(self) -> bytes:
        """The bytes of report.json. What was not measured is left out, so that older reports keep their bytes."""
        optional = ("nothing_signed", "unknown_signs", "continuous_signing")
        absent = {name for name in optional if getattr(self, name) is None}
        return self.model_dump_json(by_alias=True, indent=1, exclude=absent).encode()
