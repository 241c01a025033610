"""progress.json: how far each member of a run is, and which process trains the run."""

import os
import secrets
import socket
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from signet.errors import DataLoss, NotFound
from signet.field_types import Count, ZonedTime
from signet.store import ObjectStore, keys
from signet.store.strays import read_limited

SCHEMA = "signet.run/1"
PROGRESS = "progress.json"

# The pid of a run that was released by its process.
_NO_PROCESS = 0

# A process on another machine that has written nothing for this long is taken for dead.
SILENCE_SECONDS = 120.0


class RunOwner(BaseModel, frozen=True):
    """The process that trains a run."""

    token: str  # random, different for every process and run
    host: str  # the name of the machine or container
    pid: int = Field(ge=0, le=2**31 - 1)
    began: str = ""  # as `_process_start` gives it

    @classmethod
    def this_process(cls) -> "RunOwner":
        """This process, with a new token."""
        pid = os.getpid()
        return cls(token=secrets.token_hex(8), host=socket.gethostname(), pid=pid, began=_process_start(pid))

    def released(self) -> "RunOwner":
        """The same owner after it has released the run."""
        return self.model_copy(update={"pid": _NO_PROCESS})

    def is_running(self) -> bool | None:
        """Whether the process still runs; None if that cannot be known, because it is on another machine."""
        # A container that is restarted keeps its host name, and its first process keeps its pid: that is not the owner.
        if self.pid in {_NO_PROCESS, os.getpid()}:
            return False
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # the process of another user
        # A pid is reused, soon in a restarted container. The start time tells the processes apart.
        return not self.began or _process_start(self.pid) == self.began


def _process_start(pid: int) -> str:
    """The start time in clock ticks since boot: field 22 of proc(5)'s stat; "" without a readable /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


class MemberProgress(BaseModel, frozen=True):
    """How far one member is."""

    fold: int
    seed: int
    epochs: Count = 0  # trained epochs that `file` contains
    file: str = ""  # the state to continue from, or the weights of a member that is done; "" before the first state
    sha256: str = ""  # of that file
    done: bool = False  # whether the member is trained to its end
    selected_on: str = ""  # the split on which the weights of a member that is done were selected; "" if on none


class RunProgress(BaseModel, frozen=True):
    """The content of progress.json."""

    schema_version: str = Field(default=SCHEMA, alias="schema")
    dataset_name: str  # of the run's snapshot
    dataset_version: str
    corpus_version: str  # "" if it is not known
    owner: RunOwner
    updated: ZonedTime  # time of the last write, ISO 8601 in UTC
    seconds: float  # spent on the run so far, by all processes together
    failure: str = ""  # why the run cannot be resumed as it is; "" if it can
    members: tuple[MemberProgress, ...]  # in the order of the plan

    @property
    def epochs(self) -> int:
        """Saved epochs of all members together."""
        return sum(member.epochs for member in self.members)

    @property
    def done(self) -> int:
        """The number of members that are trained to their end."""
        return sum(member.done for member in self.members)

    def is_live(self) -> bool:
        """Whether a process seems to train the run now.

        For a process on another machine this compares its clock with the clock here: see `AutoTraining`, which can
        wait, for a better way.
        """
        running = self.owner.is_running()
        if running is not None:
            return running
        silent = datetime.now(UTC) - datetime.fromisoformat(self.updated)
        return silent.total_seconds() < SILENCE_SECONDS


def load_progress(store: ObjectStore, run_id: str) -> RunProgress | None:
    """The progress of a run; None before the run has chosen its clips.

    Raises:
        DataLoss: progress.json cannot be read.
    """
    key = keys.run(run_id, PROGRESS)
    try:
        return RunProgress.model_validate_json(read_limited(store, key))
    except NotFound:
        return None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: this is not the progress of a run ({error.error_count()} faults). Delete it, and the "
            "run begins from its first epoch."
        ) from error


def resume_hint(run_id: str, progress: RunProgress | None) -> str:
    """A sentence for people: how to resume an unfinished run, and what of it is saved."""
    command = f"`signet train --resume {run_id}`"
    if progress is None or not progress.epochs:
        return f"{command} begins it again."
    if progress.done == len(progress.members):
        return f"{command} evaluates and publishes it without training again."
    if len(progress.members) == 1:
        return f"{command} goes on after epoch {progress.epochs}."
    return (
        f"{command} goes on: {progress.done} of {len(progress.members)} members are trained, and "
        f"{progress.epochs} epochs in all are saved."
    )
