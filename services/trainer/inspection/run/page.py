"""The page about one run or several runs, and its drawings as files."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from services.trainer.config.train_config import FIRST_GOAL
from services.trainer.drawing.curves import (
    RUN_COLOURS,
    RunCurves,
    draw_compared_curves,
    draw_run_curves,
    inline_curves,
)
from services.trainer.drawing.html import render
from services.trainer.drawing.svg import Drawing
from services.trainer.inspection.run.clip_choice import ChosenClip, ClipChoice, choose_clips
from services.trainer.inspection.run.comparison import PairedComparison, compare_pairs, compare_settings
from services.trainer.inspection.run.findings import Finding, collect_findings
from services.trainer.inspection.run.gloss_chart import GlossComparison, draw_gloss_comparison, draw_glosses
from services.trainer.inspection.run.predictions import (
    ClipPrediction,
    ConfusedPair,
    collect_clip_predictions,
    count_members,
    count_predicted_glosses,
    count_seeds,
    find_confused_pairs,
    find_mistakes,
)
from services.trainer.inspection.run.record import RunRecord, load_run
from services.trainer.inspection.strip import draw_strip
from services.trainer.runs.result import HeldOutCounts, MemberResult, spread_over_seeds
from signet import __version__
from signet.statistics.counts import GlossCounts
from signet.statistics.intervals import wilson
from signet.store import ObjectStore

PAGE = "analysis.html"

# Rows of tables and drawings that a page shows. It says how many more there are.
_LIMITS = {"max_pairs": 15, "max_mistakes": 20, "max_deciding": 12}
_MAX_GLOSSES = 60

# The figures of a run: name, field of `HeldOutCounts`, and meaning.
_FIGURES = (
    ("exact", "correct", "the most probable single sign is right"),
    ("top five", "top5", "the true sign is among the five most probable ones"),
    ("continuous", "continuous_correct", "the continuous decoder outputs this sign and nothing else"),
    ("best path", "greedy_correct", "the best path holds this sign and nothing else"),
    ("empty", "empty", "the best path holds no sign"),
)


@dataclass(frozen=True)
class HeldOutFigure:
    """A share of the held-out clips."""

    name: str
    mean: float  # mean over the seeds
    deviation: float | None  # standard deviation over the seeds (n - 1); None for one seed
    clips: int
    meaning: str  # what is counted, in a few words

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval for this number of clips."""
        return wilson(round(self.mean * self.clips), self.clips)


