"""An evaluation report: what it says, and where it is kept."""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from signet.errors import DataLoss, NotFound
from signet.heldout import CROSS_VALIDATION
from signet.statistics.counts import Spread
from signet.statistics.intervals import wilson
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

SCHEMA = "signet.report/1"
PUBLISHED = "published model"
JSON_FILE = "report.json"
HTML_FILE = "report.html"

_READERS = 8
# A model most of whose best paths are empty is not called sound because one of them is not.
_NEARLY = 0.5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Proportion(_Part):
    """A share of clips, with its 95 % Wilson interval. Never quoted without its n."""

    correct: int
    n: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """The share itself, 0 to 1; 0 for no clips."""
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


class Provenance(_Part):
    """What exactly was evaluated, on what, by which code."""

    model_name: str
    model_version: str
    run_id: str
    parameters: int
    blank_penalty: float
    dataset_name: str
    dataset_version: str
    extractor: str
    split: str
    # Glosses in the vocabulary, C.
    glosses: int
    # Of this evaluator, as it was told.
    commit: str
    signet_version: str
    # What had a say in which weights the model has; empty if nothing of the evaluated clips did.
    selected_on: str = ""
    # How the clips were held out: PUBLISHED, or the protocol of the run whose models are reported.
    protocol: str = PUBLISHED
    # Of cross-validation; 0 otherwise.
    folds: int = 0
    # Where the clips are not the snapshot's own but were taken from its corpus: which state of that, "unfinished"
    # where no extraction of it has come to its end, and a hash of the clips that were taken. Empty otherwise.
    corpus_version: str = ""
    clips_version: str = ""
    # The decoder of continuous signing.
    decoder: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @property
    def selected(self) -> bool:
        """Whether the very clips of this report had a say in which weights the model has."""
        if self.protocol == CROSS_VALIDATION:
            return bool(self.selected_on)
        return self.split in {name.strip() for name in self.selected_on.split(",")}


class BlankStatistics(_Part):
    """What the blank does under best-path decoding."""

    # Share of all frames whose best class is the blank.
    frame_ratio: float
    # Clips whose best path holds no gloss at all.
    empty: Proportion
    # Blank collapse: every best path is empty.
    collapsed: bool
    # Nats taken from the blank before decoding, by the model's card.
    penalty: float

    @property
    def verdict(self) -> str:
        """Whether the model is blank-collapsed, in words."""
        if self.collapsed:
            return "blank-collapsed"
        if self.empty.value > _NEARLY:
            return "close to blank collapse"
        return "not blank-collapsed"


class GlossAccuracy(_Part):
    """How one gloss fares."""

    gloss: str
    recognised: Proportion
    # How often it was the first guess, rightly or wrongly.
    predicted: int


class ConfusionCell(_Part):
    """One cell of the confusion matrix that is not zero."""

    truth: str
    predicted: str
    clips: int


class Guess(_Part):
    """One gloss and its probability."""

    gloss: str
    probability: float


class ClipResult(_Part):
    """What the model says of one clip."""

    clip_id: str
    signer: str
    truth: str
    # The first five, best first.
    guesses: tuple[Guess, ...]
    # Where the truth stands among all glosses; 1 is right.
    rank: int
    truth_probability: float
    greedy: tuple[str, ...]
    # What the fixed continuous decoder reads; None in reports from before there was one.
    continuous: tuple[str, ...] | None = None
    blank_ratio: float
    frames: int

    @property
    def correct(self) -> bool:
        """Whether the first guess is right."""
        return self.rank == 1

    @property
    def greedy_correct(self) -> bool:
        """Whether best-path decoding gives this one gloss and nothing else."""
        return self.greedy == (self.truth,)

    @property
    def continuous_correct(self) -> bool:
        """Whether the continuous decoder reads this one gloss and nothing else."""
        return self.continuous == (self.truth,)


