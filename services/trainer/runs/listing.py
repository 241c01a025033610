"""The runs of a store: what became of each, and the configuration with which an unfinished one can be resumed.

This module does not import torch: `signet runs` must answer at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from services.trainer.config.setting_effects import WHERE_IT_TRAINS
from services.trainer.config.train_config import TrainConfig, removed_settings
from services.trainer.runs.progress import PROGRESS, RunProgress, load_progress
from services.trainer.runs.result import Result
from signet.errors import DataLoss, InvalidInput, NotFound, NotReady, quote
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

RunState = Literal["queued", "running", "succeeded", "stopped", "failed", "interrupted"]

# Instead of the id of a run: the newest run.
LATEST = "latest"


@dataclass(frozen=True)
class RunSummary:
    """One run in the store."""

    run_id: str
    state: RunState
    epochs: int = 0  # saved epochs of its longest member
    val_accuracy: float = 0.0  # of the published weights, with exact decoding; 0 until there is a result
    model_version: str = ""  # "" if the run published nothing
    members: int = 1  # models that it trains
    members_done: int = 0  # models that are fully trained
    val_clips: int = 0  # clips that the accuracy was measured on


def list_runs(store: ObjectStore, live: Mapping[str, RunState]) -> Iterator[RunSummary]:
    """All runs, newest first; `live` has the states of the runs of this process.

    A run whose result or progress this version cannot read is left out, with one warning in the log.
    """
    files = _files_by_run(store)
    for run_id in sorted(files.keys() | live.keys(), reverse=True):
        ended = "result.json" in files.get(run_id, ())
        try:
            if ended:
                yield _summary_of_ended_run(store, run_id)
            else:
                yield _summary_of_unfinished_run(store, run_id, live.get(run_id))
        except DataLoss as error:
            log_skipped_object(store, keys.run(run_id, "result.json" if ended else PROGRESS), str(error))
            if run_id in live:
                yield RunSummary(run_id, live[run_id])
        except NotFound:
            continue  # deleted since it was listed


def find_unfinished_runs(store: ObjectStore) -> Iterator[tuple[str, TrainConfig, RunProgress | None]]:
    """The runs without a result, newest first: name, configuration, and progress (None before the first member starts).

    A run that this version cannot read or resume is skipped with a warning in the log.
    """
    for run_id, names in sorted(_files_by_run(store).items(), reverse=True):
        if "result.json" in names or "config.json" not in names:
            continue
        try:
            yield run_id, config_to_resume(store, run_id, {}), load_progress(store, run_id)
        except (DataLoss, InvalidInput, NotFound, NotReady) as error:
            log_skipped_object(store, keys.run(run_id, "config.json"), str(error), f"run {run_id}")


def find_latest_unfinished_run(store: ObjectStore) -> str:
    """The newest run that was interrupted or has failed: the run of `signet train --resume latest`.

    Raises:
        NotFound: there is no such run.
        NotReady: a process seems to be training it.
    """
    for run_id, _, progress in find_unfinished_runs(store):
        if progress is not None and progress.is_live():
            owner = progress.owner
            raise NotReady(
                f"run {run_id} is the latest run without a result, and process {owner.pid} on {owner.host} seems to "
                f"train it. Stop that process first. Or take the run over while it is still there, with --resume "
                f"{run_id}."
            )
        return run_id
    raise NotFound(f"{store.url}: no run was interrupted. `signet runs` lists all runs.")


def find_latest_run(store: ObjectStore) -> str:
    """The id of the newest run, in whatever state.

    Raises:
        NotFound: the store has no run.
    """
    run_ids = [run_id for run_id, names in _files_by_run(store).items() if "config.json" in names]
    if not run_ids:
        raise NotFound(f"{store.url}: there are no runs. `signet train` starts one.")
    return max(run_ids)


def find_succeeded_runs(store: ObjectStore) -> Iterator[tuple[TrainConfig, Result]]:
    """The configuration and the result of every run that was trained to its end, oldest first.

    A run whose files this version cannot read is skipped with a warning in the log.
    """
    for run_id, names in sorted(_files_by_run(store).items()):
        if "result.json" not in names:
            continue
        try:
            result = Result.model_validate_json(read_limited(store, keys.run(run_id, "result.json")))
            config = TrainConfig.stored(read_limited(store, keys.run(run_id, "config.json")))
        except (ValidationError, NotFound, DataLoss) as error:
            log_skipped_object(store, keys.run(run_id, "result.json"), f"this version cannot read the run ({error})")
            continue
        if result.state == "succeeded":
            yield config, result


def config_to_resume(store: ObjectStore, run_id: str, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration with which a run is resumed; `changes` are new values by field, of fields in WHERE_IT_TRAINS.

    Raises:
        NotFound: there is no such run.
        NotReady: it has ended.
        InvalidInput: a change would train something else, or is not valid.
        DataLoss: this version cannot read its configuration.
    """
    key = keys.run(run_id, "config.json")
    try:
        stored = read_limited(store, key)
        config = TrainConfig.stored(stored)
    except NotFound:
        raise NotFound(f"{store.url}: there is no run {quote(run_id)}. `signet runs` lists all runs.") from None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: this version cannot read the configuration ({error.error_count()} faults). Resume the "
            "run with the version that started it, or start a new run."
        ) from error
    if removed := removed_settings(stored):
        raise InvalidInput(
            f"run {run_id} cannot continue: it was started with {', '.join(removed)}, which this version of Signet no "
            "longer has. Finish it with the version that started it, or start a new run."
        )
    if store.stat(keys.run(run_id, "result.json")):
        raise NotReady(f"run {run_id} has ended and cannot be resumed. `signet runs` lists the interrupted runs.")
    refused = sorted(
        name for name, value in changes.items() if name not in WHERE_IT_TRAINS and value != getattr(config, name)
    )
    if refused:
        listed = ", ".join(
            f"{name} {_shown(changes[name])} instead of {_shown(getattr(config, name))}" for name in refused
        )
        raise InvalidInput(
            f"run {run_id} cannot be resumed with {listed}. A resumed run may only change where it trains "
            f"({', '.join(sorted(WHERE_IT_TRAINS))}). Start a new run to change other settings."
        )
    try:
        return TrainConfig.model_validate(config.model_dump() | dict(changes))
    except ValidationError as error:
        fault = error.errors()[0]
        setting = f"{fault['loc'][0]} {_shown(fault['input'])}: " if fault["loc"] else ""
        raise InvalidInput(f"run {run_id} cannot be resumed: {setting}{fault['msg']}.") from error


