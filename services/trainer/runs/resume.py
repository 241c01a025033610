"""How a run that was interrupted goes on: with the configuration that it has, and what of that may be changed."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from signet.errors import DataLoss, InvalidInput, NotFound, NotReady
from signet.store import ObjectStore, keys

# What a run that is continued may be told otherwise: where it is trained, and nothing of what is learnt.
OPERATIONAL = frozenset({"device", "jobs", "max_gpu_temperature"})


def continued(store: ObjectStore, run_id: str, changes: Mapping[str, Any]) -> TrainConfig:
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
