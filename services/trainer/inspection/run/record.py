"""What the store holds about a run. What is not there, or cannot be read, is named; the rest is loaded."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import MemberKey
from services.trainer.model.build import restore_model
from services.trainer.model.sign_model import SignModel
from services.trainer.runs import history
from services.trainer.runs.checkpoints import member_file_name
from services.trainer.runs.listing import RunState
from services.trainer.runs.progress import PROGRESS, RunProgress, load_progress, resume_hint
from services.trainer.runs.result import Result
from services.trainer.training.epoch import EpochResult
from signet import heldout
from signet.datasets.snapshot import Dataset, DatasetClip, load_snapshot
from signet.errors import DataLoss, NotFound, NotReady
from signet.heldout import HeldOutPredictions
from signet.store import ObjectStore, keys

# Fields that older versions did not write into a line of history.jsonl, with the value that stands for "not known".
_MISSING_IN_OLD_HISTORY = {"val_top5": 0, "val_continuous_correct": None, "learning_rate": None}


@dataclass(frozen=True)
class MemberRecord:
    """One member of a run."""

    key: MemberKey
    epochs: tuple[EpochResult, ...]  # the epochs in its history
    done: bool = False  # whether its training is complete
    weights: str = ""  # the file of its weights; "" if there is none
    sha256: str = ""  # hash of this file


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run."""

    run_id: str
    state: RunState
    settings: dict[str, Any]  # its configuration as it is stored
    config: TrainConfig | None  # the same for this version of Signet; None if this version cannot read it
    members: tuple[MemberRecord, ...]  # the members that have epochs
    result: Result | None  # its result; None if it has none
    held_out: HeldOutPredictions | None  # its predictions for held-out clips, if there are any
    dataset: Dataset | None  # its snapshot, if that is still in the store
    missing: tuple[str, ...] = ()  # a sentence about each thing that is not there

    @property
    def folds(self) -> int:
        """The number of folds of cross-validation; 0 without."""
        return int(self.settings.get("folds") or 0)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The vocabulary; empty if neither the predictions nor the snapshot is there."""
        if self.held_out is not None:
            return self.held_out.vocabulary
        return self.dataset.manifest.vocabulary if self.dataset is not None else ()

    @property
    def actions(self) -> tuple[tuple[MemberKey, int, str], ...]:
        """What the trainer did by itself: the member, the epoch, and a sentence."""
        return tuple(
            (member.key, epoch.number, action)
            for member in self.members
            for epoch in member.epochs
            for action in epoch.actions
        )

    def clips(self) -> dict[str, DatasetClip]:
        """The clips of the snapshot by id."""
        return {clip.clip_id: clip for clip in self.dataset.manifest.clips} if self.dataset is not None else {}


def load_run(store: ObjectStore, run_id: str) -> RunRecord:
    """Load what the store holds about a run.

    Raises:
        NotFound: there is no such run.
        DataLoss: the configuration of the run is damaged.
    """
    return _Loader(store, run_id).load()


def load_fold_models(store: ObjectStore, record: RunRecord, seed: int) -> dict[int, SignModel]:
    """The models of one seed, by the fold that each held out.

    Raises:
        NotFound: the weights are not there, or belong to another version of Signet; the message says which.
    """
    if record.config is None:
        raise NotFound("its configuration belongs to another version of Signet.")
    members = [member for member in record.members if member.key[1] == seed and member.weights]
    if not members:
        raise NotFound(f"the store has no weights of seed {seed}.")
    models = {}
    for member in members:
        key = keys.run(record.run_id, member.weights)
        try:
            data = store.get(key)
        except NotFound:
            raise NotFound(f"{key} is gone.") from None
        if hashlib.sha256(data).hexdigest() != member.sha256:
            raise NotFound(f"{key} is damaged: its sha256 is not the one in {PROGRESS}.")
        try:
            models[member.key[0]] = restore_model(record.config, len(record.vocabulary), data, key)
        except (DataLoss, NotReady) as error:
            raise NotFound(str(error)) from error
    return models


@dataclass
class _Loader:
    """Loads one run, and collects what is missing."""

    store: ObjectStore
    run_id: str
    missing: list[str] = field(default_factory=list)

    def load(self) -> RunRecord:
        settings = self._settings()
        config = self._config(settings)
        result = self._result()
        progress = self._progress()
        state = _state(result, progress)
        if result is None:
            self.missing.append(self._why_unfinished(state, progress))
        members = self._members(progress, settings)
        held_out = self._held_out(result)
        dataset = self._dataset(held_out, progress)
        return RunRecord(
            self.run_id, state, settings, config, members, result, held_out, dataset, missing=tuple(self.missing)
        )

    def _settings(self) -> dict[str, Any]:
        key = keys.run(self.run_id, "config.json")
        try:
            settings = json.loads(self.store.get(key))
        except NotFound:
            raise NotFound(f"{self.store.url}: there is no run {self.run_id!r}. `signet runs` lists them.") from None
        except ValueError as error:
            raise DataLoss(f"{self.store.url}/{key}: this is not the configuration of a run ({error}).") from error
        if not isinstance(settings, dict):
            raise DataLoss(f"{self.store.url}/{key}: this is not the configuration of a run.")
        return settings

    def _config(self, settings: dict[str, Any]) -> TrainConfig | None:
        try:
            return TrainConfig.stored(settings)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "as a whole"
            self.missing.append(
                f"This version of Signet cannot read the configuration of the run ({where}: {fault['msg']}): another "
                "version started the run. Its models cannot be used here, so there are no alignment strips."
            )
            return None

    def _result(self) -> Result | None:
        try:
            return Result.model_validate_json(self.store.get(keys.run(self.run_id, "result.json")))
        except NotFound:
            return None
        except ValidationError as error:
            self.missing.append(f"This version of Signet cannot read result.json ({error.error_count()} errors).")
            return None

    def _progress(self) -> RunProgress | None:
        try:
            return load_progress(self.store, self.run_id)
        except DataLoss as error:
            self.missing.append(f"The progress of the run cannot be read: {error}")
            return None

    def _why_unfinished(self, state: RunState, progress: RunProgress | None) -> str:
        why = "The run was interrupted"
        if state == "running":
            why = "The run is still training"
        elif state == "failed" and progress is not None:
            why = f"The run failed: {progress.failure.rstrip('.')}"
        hint = "" if state == "running" else f" {resume_hint(self.run_id, progress)}"
        return (
            f"{why}. Predictions for held-out clips are made at the end of a run, so this page shows only the curves "
            f"of the epochs so far.{hint}"
        )

    def _members(self, progress: RunProgress | None, settings: dict[str, Any]) -> tuple[MemberRecord, ...]:
        if progress is None:
            # Older versions trained one member, and kept no progress.
            epochs = self._history("history.jsonl")
            return (MemberRecord((0, int(settings.get("seed") or 0)), epochs),) if epochs else ()
        members = []
        for member in progress.members:
            key = (member.fold, member.seed)
            epochs = self._history(member_file_name(len(progress.members), key, "history.jsonl"))
            weights = ""
            if member.done and member.file:
                weights = member_file_name(len(progress.members), key, member.file)
            if epochs:
                members.append(MemberRecord(key, epochs, member.done, weights, member.sha256))
        return tuple(members)

    def _history(self, file: str) -> tuple[EpochResult, ...]:
        try:
            data = self.store.get(keys.run(self.run_id, file))
        except NotFound:
            return ()
        try:
            return tuple(history.load_history(_complete_history(data), file))
        except DataLoss as error:
            self.missing.append(f"{error} Its curves are left out.")
            return ()

    def _held_out(self, result: Result | None) -> HeldOutPredictions | None:
        try:
            return heldout.read_predictions(self.store, self.run_id)
        except DataLoss as error:
            self.missing.append(str(error))
        except NotFound:
            if result is not None and result.val_clips:
                self.missing.append(
                    "The predictions for held-out clips are not in the store: the run is of an older version, or the "
                    "file was deleted. So there are no figures for single glosses and clips. Train again with the "
                    "same flags to get them."
                )
            elif result is not None:
                self.missing.append(
                    "The run had no held-out clips, so its accuracy on new clips is not known. Extract some "
                    "(`signet extract --split val`), or cross-validate (`signet train --folds 5`)."
                )
        return None

    def _dataset(self, held_out: HeldOutPredictions | None, progress: RunProgress | None) -> Dataset | None:
        source = held_out or progress
        if source is None:
            return None
        try:
            return load_snapshot(self.store, source.dataset_name, source.dataset_version)
        except (NotFound, DataLoss) as error:
            self.missing.append(f"The clips of the run are not in the store, so there are no alignment strips: {error}")
            return None


def _state(result: Result | None, progress: RunProgress | None) -> RunState:
    if result is not None:
        return result.state
    if progress is not None and progress.is_live():
        return "running"
    return "failed" if progress is not None and progress.failure else "interrupted"


def _complete_history(data: bytes) -> bytes:
    """A history.jsonl with the fields that older versions did not write."""
    lines = []
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return data
        lines.append(json.dumps({**_MISSING_IN_OLD_HISTORY, **entry} if isinstance(entry, dict) else entry).encode())
    return b"\n".join(lines)
