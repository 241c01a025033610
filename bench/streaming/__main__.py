"""How well live signing is recognised, with the models of a cross-validation and clips by unseen signers.

    python -m bench.streaming RUN --store URL --continuous FOLDER
    python -m bench.streaming RUN --store URL --only-cost

Sequences of 3 to 20 held-out clips are joined as they are, with rests cut, and with rests cut and transitions
interpolated. A stream recognises each of them, and so does the offline decoder. Every sign that is found in the
sentences of another sign language is a false alarm. Figures are saved in bench/results/streaming.json.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.record import load_results, origin, save_results
from bench.streaming.cost import measure_memory, measure_streams
from bench.streaming.material import FoldModel, read_fold_models, read_pose_files
from signet.landmarks import to_model_input
from signet.landmarks.concatenation import Joining
from signet.statistics.gloss_errors import GlossErrors, gloss_errors
from signet.store.options import StoreOption, open_store_option
from signet.streaming.evaluation.findings import StreamFindings, count_reaching, error_rate, rate_interval
from signet.streaming.evaluation.sequences import SignedSequence, make_sequences
from signet.streaming.evaluation.streams import run_stream
from signet.terminal.command import run_command
from signet.terminal.output import Console, open_console, print_line

RESULTS = Path(__file__).parents[1] / "results" / "streaming.json"
# The seed of the sequences. Tuning used other clips, models and seeds.
_SEQUENCES = 7
_THRESHOLDS = tuple(step / 20 for step in range(20))


@dataclass
class _Comparison:
    """What a stream and the offline decoder find in sequences of one kind."""

    stream: StreamFindings = field(default_factory=lambda: StreamFindings(count_computing=True))
    offline: list[GlossErrors] = field(default_factory=list)

    def measure(self, fold: FoldModel, sequence: SignedSequence) -> None:
        """Add what both find in a sequence."""
        (log_probs,) = fold.graph([to_model_input(sequence.landmarks)], [0.0])
        (decoded,) = fold.model.decoder.decode(log_probs[None])
        recognised = [fold.model.vocabulary[sign - 1] for sign in decoded]
        self.offline.append(gloss_errors([span.gloss for span in sequence.signs], recognised))
        self.stream.add(sequence, run_stream(fold.model, fold.graph, sequence.frames))


def main(
    run_id: Annotated[str, typer.Argument(help="A run of `signet train --folds`")],
    store: StoreOption = "",
    continuous: Annotated[
        Path | None, typer.Option("--continuous", help="A folder of .pose files with signing of another language")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The name of the model in the results")] = "model",
    seeds: Annotated[int, typer.Option("--seeds", help="Measure this many seeds", min=1)] = 3,
    only_cost: Annotated[
        bool,
        typer.Option("--only-cost", help="Measure the cost, with an hour of frames for the memory, and nothing else"),
    ] = False,
) -> None:
    """Measure one run, and save and print its figures."""
    console = open_console()
    if only_cost:
        fold = next(read_fold_models(open_store_option(store), run_id))
        saved = load_results(RESULTS)
        saved[name] = {**saved.get(name, {"run": run_id}), "cost": _measure_cost(fold), **origin()}
        save_results(RESULTS, saved)
        print_line(console, str(saved[name]["cost"]))
        return
    findings: dict[int, dict[Joining, _Comparison]] = defaultdict(lambda: defaultdict(_Comparison))
    alarms: dict[int, list[float]] = defaultdict(list)
    minutes: dict[int, float] = defaultdict(float)
    sentences = read_pose_files(continuous) if continuous else []
    folds: dict[int, set[int]] = defaultdict(set)
    saved_cost = load_results(RESULTS).get(name, {}).get("cost", {})
    for fold in read_fold_models(open_store_option(store), run_id):
        if fold.seed not in findings and len(findings) == seeds:
            break
        for joining in Joining:
            for sequence in make_sequences(fold.clips, joining, _SEQUENCES):
                findings[fold.seed][joining].measure(fold, sequence)
        for sentence in sentences:
            alarms[fold.seed] += [found.score for found in run_stream(fold.model, fold.graph, sentence)]
            minutes[fold.seed] += sentence[-1][0] / 60
        folds[fold.seed].add(fold.fold)
        row = {"run": run_id, "folds": sum(len(kinds) for kinds in folds.values()), "cost": saved_cost, **origin()}
        row["kinds"] = {str(joining): _summary([findings[seed][joining] for seed in findings]) for joining in Joining}
        if sentences:
            row["false_alarms"] = _operating_curve(findings, alarms, minutes)
        save_results(RESULTS, {**load_results(RESULTS), name: row})
        print_line(console, f"seed {fold.seed}, fold {fold.fold}")
        _print_row(console, row)


def _measure_cost(fold: FoldModel) -> dict[str, Any]:
    parts = [sequence.frames for joining in Joining for sequence in make_sequences(fold.clips, joining, _SEQUENCES)]
    return {
        "one stream": measure_streams(fold, parts, 1, 60.0),
        "twenty streams on one core": measure_streams(fold, parts, 20, 60.0),
        "memory of one hour": measure_memory(fold, parts, 3600.0),
    }


def _summary(seeds: list[_Comparison]) -> dict[str, Any]:
    """The figures of one kind of sequences."""
    offline = [errors for seed in seeds for errors in seed.offline]
    stream = [errors for seed in seeds for errors in seed.stream.errors]
    overlaps = [value for seed in seeds for value in seed.stream.overlaps]
    delays = [value for seed in seeds for value in seed.stream.delays]
    return {
        "signs_a_seed": seeds[0].stream.signed,
        "sequences_a_seed": len(seeds[0].stream.errors),
        "seeds": len(seeds),
        "offline": _rate(offline, [error_rate(seed.offline) for seed in seeds]),
        "stream": _rate(stream, [error_rate(seed.stream.errors) for seed in seeds]),
        "difference": [error_rate(stream) - error_rate(offline), *rate_interval(stream, offline)],
        "overlap": {"n": len(overlaps), **_percentiles(overlaps, (25, 50, 75))},
        "delay": {"n": len(delays), **_percentiles(delays, (5, 50, 95))},
    }


def _rate(errors: list[GlossErrors], of_seeds: list[float]) -> dict[str, Any]:
    total = sum(errors, GlossErrors())
    return {
        "rate": error_rate(errors),
        "interval": rate_interval(errors),
        "of_seeds": of_seeds,
        "substitutions": total.substitutions / total.signed,
        "deletions": total.deletions / total.signed,
        "insertions": total.insertions / total.signed,
    }


def _percentiles(values: list[float], shares: tuple[int, ...]) -> dict[str, float]:
    return {str(share): float(np.percentile(values, share)) if values else 0.0 for share in shares}


def _operating_curve(
    findings: dict[int, dict[Joining, _Comparison]], alarms: dict[int, list[float]], minutes: dict[int, float]
) -> dict[str, Any]:
    """For thresholds of the vocabulary score: signs found in the sequences, and false alarms a minute."""
    streams = [kind.stream for kinds in findings.values() for kind in kinds.values()]
    scores = [score for stream in streams for score in stream.scores]
    signed = sum(stream.signed for stream in streams)
    all_alarms = [score for of_seed in alarms.values() for score in of_seed]
    counts = zip(_THRESHOLDS, count_reaching(scores, _THRESHOLDS), count_reaching(all_alarms, _THRESHOLDS), strict=True)
    curve = [
        {
            "threshold": threshold,
            "found": found / signed,
            "kept": found / max(1, len(scores)),
            "alarms_a_minute": false / sum(minutes.values()),
        }
        for threshold, found, false in counts
    ]
    return {"minutes": sum(minutes.values()), "signs": signed, "curve": curve}


def _print_row(console: Console, row: dict[str, Any]) -> None:
    for kind, figures in row["kinds"].items():
        low, high = figures["stream"]["interval"]
        print_line(
            console,
            f"{kind}: offline {figures['offline']['rate']:.1%}, stream {figures['stream']['rate']:.1%} "
            f"({low:.1%} to {high:.1%}), overlap {figures['overlap']['50']:.2f}, "
            f"delay {figures['delay']['50']:.2f} s, 95 % {figures['delay']['95']:.2f} s",
        )
    for name, figures in row["cost"].items():
        print_line(console, f"{name}: {figures}")
    for point in row.get("false_alarms", {}).get("curve", []):
        print_line(
            console,
            f"threshold {point['threshold']:.2f}: {point['found']:.1%} found, {point['alarms_a_minute']:.1f} a minute",
        )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    raise SystemExit(run_command(lambda: app(standalone_mode=False)))