class CalibrationBin(_Part):
    """Clips whose first guess has a probability in (low, high], and how many of these guesses are right."""

    low: float
    high: float
    # Mean probability of the first guesses; 0 for no clips.
    confidence: float
    right: Proportion


class CalibrationFigures(_Part):
    """How far probabilities can be taken at their word; signet.statistics.calibration has the formulae."""

    expected_error: float
    # Nats per clip.
    negative_log_likelihood: float
    brier: float
    bins: tuple[CalibrationBin, ...]


class Calibration(_Part):
    """Calibration of the exact posterior as it is, and with a temperature that each clip's own group had no say in."""

    before: CalibrationFigures
    # None where the clips form only one group, so that there is nothing honest to fit a temperature on.
    after: CalibrationFigures | None
    # One for each group.
    temperatures: tuple[float, ...]
    # What the groups are, in words.
    groups: str


class SignerResult(_Part):
    """How the clips of one signer fare."""

    signer: str
    recognised: Proportion


class SignerSpread(_Part):
    """How much the accuracy depends on who signs: signers with at least so many clips, worst first."""

    least_clips: int
    signers: tuple[SignerResult, ...]
    minimum: float
    median: float
    maximum: float
    # Signers with fewer clips, and how many clips these are; and clips whose signer is not known.
    rare_signers: int
    rare_clips: int
    unknown_clips: int


class GlossErrorRate(_Part):
    """Continuous recognition of held-out clips that were put together: edits for each sign that is there."""

    errors: int
    signs: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """The rate; more than 1 is possible."""
        return self.errors / self.signs if self.signs else 0.0


class SeedResult(_Part):
    """One seed's models on all held-out clips: in cross-validation pooled over its folds."""

    seed: int
    members: int
    top1: Proportion
    top5: Proportion
    synonym_aware: Proportion | None
    continuous: Proportion
    greedy: Proportion
    # Clips in which the continuous decoder reads nothing, and those whose best path is empty.
    empty_continuous: Proportion
    empty: Proportion
    calibration_error: float
    gloss_errors: GlossErrorRate | None


class MemberAccuracy(_Part):
    """One model on the clips of its fold."""

    fold: int
    seed: int
    top1: Proportion
    continuous: Proportion


class AcrossSeeds(_Part):
    """What a training comes to, whatever seed it is begun with."""

    seeds: tuple[SeedResult, ...]
    # Every model of these seeds, by fold and seed.
    members: tuple[MemberAccuracy, ...]
    # The rest of the report is about this one: the median by top-1, the lower of two.
    shown: int
    top1: Spread
    # Wilson interval of one such model: of the mean top-1 on these clips.
    low: float
    high: float
    top5: Spread
    synonym_aware: Spread | None
    continuous: Spread
    greedy: Spread
    empty_continuous: Spread
    # Exact less continuous accuracy; `highest` is the worst seed's.
    exact_continuous_gap: Spread
    calibration_error: Spread
    gloss_error_rate: Spread | None
    # All seeds voting, by the geometric mean of their posteriors over single signs; None for one seed.
    ensemble_top1: Proportion | None
    ensemble_top5: Proportion | None
    # Of some seed a fold is missing, so that it is left out.
    incomplete: tuple[int, ...]


class LeftOut(_Part):
    """A clip of the split that is not evaluated, since training clips show the same recording."""

    clip_id: str
    gloss: str
    twins: tuple[str, ...]


class Note(_Part):
    """Something that a reader must know before believing a figure."""

    title: str
    text: str
    # Makes the figures look better, or other, than they are.
    caution: bool = False


