"""A member's history.jsonl: one line of JSON for each epoch, for people to read and for a run to resume from."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE, Score
from signet.errors import DataLoss

# The fields of the results on val. A pre-training recognises nothing, so its lines have none of them.
_RECOGNITION = frozenset({"val_clips", "val_correct", "val_top5", "val_greedy_correct", "val_empty", "blank_ratio"})


class HistoryLine(BaseModel):
    """One epoch. A float that is not finite is null, because JSON has no NaN; a field that does not apply is absent."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float
    val_loss: float | None
    val_clips: int = 0
    val_correct: int = 0
    val_top5: int = 0
    # Null in epochs in which the continuous decoder did not run.
    val_continuous_correct: int | None = None
    val_continuous_empty: int | None = None
    val_greedy_correct: int = 0
    val_empty: int = 0
    blank_ratio: float | None = None
    learning_rate: float | None
    seconds: float
    # Absent in epochs that did not evaluate training clips.
    train_correct: int | None = None
    train_clips: int | None = None
    actions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_recognition(self) -> "HistoryLine":
        """A line with a part of the results would be read as zeros, so it is refused."""
        missing = _RECOGNITION - self.model_fields_set
        pretraining = self.val_loss is not None and missing == _RECOGNITION
        if missing and not pretraining:
            raise ValueError(f"{', '.join(sorted(missing))} missing")
        return self

    @classmethod
    def from_epoch(cls, epoch: EpochResult) -> "HistoryLine":
        """The line of an epoch."""
        val = epoch.val
        entry: dict[str, object] = {
            "epoch": epoch.number,
            "train_loss": epoch.train_loss,
            "val_loss": _finite_or_none(val.loss),
            "learning_rate": _finite_or_none(epoch.learning_rate),
            "seconds": round(epoch.seconds, 4),
        }
        if val.clips or not math.isfinite(val.loss):
            entry |= {
                "val_clips": val.clips,
                "val_correct": val.correct,
                "val_top5": val.top5,
                "val_continuous_correct": val.continuous_correct,
                "val_continuous_empty": val.continuous_empty,
                "val_greedy_correct": val.greedy_correct,
                "val_empty": val.empty,
                "blank_ratio": _finite_or_none(val.blank_ratio),
            }
        if epoch.train is not None:
            entry |= {"train_correct": epoch.train.correct, "train_clips": epoch.train.clips}
        if epoch.actions:
            entry["actions"] = epoch.actions
        return cls.model_validate(entry)

    def to_epoch(self, most_correct: int) -> EpochResult:
        """The epoch of this line, where earlier epochs recognised up to `most_correct` val clips."""
        return EpochResult(
            number=self.epoch,
            train_loss=self.train_loss,
            val=self._val_score(),
            seconds=self.seconds,
            best=self.val_correct > most_correct,
            train=None if self.train_clips is None or self.train_correct is None
            else replace(NO_SCORE, correct=self.train_correct, clips=self.train_clips),
            learning_rate=_nan_if_none(self.learning_rate),
            actions=self.actions,
        )  # fmt: skip

    def _val_score(self) -> Score:
        return replace(
            NO_SCORE,
            loss=_nan_if_none(self.val_loss),
            clips=self.val_clips,
            correct=self.val_correct,
            top5=self.val_top5,
            greedy_correct=self.val_greedy_correct,
            empty=self.val_empty,
            blank_ratio=_nan_if_none(self.blank_ratio),
            continuous_correct=self.val_continuous_correct,
            continuous_empty=self.val_continuous_empty,
        )


def dump_history(epochs: Iterable[EpochResult]) -> bytes:
    """The content of history.jsonl."""
    lines = (HistoryLine.from_epoch(epoch).model_dump(exclude_unset=True) for epoch in epochs)
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def load_history(data: bytes, name: str) -> list[EpochResult]:
    """The epochs of a history.jsonl, without the results of single classes and clips. `name` is for the error message.

    Raises:
        DataLoss: a line is not an epoch.
    """
    epochs: list[EpochResult] = []
    most_correct = -1
    try:
        for line in data.splitlines():
            epoch = HistoryLine.model_validate_json(line).to_epoch(most_correct)
            most_correct = max(most_correct, epoch.val.correct)
            epochs.append(epoch)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise DataLoss(
            f"{name}: line {len(epochs) + 1} is not an epoch ({where}{': ' if where else ''}{fault['msg']}). Begin the "
            "run again."
        ) from error
    return epochs


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value