@dataclass(frozen=True, eq=False)
class RunAnalysis:
    """The analysis of one run."""

    record: RunRecord  # what the store holds about the run
    predictions: tuple[ClipPrediction, ...]  # the predictions for each held-out clip
    choice: ClipChoice  # the clips that are shown frame by frame

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is notable about the run."""
        return collect_findings(self.record, self.predictions)

    @cached_property
    def seeds(self) -> dict[int, HeldOutCounts]:
        """The figures of each seed that has all folds."""
        return count_seeds(self.record.held_out) if self.record.held_out is not None else {}

    @cached_property
    def members(self) -> tuple[MemberResult, ...]:
        """The figures of each member."""
        return count_members(self.record.held_out) if self.record.held_out is not None else ()

    @property
    def epochs(self) -> dict[tuple[int, int], int]:
        """The number of epochs of each member, by fold and seed."""
        return {member.key: len(member.epochs) for member in self.record.members}

    @cached_property
    def figures(self) -> tuple[HeldOutFigure, ...]:
        """The main figures; empty if there are no predictions."""
        seeds = list(self.seeds.values())
        return tuple(_compute_figure(seeds, *figure) for figure in _FIGURES) if seeds else ()

    @property
    def gloss_errors(self) -> tuple[float, float | None] | None:
        """Gloss error rate on sequences of three clips, mean and deviation over the seeds; None if not measured."""
        seeds = [seed for seed in self.seeds.values() if seed.concatenated]
        return spread_over_seeds(seeds, lambda seed: seed.gloss_errors / seed.concatenated) if seeds else None

    @property
    def blank_ratio(self) -> tuple[float, float | None]:
        """Share of the frames whose best class is the blank, mean and deviation over the seeds."""
        return spread_over_seeds(self.seeds.values(), lambda seed: seed.blank_ratio)

    @cached_property
    def glosses(self) -> tuple[GlossCounts, ...]:
        """The figures of each gloss, the best first."""
        return count_predicted_glosses(self.predictions)

    @cached_property
    def confused_pairs(self) -> tuple[ConfusedPair, ...]:
        """The glosses that are confused, the most frequent first."""
        return find_confused_pairs(self.predictions)

    @cached_property
    def mistakes(self) -> tuple[ClipPrediction, ...]:
        """The clips that are not recognised, the most confident mistakes first."""
        return find_mistakes(self.predictions)

    @property
    def curves(self) -> RunCurves:
        """The training curves."""
        settings, config = self.record.settings, self.record.config
        return RunCurves(
            histories=[member.epochs for member in self.record.members],
            planned=int(settings.get("num_epochs") or 0),
            flat_start=config.start if config is not None else 0.0,
            goal=float(settings.get("target_accuracy") or FIRST_GOAL),
            chance=1 / len(self.record.vocabulary) if self.record.vocabulary else 0.0,
        )

    @property
    def seconds(self) -> float:
        """Time of all epochs of all members."""
        return sum(epoch.seconds for member in self.record.members for epoch in member.epochs)

    @property
    def parameters(self) -> int | None:
        """Parameters of one member; None if not known."""
        return self.record.held_out.parameters if self.record.held_out is not None else None


@dataclass(frozen=True)
class AnalysisPage:
    """A page, and its drawings by file name."""

    html: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class _Section:
    """The part of a page about one run: its letter, its colour in drawings of several runs, and its drawings."""

    key: str
    colour: str
    analysis: RunAnalysis
    curves: Markup | None
    glosses: Drawing | None
    more_glosses: Drawing | None
    strips: Sequence[tuple[ChosenClip, Drawing]]


def analyze_run(
    store: ObjectStore, run_id: str, clips_per_kind: int, named: Sequence[str] = (), seed: int | None = None
) -> RunAnalysis:
    """Analyze one run. See `choose_clips` for the clips that are shown frame by frame.

    Raises:
        NotFound: there is no such run, clip or seed.
        DataLoss: the configuration of the run is damaged.
    """
    record = load_run(store, run_id)
    predictions = collect_clip_predictions(record.held_out) if record.held_out is not None else ()
    return RunAnalysis(record, predictions, choose_clips(store, record, predictions, clips_per_kind, named, seed))


def render_analysis(analyses: Sequence[RunAnalysis]) -> AnalysisPage:
    """The page about these runs. If there are several, it starts with their comparison."""
    files: dict[str, bytes] = {}
    letters = [_letter(index) for index in range(len(analyses))]
    several = len(analyses) > 1
    sections = [
        _draw_section(analysis, letters[index], index, f"{letters[index]}-" if several else "", files)
        for index, analysis in enumerate(analyses)
    ]
    comparison = _compare(analyses, letters, files) if several else {}
    html = render("analysis.html", runs=sections, several=several, version=__version__, **_LIMITS, **comparison)
    return AnalysisPage(html, files)


def _draw_section(analysis: RunAnalysis, key: str, index: int, prefix: str, files: dict[str, bytes]) -> _Section:
    """Draw one run, and add its drawings to the files."""
    run_id = analysis.record.run_id
    curves = None
    if analysis.record.members:
        files[f"{prefix}curves.svg"] = draw_run_curves(analysis.curves, f"Run {run_id}")
        curves = _inline(files[f"{prefix}curves.svg"], f"Curves of run {run_id}")
    mean = analysis.figures[0].mean if analysis.figures else 0.0
    shown, more = _split_glosses(analysis.glosses)
    if shown:
        title = f"{run_id}: recognised clips of each gloss"
        files[f"{prefix}glosses.svg"] = draw_glosses(analysis.glosses, mean, title).file()
    for clip in analysis.choice.clips:
        title = f"{clip.prediction.truth}, clip {clip.prediction.clip_id}: {clip.kind}"
        files[f"{prefix}strip-{clip.prediction.clip_id}.svg"] = draw_strip(clip.posteriors, title).file()
    return _Section(
        key=key,
        colour=RUN_COLOURS[index % len(RUN_COLOURS)],
        analysis=analysis,
        curves=curves,
        glosses=draw_glosses(shown, mean) if shown else None,
        more_glosses=draw_glosses(more, mean) if more else None,
        strips=[(clip, draw_strip(clip.posteriors)) for clip in analysis.choice.clips],
    )


def _compare(analyses: Sequence[RunAnalysis], letters: Sequence[str], files: dict[str, bytes]) -> dict[str, object]:
    """The template's values for the comparison of several runs."""
    curves = [analysis.curves for analysis in analyses]
    compared_curves, chart = None, None
    if any(run.histories for run in curves):
        title = ", ".join(f"{key}: {run.record.run_id}" for key, run in zip(letters, analyses, strict=True))
        files["curves.svg"] = draw_compared_curves(curves, letters, title)
        compared_curves = _inline(files["curves.svg"], "Curves of the runs compared")
    glosses = _compare_glosses(analyses)
    if glosses:
        chart = draw_gloss_comparison(glosses, letters)
        files["glosses.svg"] = draw_gloss_comparison(glosses, letters, "Recognised clips of each gloss").file()
    snapshots = {(run.record.dataset.manifest.version if run.record.dataset else "") for run in analyses}
    vocabularies = {run.record.vocabulary for run in analyses if run.record.vocabulary}
    return {
        "letters": letters,
        "settings": compare_settings([analysis.record.settings for analysis in analyses]),
        "pairs": compare_pairs([analysis.predictions for analysis in analyses]),
        "compared_curves": compared_curves,
        "gloss_comparison": chart,
        "same_clips": len(snapshots) == 1,
        "same_glosses": len(vocabularies) <= 1,
        "interpret": _interpret,
    }


