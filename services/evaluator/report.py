"""An evaluation report: what it says, and where it is kept."""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from signet import layout
from signet.errors import DataLoss, NotFound
from signet.statistics import wilson
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

SCHEMA = "signet.report/1"
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


class GlossResult(_Part):
    """How one gloss fares."""

    gloss: str
    recognised: Proportion
    # How often it was the first guess, rightly or wrongly.
    predicted: int


class Confusion(_Part):
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
    per_gloss: tuple[GlossResult, ...]
    confusions: tuple[Confusion, ...]
    clips: tuple[ClipResult, ...]
    notes: tuple[Note, ...]
    # Loading, model, decoding, total.
    seconds: dict[str, float]

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
    store.create(layout.report(report.report_id, HTML_FILE), html.encode())
    store.create(layout.report(report.report_id, JSON_FILE), report.to_json())


def read_json(store: ObjectStore, report_id: str) -> bytes:
    """report.json as stored. Raises `NotFound`."""
    try:
        return store.get(layout.report(report_id, JSON_FILE))
    except NotFound:
        raise NotFound(
            f"{store.url}: no report {report_id!r}. `signet reports` lists them; `signet evaluate` writes one."
        ) from None


def read_html(store: ObjectStore, report_id: str) -> str:
    """report.html as stored. Raises `NotFound`."""
    try:
        return store.get(layout.report(report_id, HTML_FILE)).decode()
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
    prefix = layout.reports()
    keys = (info.key.removeprefix(prefix) for info in store.list(prefix))
    ids = sorted((key.removesuffix(f"/{JSON_FILE}") for key in keys if key.endswith(f"/{JSON_FILE}")), reverse=True)

    def read(report_id: str) -> Report | None:
        try:
            return read_report(store, report_id)
        except (DataLoss, NotFound) as error:
            _log.warning("%s It is left out of the list.", error)
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        return [report for report in readers.map(read, ids[:limit]) if report is not None]