def _shown(value: object) -> str:
    """The value of a setting in a message, without the quotes around a text."""
    return quote(value)[1:-1] if isinstance(value, str) else quote(value)


def _summary_of_ended_run(store: ObjectStore, run_id: str) -> RunSummary:
    key = keys.run(run_id, "result.json")
    try:
        result = Result.model_validate_json(read_limited(store, key))
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: this is not the result of a run ({error.error_count()} faults). Delete it."
        ) from error
    members = max(1, len(result.members))
    return RunSummary(
        run_id,
        result.state,
        result.epochs,
        result.val_accuracy,
        result.model_version,
        members,
        members,
        result.val_clips,
    )


def _summary_of_unfinished_run(store: ObjectStore, run_id: str, state: RunState | None) -> RunSummary:
    progress = load_progress(store, run_id)
    if progress is None:
        return RunSummary(run_id, state or "interrupted")
    if state is None:
        state = "running" if progress.is_live() else "failed" if progress.failure else "interrupted"
    epochs = max((member.epochs for member in progress.members), default=0)
    return RunSummary(run_id, state, epochs, members=len(progress.members), members_done=progress.done)


def _files_by_run(store: ObjectStore) -> dict[str, set[str]]:
    """The files of each run. Objects that belong to no run are skipped."""
    files: dict[str, set[str]] = {}
    for info in store.list(keys.runs()):
        run_id, name = keys.run_file(info.key)
        if run_id:
            files.setdefault(run_id, set()).add(name)
        else:
            log_skipped_object(store, info.key, "it is not a file of a run. Delete it.")
    return files