def _compute_figure(seeds: Sequence[HeldOutCounts], name: str, count: str, meaning: str) -> HeldOutFigure:
    mean, deviation = spread_over_seeds(seeds, lambda seed: getattr(seed, count) / seed.clips)
    return HeldOutFigure(name, mean, deviation, seeds[0].clips, meaning)


def _split_glosses(glosses: Sequence[GlossCounts]) -> tuple[Sequence[GlossCounts], Sequence[GlossCounts]]:
    """The glosses that are shown at once (some of the best, more of the worst), and those between them."""
    if len(glosses) <= _MAX_GLOSSES:
        return glosses, ()
    best = _MAX_GLOSSES // 4
    worst = _MAX_GLOSSES - best
    return [*glosses[:best], *glosses[-worst:]], glosses[best:-worst]


def _compare_glosses(analyses: Sequence[RunAnalysis]) -> list[GlossComparison]:
    """The glosses, on the clips that all runs with predictions held out; the largest differences first."""
    predicting = [analysis.predictions for analysis in analyses if analysis.predictions]
    if len(predicting) < 2:
        return []
    shared = set.intersection(*({(clip.clip_id, clip.truth) for clip in predictions} for predictions in predicting))
    runs = [
        {
            gloss.gloss: gloss
            for gloss in count_predicted_glosses(
                [clip for clip in analysis.predictions if (clip.clip_id, clip.truth) in shared]
            )
        }
        for analysis in analyses
    ]
    clips = {gloss.gloss: gloss.clips for run in runs for gloss in run.values()}
    glosses = [
        GlossComparison(gloss, n, tuple(run[gloss].share if gloss in run else None for run in runs))
        for gloss, n in clips.items()
    ]
    return sorted(glosses, key=lambda gloss: (-gloss.width, gloss.gloss))[:_MAX_GLOSSES]


def _interpret(pair: PairedComparison) -> str:
    """What the result of a paired comparison means."""
    if not pair.clips:
        return "No clip was held out by both runs, so they cannot be compared."
    if not pair.only_first and not pair.only_second:
        return "Both runs get the same clips right."
    if pair.p < 0.01:
        return "Chance does not explain this difference."
    return "Chance hardly explains this difference." if pair.p < 0.05 else "This difference may be chance."


def _letter(index: int) -> str:
    """A, B and so on; AA after Z."""
    before, last = divmod(index, len(string.ascii_uppercase))
    return (_letter(before - 1) if before else "") + string.ascii_uppercase[last]


def _inline(svg: bytes, label: str) -> Markup:
    return Markup(inline_curves(svg, label))  # noqa: S704  (matplotlib escapes its text)
