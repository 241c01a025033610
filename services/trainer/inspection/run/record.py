"""What the store holds of a run, as far as it is there. What is missing is named, and the rest is read."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import restore_model
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs import history
from services.trainer.runs.checkpoints import member_file_name
from services.trainer.runs.members import MemberKey
from services.trainer.runs.progress import PROGRESS, RunProgress, load_progress, resume_hint
from services.trainer.runs.result import Result
from services.trainer.training.epoch import Epoch
from signet import heldout
from signet.datasets.snapshot import Dataset, DatasetClip, load_snapshot
from signet.errors import DataLoss, NotFound, NotReady
from signet.heldout import HeldOutPredictions
from signet.store import ObjectStore, keys

# What an epoch of earlier versions did not say.
_UNSAID = {"val_top5": 0, "val_continuous_correct": None, "learning_rate": None}

State = Literal["succeeded", "stopped", "failed", "interrupted", "running"]


@dataclass(frozen=True)
class MemberRecord:
    """One member as far as it was trained.

    Attributes:
        key: its fold and its seed.
        epochs: all that is known of.
        done: whether it was trained to its end.
        weights: the file of what it has learnt; "" where there is none.
        sha256: of that file.
    """

    key: MemberKey
    epochs: tuple[Epoch, ...]
    done: bool = False
    weights: str = ""
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class Record:
    """A run.

    Attributes:
        run_id: its name.
        state: what became of it.
        settings: its configuration, as it is stored.
        config: the same, as this version understands it; None where it does not.
        members: those that have epochs.
        result: how it ended; None if it did not come to that.
        held_out: what its models said of clips that they were not trained on, if they left that.
        dataset: its snapshot, if that is still there.
        missing: what is not there and why, a sentence each.
    """

    run_id: str
    state: State
    settings: dict[str, Any]
    config: TrainConfig | None
    members: tuple[MemberRecord, ...]
    result: Result | None
    held_out: HeldOutPredictions | None
    dataset: Dataset | None
    missing: tuple[str, ...] = ()

    @property
    def folds(self) -> int:
        """Of cross-validation; 0 without."""
        return int(self.settings.get("folds") or 0)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Its glosses; none where neither its clips nor its predictions are there."""
        if self.held_out is not None:
            return self.held_out.vocabulary
        return self.dataset.manifest.vocabulary if self.dataset is not None else ()

    @property
    def actions(self) -> tuple[tuple[MemberKey, int, str], ...]:
        """What its trainings did by themselves: which member, in which epoch, and what."""
        return tuple(
            (member.key, epoch.number, action)
            for member in self.members
            for epoch in member.epochs
            for action in epoch.actions
        )

    def clips(self) -> dict[str, DatasetClip]:
        """The clips of its snapshot by their ids."""
        return {clip.clip_id: clip for clip in self.dataset.manifest.clips} if self.dataset is not None else {}


