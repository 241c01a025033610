"""A member's epochs as lines of JSON: history.jsonl, for people, and to go on from."""

import json
import math
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from services.trainer.training.collapse import Posteriors
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import NOTHING
from signet.errors import DataLoss

# What a line does not hold where no clip was to be recognised.
_RECOGNISED = frozenset(
    {
        "val_clips", "val_correct", "val_top5", "val_continuous_correct", "val_continuous_empty", "val_greedy_correct",
        "val_empty", "blank_ratio",
    }
)  # fmt: skip


def dump_history(epochs: Iterable[Epoch]) -> bytes:
    """One line an epoch."""
    return "".join(f"{json.dumps(_entry(epoch))}\n" for epoch in epochs).encode()


def load_history(data: bytes, name: str) -> list[Epoch]:
    """The epochs again, but for what each class and each clip came to, which is not kept.

    Args:
        data: what `dump_history` made.
        name: what to call it in an error.

    Raises:
        DataLoss: it is not that.
    """
    epochs: list[Epoch] = []
    most = -1
    try:
        for line in data.splitlines():
            epoch = _epoch(json.loads(line), most)
            most = max(most, epoch.val.correct)
            epochs.append(epoch)
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(
            f"{name}: line {len(epochs) + 1} is no epoch ({type(error).__name__}: {error}). Begin the run again."
        ) from error
    return epochs


def _entry(epoch: Epoch) -> dict[str, Any]:
    val = epoch.val
    entry: dict[str, Any] = {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "val_loss": _number(val.loss),
        "val_clips": val.clips,
        "val_correct": val.correct,
        "val_top5": val.top5,
        "val_continuous_correct": val.continuous_correct,
        "val_continuous_empty": val.continuous_empty,
        "val_greedy_correct": val.greedy_correct,
        "val_empty": val.empty,
        "blank_ratio": _number(val.blank_ratio),
        "learning_rate": _number(epoch.learning_rate),
        "seconds": round(epoch.seconds, 4),
    }
    if not val.clips and math.isfinite(val.loss):
        # Of a pre-training, nothing was to be recognised.
        entry = {name: value for name, value in entry.items() if name not in _RECOGNISED}
    if epoch.train is not None:
        entry |= {"train_correct": epoch.train.correct, "train_clips": epoch.train.clips}
    if epoch.posteriors is not None:
        entry |= {f"train_{name}": _number(value) for name, value in vars(epoch.posteriors).items()}
    if epoch.actions:
        entry["actions"] = list(epoch.actions)
    return entry


def _epoch(entry: dict[str, Any], most: int) -> Epoch:
    """The epoch of a line, where `most` val clips were recognised before."""
    val = replace(
        NOTHING,
        loss=_float(entry["val_loss"]),
        **({} if "val_clips" not in entry and math.isfinite(_float(entry["val_loss"])) else _recognised(entry)),
    )
    judged = "train_clips" in entry
    return Epoch(
        number=int(entry["epoch"]),
        train_loss=float(entry["train_loss"]),
        val=val,
        seconds=float(entry["seconds"]),
        best=val.correct > most,
        train=replace(NOTHING, correct=entry["train_correct"], clips=entry["train_clips"]) if judged else None,
        learning_rate=_float(entry["learning_rate"]),
        actions=tuple(entry.get("actions", ())),
        posteriors=_posteriors(entry),
    )


def _recognised(entry: dict[str, Any]) -> dict[str, Any]:
    """What was recognised of val, by the names of `Score`."""
    return {
        "clips": int(entry["val_clips"]),
        "correct": int(entry["val_correct"]),
        "top5": int(entry["val_top5"]),
        "continuous_correct": entry["val_continuous_correct"],
        "continuous_empty": entry.get("val_continuous_empty"),
        "greedy_correct": int(entry["val_greedy_correct"]),
        "empty": int(entry["val_empty"]),
        "blank_ratio": _float(entry["blank_ratio"]),
    }


def _posteriors(entry: dict[str, Any]) -> Posteriors | None:
    names = [one.name for one in fields(Posteriors)]
    if f"train_{names[0]}" not in entry:
        return None
    return Posteriors(**{name: _float(entry[f"train_{name}"]) for name in names})


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
