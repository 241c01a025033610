"""A run, or several, as one page and its drawings as files."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from services.trainer.config.train_config import FIRST_GOAL
from services.trainer.drawing import html as environment
from services.trainer.drawing import plots, strip
from services.trainer.drawing.plots import Curves
from services.trainer.drawing.svg import Drawing
from services.trainer.inspection.run import comparison
from services.trainer.inspection.run import findings as diagnosis
from services.trainer.inspection.run import gloss_chart as charts
from services.trainer.inspection.run import predictions as said
from services.trainer.inspection.run.clip_choice import Chosen, Strips, look
from services.trainer.inspection.run.comparison import Paired
from services.trainer.inspection.run.findings import Finding
from services.trainer.inspection.run.gloss_chart import Range
from services.trainer.inspection.run.predictions import ClipAnswer, Confusion, GlossFigure
from services.trainer.inspection.run.record import Record, read
from services.trainer.runs.result import HeldoutCounts, MemberResult, spread
from signet import __version__
from signet.statistics.intervals import wilson
from signet.store import ObjectStore

PAGE = "analysis.html"

# Rows of a table or a drawing; a person reads no more, and the rest is said to be there.
_MOST_GLOSSES, _MOST_PAIRS, _MOST_MISTAKES, _MOST_DECIDING = 60, 15, 20, 12


@dataclass(frozen=True)
class Figure:
    """A share of the held-out clips, over the seeds.

    Attributes:
        name: what is counted.
        mean: over the seeds.
        deviation: over the seeds, n - 1; None for one seed.
        clips: n.
        meaning: of the name, in a few words.
    """

    name: str
    mean: float
    deviation: float | None
    clips: int
    meaning: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval on the clips."""
        return wilson(round(self.mean * self.clips), self.clips)


@dataclass(frozen=True, eq=False)
class Analysis:
    """One run, looked at.

    Attributes:
        record: what the store holds of it.
        answers: what was said of each held-out clip.
        strips: the clips that are shown frame by frame.
    """

    record: Record
    answers: tuple[ClipAnswer, ...]
    strips: Strips

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What stands out."""
        return diagnosis.findings(self.record, self.answers)

    @cached_property
    def seeds(self) -> dict[int, HeldoutCounts]:
        """The figures of each seed that is whole."""
        return said.each_seed(self.record.held_out) if self.record.held_out is not None else {}

    @cached_property
    def members(self) -> tuple[MemberResult, ...]:
        """The figures of each member."""
        return said.by_member(self.record.held_out) if self.record.held_out is not None else ()

    @property
    def epochs(self) -> dict[tuple[int, int], int]:
        """How many each member was trained."""
        return {member.key: len(member.epochs) for member in self.record.members}

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """The shares of the held-out clips that a person asks for first; none where nothing is known."""
        kinds = (
            ("exact", "correct", "the likeliest single sign is right"),
            ("top five", "top5", "the truth is among the five likeliest"),
            ("continuous", "continuous_correct", "the continuous decoder reads this sign and nothing else"),
            ("best path", "greedy_correct", "greedy decoding does"),
            ("empty", "empty", "the best path holds no sign"),
        )
        return tuple(self._figure(name, count, meaning) for name, count, meaning in kinds) if self.seeds else ()

    def _figure(self, name: str, count: str, meaning: str) -> Figure:
        several = list(self.seeds.values())
        mean, deviation = spread(several, lambda one: getattr(one, count) / one.clips)
        return Figure(name, mean, deviation, several[0].clips, meaning)

    @property
    def gloss_errors(self) -> tuple[float, float | None] | None:
        """Gloss error rate on sequences of three clips: mean and deviation over the seeds; None if not measured."""
        several = [seed for seed in self.seeds.values() if seed.concatenated]
        return spread(several, lambda one: one.gloss_errors / one.concatenated) if several else None

    @property
    def blank_ratio(self) -> tuple[float, float | None]:
        """Share of the frames whose best class is the blank, over the seeds."""
        return spread(self.seeds.values(), lambda one: one.blank_ratio)

    @cached_property
    def glosses(self) -> tuple[GlossFigure, ...]:
        """How each gloss fares."""
        return said.by_gloss(self.answers)

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """Which glosses are taken for one another."""
        return said.confusions(self.answers)

    @cached_property
    def mistakes(self) -> tuple[ClipAnswer, ...]:
        """The surest mistakes first."""
        return said.mistakes(self.answers)

    @property
    def chance(self) -> float:
        """What guessing would come to; 0 where the vocabulary is not known."""
        return 1 / len(self.record.vocabulary) if self.record.vocabulary else 0.0

    @property
    def curves(self) -> Curves:
        """Its curves."""
        settings, config = self.record.settings, self.record.config
        histories = [member.epochs for member in self.record.members]
        return Curves(
            histories=histories,
            planned=int(settings.get("num_epochs") or 0),
            start=config.start if config is not None else 0.0,
            goal=float(settings.get("target_accuracy") or FIRST_GOAL),
            chance=self.chance,
        )

    @property
    def seconds(self) -> float:
        """All its members' epochs together."""
        return sum(epoch.seconds for member in self.record.members for epoch in member.epochs)

    @property
    def parameters(self) -> int | None:
        """Of one member; None where that is not known."""
        return self.record.held_out.parameters if self.record.held_out is not None else None