@dataclass
class _Reader:
    """Reads one run, and remembers what was not there."""

    store: ObjectStore
    run_id: str
    missing: list[str] = field(default_factory=list)

    def read(self) -> Record:
        settings = self._settings()
        config = self._config(settings)
        result = self._result()
        progress = self._progress()
        state = _state(result, progress)
        if result is None:
            self._unfinished(state, progress)
        members = self._members(progress, settings)
        held_out = self._held_out(result)
        dataset = self._dataset(held_out, progress)
        return Record(
            run_id=self.run_id,
            state=state,
            settings=settings,
            config=config,
            members=members,
            result=result,
            held_out=held_out,
            dataset=dataset,
            missing=tuple(self.missing),
        )

    def _settings(self) -> dict[str, Any]:
        key = keys.run(self.run_id, "config.json")
        try:
            settings = json.loads(self.store.get(key))
        except NotFound:
            raise NotFound(f"{self.store.url}: there is no run {self.run_id!r}. `signet runs` lists them.") from None
        except ValueError as error:
            raise DataLoss(f"{self.store.url}/{key}: not a run's configuration ({error}).") from error
        if not isinstance(settings, dict):
            raise DataLoss(f"{self.store.url}/{key}: not a run's configuration.")
        return settings

    def _config(self, settings: dict[str, Any]) -> TrainConfig | None:
        try:
            return TrainConfig.stored(settings)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "as a whole"
            self.missing.append(
                f"This version of Signet does not understand the run's configuration ({where}: {fault['msg']}): it was "
                "begun by another version. Its models cannot be asked again, so there are no alignment strips."
            )
            return None

    def _result(self) -> Result | None:
        key = keys.run(self.run_id, "result.json")
        try:
            return Result.model_validate_json(self.store.get(key))
        except NotFound:
            return None
        except ValidationError as error:
            self.missing.append(f"result.json cannot be read by this version ({error.error_count()} faults).")
            return None

    def _progress(self) -> RunProgress | None:
        try:
            return load_progress(self.store, self.run_id)
        except DataLoss as error:
            self.missing.append(f"How far it is cannot be read: {error}")
            return None

    def _unfinished(self, state: State, progress: RunProgress | None) -> None:
        because = "It was interrupted"
        if state == "running":
            because = "It is still being trained"
        elif state == "failed" and progress is not None:
            because = f"It has failed: {progress.failure.rstrip('.')}"
        back = "" if state == "running" else f" {resume_hint(self.run_id, progress)}"
        self.missing.append(
            f"{because}. What its models say of held-out clips is only known at a run's end, so this page shows the "
            f"curves up to now.{back}"
        )

    def _members(self, progress: RunProgress | None, settings: dict[str, Any]) -> tuple[MemberRecord, ...]:
        if progress is None:
            # Earlier versions had one member, and kept no progress.
            alone = MemberRecord((0, int(settings.get("seed") or 0)), self._history("history.jsonl"))
            return (alone,) if alone.epochs else ()
        several = len(progress.members)
        found = []
        for one in progress.members:
            key = (one.fold, one.seed)
            epochs = self._history(member_file_name(several, key, "history.jsonl"))
            weights = member_file_name(several, key, one.file) if one.done and one.file else ""
            if epochs:
                found.append(MemberRecord(key, epochs, one.done, weights, one.sha256))
        return tuple(found)

    def _history(self, file: str) -> tuple[Epoch, ...]:
        try:
            data = self.store.get(keys.run(self.run_id, file))
        except NotFound:
            return ()
        try:
            return tuple(history.load_history(_completed(data), file))
        except DataLoss as error:
            self.missing.append(f"{error} Its curves are left out.")
            return ()

    def _held_out(self, result: Result | None) -> HeldOutPredictions | None:
        try:
            return heldout.read_predictions(self.store, self.run_id)
        except NotFound:
            if result is None:
                return None
            if not result.val_clips:
                self.missing.append(
                    "The run had no held-out clips: nothing is known of how well it recognises what it was not trained "
                    "on. Extract some (`signet extract --split val`), or cross-validate (`signet train --folds 5`)."
                )
            else:
                self.missing.append(
                    "The run left no held-out predictions (it is of an earlier version, or the file was deleted): "
                    "there is nothing to say of single glosses and clips. Train again with the same flags for that."
                )
        except DataLoss as error:
            self.missing.append(str(error))
        return None

    def _dataset(self, held_out: HeldOutPredictions | None, progress: RunProgress | None) -> Dataset | None:
        if held_out is not None:
            name, version = held_out.dataset_name, held_out.dataset_version
        elif progress is not None:
            name, version = progress.dataset_name, progress.dataset_version
        else:
            return None
        try:
            return load_snapshot(self.store, name, version)
        except (NotFound, DataLoss) as error:
            self.missing.append(f"The clips themselves are not there, so there are no alignment strips: {error}")
            return None


def read(store: ObjectStore, run_id: str) -> Record:
    """What the store holds of a run.

    Raises:
        NotFound: there is no such run.
        DataLoss: not even its configuration can be read.
    """
    return _Reader(store, run_id).read()


def models(store: ObjectStore, record: Record, seed: int) -> dict[int, Recogniser]:
    """The trained models of one seed by the folds that they hold out.

    Raises:
        NotFound: their weights are not there, or are of another version; the message says which.
    """
    if record.config is None:
        raise NotFound("its configuration is of another version of Signet.")
    members = [member for member in record.members if member.key[1] == seed and member.weights]
    if not members:
        raise NotFound(f"there are no weights of seed {seed} in the store.")
    found = {}
    for member in members:
        key = keys.run(record.run_id, member.weights)
        try:
            data = store.get(key)
        except NotFound:
            raise NotFound(f"{key} is gone.") from None
        if hashlib.sha256(data).hexdigest() != member.sha256:
            raise NotFound(f"{key} is damaged: its sha256 is not the one in {PROGRESS}.")
        try:
            found[member.key[0]] = restore_model(record.config, len(record.vocabulary), data, key)
        except (DataLoss, NotReady) as error:
            raise NotFound(str(error)) from error
    return found


def _state(result: Result | None, progress: RunProgress | None) -> State:
    if result is not None:
        return result.state
    if progress is not None and progress.is_live():
        return "running"
    return "failed" if progress is not None and progress.failure else "interrupted"


def _completed(data: bytes) -> bytes:
    """A history with what earlier versions did not say, as far as that has no meaning of its own."""
    lines = []
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return data
        lines.append(json.dumps({**_UNSAID, **entry} if isinstance(entry, dict) else entry).encode())
    return b"\n".join(lines)
