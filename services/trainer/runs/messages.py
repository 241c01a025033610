"""The messages of a run, as lines of text, for the console and for the service's log."""

import math
from collections.abc import Callable, Collection, Iterator

from services.trainer.config.train_config import DEFAULT_GLOSSES, PARAMETER_TARGET
from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.result import GlossResult, HeldOutCounts, Result, spread_over_seeds
from signet.statistics.intervals import wilson

# The number of best glosses, of worst glosses and of actions that are named.
_NAMED = 5

_MEBIBYTE = 1024 * 1024

COLLAPSE_REMEDY = (
    "BLANK COLLAPSE: greedy decoding finds no sign in any val clip. The exact posterior still ranks the glosses, but "
    "continuous signing would be decoded as nothing. Raise --blank-penalty (try twice the value), train longer "
    "(--num-epochs), or raise --lr."
)


def start_messages(run: RunStarted) -> Iterator[str]:
    """The messages at the start of a run: device, model, data, members and epochs."""
    gpu = f" ({run.gpu_name}, {run.gpu_memory_bytes / _MEBIBYTE:,.0f} MiB)" if run.gpu_name else ""
    yield f"device      {run.device}{gpu}"
    target = f" (target: about {PARAMETER_TARGET:,})" if run.glosses <= DEFAULT_GLOSSES else ""
    yield f"parameters  {run.parameters:,}{target}"
    clips = f"{run.train_clips} train and {run.val_clips} val clips"
    if run.folds:
        clips = f"{run.val_clips} clips of train and val, in {run.folds} folds of whole signers"
    yield f"dataset     {run.dataset_version}: {run.glosses} glosses, {clips}"
    if run.members > 1:
        seeds = "1 seed" if run.seeds == 1 else f"{run.seeds} seeds"
        yield f"members     {run.members}: {f'{run.folds} folds, ' if run.folds else ''}{seeds}"
    yield f"epochs      {run.num_epochs}{' each' if run.members > 1 else ''}"
    if run.members > 1 and run.epochs_before:
        trained = f"{run.members_before} of {run.members} members are trained"
        yield f"resumed     {trained}, {run.epochs_before} epochs in all are saved"
    elif run.epochs_before:
        yield f"resumed     after epoch {run.epochs_before}"


def epoch_message(event: MemberEpoch, run: RunStarted) -> str:
    """The results of one epoch, in one line of constant width."""
    epoch, planned = event.epoch, run.num_epochs
    line = (
        f"{_member(event, run)}epoch {epoch.number:>{len(str(planned))}}/{planned}  train loss {epoch.train_loss:7.3f}"
    )
    if epoch.val.clips:
        share = 100 * epoch.val.correct / epoch.val.clips
        line += (
            f"  val loss {epoch.val.loss:7.3f}  val acc {share:5.1f} % ({epoch.val.correct}/{epoch.val.clips})"
            f"  greedy {epoch.val.greedy_correct}/{epoch.val.clips}  blank {epoch.val.blank_ratio:.2f}"
        )
    elif math.isfinite(epoch.val.loss):
        line += f"  val loss {epoch.val.loss:7.3f}"
    return f"{line}  {epoch.seconds:.2f} s{'  * new best' if epoch.best and epoch.val.clips else ''}"


def end_messages(result: Result, run_id: str) -> Iterator[str]:
    """The messages at the end of a run: its state, its accuracy, and what it published."""
    yield f"{result.state} after {result.epochs} epochs, {result.seconds:.0f} s"
    if result.pretrained:
        yield from _pretrained(result, run_id)
        return
    if result.val_clips:
        yield from _table(result)
        if not result.folds:
            yield from _val(result)
        yield from _goal(result)
    else:
        yield "val         this dataset has no val clips: the accuracy of the model is not known"
    yield from _actions(result)
    if result.collapsed:
        yield COLLAPSE_REMEDY
    if result.model_version:
        yield f"published   models/{result.model_name}/{result.model_version}/, alias latest"
    elif result.folds:
        yield "published   nothing: a cross-validation measures a configuration"
    else:
        yield "published   nothing (--publish none)"
    if result.val_clips and (len(result.members) > 1 or not result.model_version):
        yield f"report      signet evaluate --run {run_id}"


def _pretrained(result: Result, run_id: str) -> Iterator[str]:
    """The messages at the end of a masked pre-training."""
    if result.val_loss is not None:
        yield f"held out    masked loss {result.val_loss:.3f}, mean of the members, on clips that were not trained on"
    yield from _actions(result)
    yield f"weights     runs/{run_id}/{'members/*/' if len(result.members) > 1 else ''}weights.safetensors"
    yield "published   nothing: a pre-training recognises no sign"
    yield f"next        signet train --start-from {run_id}"


