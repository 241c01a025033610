"""The runs of a store: what became of each, and the configuration with which an unfinished one can be resumed.

This module does not import torch: `signet runs` must answer at once.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.progress import RunProgress, load_progress
from services.trainer.runs.result import Result
from signet.errors import DataLoss, InvalidInput, NotFound, NotReady
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

RunState = Literal["queued", "running", "succeeded", "stopped", "failed", "interrupted"]

# What a run that is continued may be told otherwise: where it is trained, and nothing of what is learnt.
OPERATIONAL = frozenset({"device", "jobs", "max_gpu_temperature"})


@dataclass(frozen=True)
class RunSummary:
    """One run as the store knows it.

    Attributes:
        run_id: its name.
        state: what became of it.
        epochs: of its longest member, those that are kept.
        val_accuracy: of the published weights, exact decoding; 0 until it has a result.
        model_version: "" if nothing was published.
        members: how many models it trains.
        members_done: how many of them are trained.
        val_clips: on which that accuracy was measured; 0 where none was.
    """

    run_id: str
    state: RunState
    epochs: int
    val_accuracy: float
    model_version: str
    members: int = 1
    members_done: int = 0
    val_clips: int = 0


def find_unfinished_runs(store: ObjectStore) -> Iterator[tuple[str, TrainConfig, RunProgress | None]]:
    """Runs that have no result, newest first: their configuration, and how far they are.

    Those whose files this version cannot read are left out, and logged.
    """
    for run_id, names in sorted(_files(store).items(), reverse=True):
        if "result.json" in names or "config.json" not in names:
            continue
        try:
            yield run_id, config_to_resume(store, run_id, {}), load_progress(store, run_id)
        except (DataLoss, NotFound, NotReady) as error:
            _log.warning("run %s is left out: %s", run_id, error)


def find_latest_unfinished_run(store: ObjectStore) -> str:
    """The newest run that was interrupted, or has failed: what `signet train --resume latest` means.

    Raises:
        NotFound: there is none.
        NotReady: it seems to be under way.
    """
    for run_id, _, progress in find_unfinished_runs(store):
        if progress is not None and progress.is_live():
            owner = progress.owner
            raise NotReady(
                f"run {run_id} is the latest without a result, and process {owner.pid} on {owner.host} seems to train "
                f"it. Stop that first; or let it go on here, whatever that one does, with --resume {run_id}."
            )
        return run_id
    raise NotFound(f"{store.url}: no run was interrupted. `signet runs` lists them all.")


def find_succeeded_runs(store: ObjectStore) -> Iterator[tuple[TrainConfig, Result]]:
    """What every run in the store that was trained to its end was told, and what came of it; oldest first.

    A run whose files this version cannot read is left out, and logged.
    """
    for run_id, names in sorted(_files(store).items()):
        if "result.json" not in names:
            continue
        try:
            result = Result.model_validate_json(store.get(keys.run(run_id, "result.json")))
            config = TrainConfig.stored(store.get(keys.run(run_id, "config.json")))
        except (ValidationError, NotFound) as error:
            _log.warning("%s/runs/%s/: not a run of this version, and left out (%s)", store.url, run_id, error)
            continue
        if result.state == "succeeded":
            yield config, result


def list_runs(store: ObjectStore, live: dict[str, RunState]) -> Iterator[RunSummary]:
    """All runs in the store, newest first; one without a result that is not live was interrupted."""
    found = _files(store)
    for run_id in sorted(found.keys() | live.keys(), reverse=True):
        if "result.json" in found.get(run_id, ()):
            yield _ended(store, run_id)
        else:
            yield _open(store, run_id, live.get(run_id))


def _ended(store: ObjectStore, run_id: str) -> RunSummary:
    key = keys.run(run_id, "result.json")
    try:
        result = Result.model_validate_json(store.get(key))
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a run's result ({error.error_count()} faults). Delete it.") from error
    members = max(1, len(result.members))
    return RunSummary(
        run_id,
        result.state,
        result.epochs,
        result.val_accuracy,
        result.model_version,
        members,
        members_done=members,
        val_clips=result.val_clips,
    )


def _open(store: ObjectStore, run_id: str, state: RunState | None) -> RunSummary:
    """A run without a result: what it does in this process, if anything, or what the store knows."""
    progress = load_progress(store, run_id)
    if progress is None:
        return RunSummary(run_id, state or "interrupted", 0, 0.0, "")
    if state is None:
        state = "running" if progress.is_live() else "failed" if progress.failure else "interrupted"
    epochs = max((member.epochs for member in progress.members), default=0)
    return RunSummary(run_id, state, epochs, 0.0, "", len(progress.members), progress.done)


def _files(store: ObjectStore) -> dict[str, set[str]]:
    """The names of each run's files."""
    found: dict[str, set[str]] = {}
    for info in store.list("runs/"):
        _, run_id, name = info.key.split("/", 2)
        found.setdefault(run_id, set()).add(name)
    return found


def config_to_resume(store: ObjectStore, run_id: str, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a run that is to be continued.

    Args:
        store: holds the run.
        run_id: its name.
        changes: fields that are to have another value. Where a run is trained may change, and not what.

    Raises:
        NotFound: there is no such run.
        NotReady: it has ended.
        InvalidInput: a change would train something else.
        DataLoss: its configuration is not one of this version.
    """
    key = keys.run(run_id, "config.json")
    try:
        config = TrainConfig.stored(store.get(key))
    except NotFound:
        raise NotFound(f"{store.url}: there is no run {run_id!r}. `signet runs` lists them.") from None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: not a configuration of this version ({error.error_count()} faults). Go on with the "
            "version that began the run, or begin a new one."
        ) from error
    if store.stat(keys.run(run_id, "result.json")):
        raise NotReady(f"run {run_id} has ended, and there is nothing to go on with. `signet runs` lists those.")
    refused = sorted(
        name for name, value in changes.items() if name not in OPERATIONAL and value != getattr(config, name)
    )
    if refused:
        told = ", ".join(f"{name} {changes[name]} instead of {getattr(config, name)}" for name in refused)
        raise InvalidInput(
            f"run {run_id} can only go on as it began, and this would change {told}. Only where it is trained may "
            f"change ({', '.join(sorted(OPERATIONAL))}). Begin a new run for the rest."
        )
    try:
        return TrainConfig.model_validate(config.model_dump() | dict(changes))
    except ValidationError as error:
        fault = error.errors()[0]
        raise InvalidInput(f"{fault['loc'][0]} {fault['input']}: {fault['msg']}.") from error