class Report(_Part):
    """report.json."""

    schema_version: str = Field(default=SCHEMA, alias="schema")
    report_id: str
    created: str
    provenance: Provenance
    # Exact CTC posterior over single-sign hypotheses.
    top1: Proportion
    top5: Proportion
    # As top1, but glosses under which the very same video stands count as one. None where the snapshot has none.
    synonym_aware: Proportion | None
    # Best-path decoding gives exactly the one true gloss.
    greedy: Proportion
    # top1 - greedy, in shares: the measure of blank collapse.
    exact_greedy_gap: float
    mean_truth_probability: float
    glosses_predicted: int
    blank: BlankStatistics
    per_gloss: tuple[GlossAccuracy, ...]
    confusions: tuple[ConfusionCell, ...]
    clips: tuple[ClipResult, ...]
    notes: tuple[Note, ...]
    # Loading, model, decoding, total.
    seconds: dict[str, float]
    # The fixed continuous decoder gives exactly the one true gloss; None in reports from before there was one.
    continuous: Proportion | None = None
    # Clips in which it reads nothing.
    empty_continuous: Proportion | None = None
    # top1 - continuous, in shares.
    exact_continuous_gap: float | None = None
    gloss_errors: GlossErrorRate | None = None
    calibration: Calibration | None = None
    signers: SignerSpread | None = None
    # None for a published model.
    across_seeds: AcrossSeeds | None = None
    left_out: tuple[LeftOut, ...] = ()
    # Clips of the split whose gloss is not in the model's vocabulary.
    outside_vocabulary: int = 0

    @property
    def title(self) -> str:
        """What was evaluated: a version of a model, or all models of a run."""
        about = self.provenance
        return f"{about.model_name} {f'run {about.run_id}' if self.across_seeds else about.model_version}"

    def to_json(self) -> bytes:
        """The bytes of report.json."""
        return self.model_dump_json(by_alias=True, indent=1).encode()


def new_report_id(content: str, now: datetime | None = None) -> str:
    """An id that sorts by time: UTC to the millisecond, and a hash of what the report is about."""
    now = now or datetime.now(UTC)
    digest = hashlib.sha256(f"{now.isoformat()} {content}".encode()).hexdigest()[:8]
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{digest}"


def store_report(store: ObjectStore, report: Report, html: str) -> None:
    """Keep a report: its page first, its figures last, so that a listed report is a whole one."""
    store.create(keys.report(report.report_id, HTML_FILE), html.encode())
    store.create(keys.report(report.report_id, JSON_FILE), report.to_json())


def read_json(store: ObjectStore, report_id: str) -> bytes:
    """report.json as stored. Raises `NotFound`."""
    try:
        return store.get(keys.report(report_id, JSON_FILE))
    except NotFound:
        raise NotFound(
            f"{store.url}: no report {report_id!r}. `signet reports` lists them; `signet evaluate` writes one."
        ) from None


def read_html(store: ObjectStore, report_id: str) -> str:
    """report.html as stored. Raises `NotFound`."""
    try:
        return store.get(keys.report(report_id, HTML_FILE)).decode()
    except NotFound:
        raise NotFound(f"{store.url}: report {report_id!r} has no page. `signet reports` lists reports.") from None


def read_report(store: ObjectStore, report_id: str) -> Report:
    """A report's figures.

    Raises:
        NotFound: there is none of this id.
        DataLoss: it cannot be read.
    """
    try:
        return Report.model_validate_json(read_json(store, report_id))
    except ValidationError as error:
        raise DataLoss(f"{store.url}: report {report_id!r} is damaged ({error.error_count()} faults).") from error


def list_reports(store: ObjectStore, limit: int | None = None) -> Sequence[Report]:
    """Complete reports, newest first, all or at most `limit`. One that cannot be read is logged and passed over."""
    prefix = keys.reports()
    names = (info.key.removeprefix(prefix) for info in store.list(prefix))
    ids = sorted((name.removesuffix(f"/{JSON_FILE}") for name in names if name.endswith(f"/{JSON_FILE}")), reverse=True)

    def read(report_id: str) -> Report | None:
        try:
            return read_report(store, report_id)
        except (DataLoss, NotFound) as error:
            _log.warning("%s It is left out of the list.", error)
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        return [report for report in readers.map(read, ids[:limit]) if report is not None]