@dataclass(frozen=True)
class Drawn:
    """A page, and its drawings as files by name."""

    html: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class Shown:
    """One run's part of a page.

    Attributes:
        key: its letter.
        colour: its colour in drawings of several.
        analysis: the run.
        curves: drawn; None where there are none.
        glosses: drawn.
        more_glosses: those for which there was no room, drawn.
        strips: drawn, with what they show.
    """

    key: str
    colour: str
    analysis: Analysis
    curves: Markup | None
    glosses: Drawing | None
    more_glosses: Drawing | None
    strips: Sequence[tuple[Chosen, Drawing]]


def analyse(
    store: ObjectStore,
    run_id: str,
    each: int = 2,
    named: Sequence[str] = (),
    seed: int | None = None,
) -> Analysis:
    """Look at one run.

    Args:
        store: where it is.
        run_id: its name.
        each: clips of each kind that are shown frame by frame.
        named: clips that are shown in any case.
        seed: whose models show them.

    Raises:
        NotFound: there is no such run, clip or seed.
        DataLoss: not even its configuration can be read.
    """
    record = read(store, run_id)
    answers = said.by_clip(record.held_out) if record.held_out is not None else ()
    return Analysis(record, answers, look(store, record, answers, each, named, seed))


def draw(analyses: Sequence[Analysis]) -> Drawn:
    """One page of these runs, at least one; of several it is their comparison first."""
    files: dict[str, bytes] = {}
    letters = [_letter(index) for index in range(len(analyses))]
    several = len(analyses) > 1
    shown = [_show(one, letters[index], index, several, files) for index, one in enumerate(analyses)]
    against = _against(analyses, letters, files) if several else {}
    html = environment.render(
        "analysis.html",
        runs=shown,
        several=several,
        version=__version__,
        most_pairs=_MOST_PAIRS,
        most_mistakes=_MOST_MISTAKES,
        most_deciding=_MOST_DECIDING,
        **against,
    )
    return Drawn(html, files)


def _show(one: Analysis, key: str, index: int, several: bool, files: dict[str, bytes]) -> Shown:
    prefix = f"{key}-" if several else ""
    name = one.record.run_id
    curves = None
    if one.record.members:
        drawn = plots.curves(one.curves, f"Run {name}")
        files[f"{prefix}curves.svg"] = drawn
        curves = _inline(drawn, f"Curves of run {name}")
    mean = one.figures[0].mean if one.figures else 0.0
    first, more = _parted(one.glosses)
    if first:
        title = f"{name}: recognised clips of each gloss"
        files[f"{prefix}glosses.svg"] = charts.glosses(one.glosses, mean, title).file()
    strips = []
    for chosen in one.strips.chosen:
        strips.append((chosen, strip.draw(chosen.reading)))
        title = f"{chosen.answer.truth}, clip {chosen.answer.clip_id}: {chosen.kind}"
        files[f"{prefix}strip-{chosen.answer.clip_id}.svg"] = strip.draw(chosen.reading, title).file()
    return Shown(
        key=key,
        colour=charts.COLOURS[index % len(charts.COLOURS)],
        analysis=one,
        curves=curves,
        glosses=charts.glosses(first, mean) if first else None,
        more_glosses=charts.glosses(more, mean) if more else None,
        strips=strips,
    )