def _actions(result: Result) -> Iterator[str]:
    for sentence in result.actions[:_NAMED]:
        yield f"recovery    {sentence}"
    if len(result.actions) > _NAMED:
        yield f"            and {len(result.actions) - _NAMED} more: see history.jsonl"


def _member(event: MemberEpoch, run: RunStarted) -> str:
    """The start of an epoch's line: the member; "" for a run of one member."""
    if run.members == 1:
        return ""
    fold = f" fold {event.fold + 1}/{run.folds}" if run.folds else ""
    return f"{event.member:>{len(str(run.members))}}/{run.members}{fold} seed {event.seed}  "


def _val(result: Result) -> Iterator[str]:
    low, high = wilson(result.val_correct, result.val_clips)
    yield (
        f"val         {100 * result.val_accuracy:.1f} % exact ({result.val_correct}/{result.val_clips}, 95 % "
        f"interval {100 * low:.0f} to {100 * high:.0f}), "
        f"{100 * result.val_continuous_correct / result.val_clips:.1f} % continuous, "
        f"{100 * result.val_greedy_accuracy:.1f} % greedy, {result.val_empty} empty, "
        f"blank ratio {result.blank_ratio:.2f}"
    )


def _goal(result: Result) -> Iterator[str]:
    yield f"best        {_named(result.glosses[:_NAMED])}"
    yield f"worst       {_named(result.glosses[-_NAMED:])}"
    met = "met" if result.goal_met else "NOT met"
    yield f"goal        {100 * result.goal:.0f} % of {'the held-out clips' if result.folds else 'val'}: {met}"
    missed = math.ceil(result.goal * result.val_clips) - result.val_correct
    if not result.goal_met:
        yield (
            f"            {missed} clips short. Train longer (--num-epochs), on more clips a gloss, or on fewer "
            "glosses (--max-glosses). If the loss jumps, lower --lr."
        )


def _table(result: Result) -> Iterator[str]:
    """The results of a run of several members: a row for each seed, their ensemble, mean and spread."""
    if len(result.members) < 2:
        return
    seeds = result.seeds
    yield (
        f"{'':<12}{'top-1':>16}{'top-5':>9}{'continuous':>12}{'empty':>9}{'greedy':>9}{'empty':>9}{'gloss errors':>14}"
    )
    for seed, counts in seeds.items():
        yield _row(f"seed {seed}", counts)
    if result.ensemble is not None:
        yield _row("ensemble", result.ensemble)
    if not seeds:
        return
    several = seeds.values()
    low, high = wilson(round(spread_over_seeds(several, _top1)[0] * result.val_clips), result.val_clips)
    over = f"over {len(seeds)} seeds" if len(seeds) > 1 else "of one seed"
    yield (
        f"mean        {_spread(several, _top1)} % top-1 {over}, 95 % interval {100 * low:.0f} to {100 * high:.0f} "
        f"(n = {result.val_clips}){'' if len(seeds) > 1 else '; --seeds 3 shows how much seeds differ'}"
    )
    yield (
        f"            {_spread(several, lambda seed: seed.top5 / seed.clips)} % top-5, "
        f"{_spread(several, lambda seed: seed.continuous_correct / seed.clips)} % continuous, "
        f"{_spread(several, lambda seed: seed.continuous_empty / seed.clips)} % empty"
    )


def _top1(counts: HeldOutCounts) -> float:
    return counts.correct / counts.clips


def _row(name: str, counts: HeldOutCounts) -> str:
    def share(count: int) -> str:
        return f"{100 * count / counts.clips:.1f} %"

    errors = f"{100 * counts.gloss_errors / counts.concatenated:.1f} %" if counts.concatenated else ""
    top1 = f"{share(counts.correct)} ({counts.correct}/{counts.clips})"
    return (
        f"{name:<12}{top1:>16}{share(counts.top5):>9}{share(counts.continuous_correct):>12}"
        f"{share(counts.continuous_empty):>9}{share(counts.greedy_correct):>9}{share(counts.empty):>9}{errors:>14}"
    ).rstrip()


def _spread(seeds: Collection[HeldOutCounts], share: Callable[[HeldOutCounts], float]) -> str:
    mean, deviation = spread_over_seeds(seeds, share)
    return f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")


def _named(glosses: tuple[GlossResult, ...]) -> str:
    return ", ".join(f"{gloss.gloss} {gloss.correct}/{gloss.clips}" for gloss in glosses)
