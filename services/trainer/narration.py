"""What a run says to people, as lines of text: the same for the command line and for the service's log."""

import math
from collections.abc import Iterator

from services.trainer.config import PARAMETER_TARGET
from services.trainer.run import COLLAPSE_REMEDY, GlossResult, Result, Started
from services.trainer.training import Epoch
from signet.statistics import wilson

# Glosses named at either end of the ranking.
_NAMED = 5

_MEBIBYTE = 1024 * 1024


def opening(run: Started) -> Iterator[str]:
    """What a run found when it began."""
    gpu = f" ({run.gpu_name}, {run.gpu_memory_bytes / _MEBIBYTE:,.0f} MiB)" if run.gpu_name else ""
    yield f"device      {run.device}{gpu}"
    yield f"parameters  {run.parameters:,} (target: about {PARAMETER_TARGET:,})"
    clips = f"{run.train_clips} train and {run.val_clips} val clips"
    yield f"dataset     {run.dataset_version}: {run.glosses} glosses, {clips}"
    yield f"epochs      {run.num_epochs}"


def epoch_line(epoch: Epoch, planned: int) -> str:
    """What one epoch came to, in one line of constant width."""
    line = f"epoch {epoch.number:>{len(str(planned))}}/{planned}  train loss {epoch.train_loss:7.3f}"
    if epoch.val.clips:
        share = 100 * epoch.val.correct / epoch.val.clips
        line += (
            f"  val loss {epoch.val.loss:7.3f}  val acc {share:5.1f} % ({epoch.val.correct}/{epoch.val.clips})"
            f"  greedy {epoch.val.greedy_correct}/{epoch.val.clips}  blank {epoch.val.blank_ratio:.2f}"
        )
    return f"{line}  {epoch.seconds:.2f} s{'  * new best' if epoch.best and epoch.val.clips else ''}"


def closing(result: Result) -> Iterator[str]:
    """How a run ended."""
    yield f"{result.state} after {result.epochs} epochs, {result.seconds:.0f} s"
    if result.val_clips:
        low, high = wilson(result.val_correct, result.val_clips)
        yield (
            f"val         {100 * result.val_accuracy:.1f} % exact ({result.val_correct}/{result.val_clips}, 95 % "
            f"interval {100 * low:.0f} to {100 * high:.0f}), {100 * result.val_greedy_accuracy:.1f} % greedy, "
            f"blank ratio {result.blank_ratio:.2f}"
        )
        yield f"best        {_named(result.glosses[:_NAMED])}"
        yield f"worst       {_named(result.glosses[-_NAMED:])}"
        met = "met" if result.goal_met else "NOT met"
        yield f"goal        {100 * result.goal:.0f} % of val: {met}"
        missed = math.ceil(result.goal * result.val_clips) - result.val_correct
        if not result.goal_met:
            yield (
                f"            {missed} clips short. Train longer (--num-epochs), on more clips a gloss, or on fewer "
                "glosses (--max-glosses); a loss that jumps wants a lower --lr."
            )
    else:
        yield "val         no val clips in this dataset: nothing is known of the model's accuracy"
    if result.collapsed:
        yield COLLAPSE_REMEDY
    yield f"published   models/{result.model_name}/{result.model_version}/, alias latest"


def _named(glosses: tuple[GlossResult, ...]) -> str:
    return ", ".join(f"{one.gloss} {one.correct}/{one.clips}" for one in glosses)