def _against(analyses: Sequence[Analysis], letters: Sequence[str], files: dict[str, bytes]) -> dict[str, object]:
    """What the template says of several runs together."""
    curves = [one.curves for one in analyses]
    compared = None
    if any(run.histories for run in curves):
        names = ", ".join(f"{key}: {one.record.run_id}" for key, one in zip(letters, analyses, strict=True))
        files["curves.svg"] = plots.compared(curves, letters, names)
        compared = _inline(files["curves.svg"], "Curves of the runs compared")
    ranges = _ranges(analyses)
    chart = charts.ranges(ranges, letters) if ranges else None
    if chart is not None:
        files["glosses.svg"] = charts.ranges(ranges, letters, "Recognised clips of each gloss").file()
    snapshots = {(run.record.dataset.manifest.version if run.record.dataset else "") for run in analyses}
    vocabularies = {run.record.vocabulary for run in analyses if run.record.vocabulary}
    return {
        "letters": letters,
        "settings": comparison.differences([one.record.settings for one in analyses]),
        "pairs": comparison.paired([one.answers for one in analyses]),
        "compared": compared,
        "ranges": chart,
        "same_clips": len(snapshots) == 1,
        "same_glosses": len(vocabularies) <= 1,
        "odds": _odds,
    }


def _parted(figures: Sequence[GlossFigure]) -> tuple[Sequence[GlossFigure], Sequence[GlossFigure]]:
    """The glosses that are shown at once, and those in between for which one has to ask: the worst say the most."""
    if len(figures) <= _MOST_GLOSSES:
        return figures, ()
    best = _MOST_GLOSSES // 4
    worst = _MOST_GLOSSES - best
    return [*figures[:best], *figures[-worst:]], figures[best:-worst]


def _ranges(analyses: Sequence[Analysis]) -> list[Range]:
    """Glosses by how much the runs differ in them, on the clips that all of those with figures held out."""
    heard = [one.answers for one in analyses if one.answers]
    if len(heard) < 2:
        return []
    common = set.intersection(*({(one.clip_id, one.truth) for one in answers} for answers in heard))
    figures = [
        {figure.gloss: figure for figure in said.by_gloss([a for a in one.answers if (a.clip_id, a.truth) in common])}
        for one in analyses
    ]
    clips = {figure.gloss: figure.clips for glosses in figures for figure in glosses.values()}
    found = [
        Range(gloss, n, tuple(glosses[gloss].right if gloss in glosses else None for glosses in figures))
        for gloss, n in clips.items()
    ]
    return sorted(found, key=lambda one: (-one.width, one.gloss))[:_MOST_GLOSSES]


def _odds(pair: Paired) -> str:
    """What a p of McNemar's test means, in words."""
    if not pair.clips:
        return "No clip was held out by both: they cannot be compared."
    if not pair.only_first and not pair.only_second:
        return "They get the very same clips right."
    if pair.p < 0.01:
        return "More than luck."
    return "Hardly luck." if pair.p < 0.05 else "This may well be luck."


def _letter(index: int) -> str:
    """A, B and so on; AA after Z."""
    letters = string.ascii_uppercase
    before, last = divmod(index, len(letters))
    return (_letter(before - 1) if before else "") + letters[last]


def _inline(drawn: bytes, label: str) -> Markup:
    return Markup(plots.inline(drawn, label))  # noqa: S704  (matplotlib escapes what it writes)
