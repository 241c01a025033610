"""How far a run is, and which process it is of: its progress.json.

Whoever continues a run needs it, and so does whoever only looks on: `services.trainer.runs.checkpoints` writes it.
"""

import os
import secrets
import socket
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.errors import DataLoss, NotFound
from signet.store import ObjectStore, keys

SCHEMA = "signet.run/1"
PROGRESS = "progress.json"

# The number of no process: whoever had the run let go of it.
_NOBODY = 0

# A process on another machine that has written nothing for so long is taken for dead.
_SILENCE_SECONDS = 120.0


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunOwner(_Model):
    """The process that a run is trained by.

    Attributes:
        token: a name that nobody else has.
        host: the machine or container.
        pid: its number there.
        began: when it was started, as `_began` says it; "" where the system does not.
    """

    token: str
    host: str
    pid: int
    began: str = ""

    @classmethod
    def this_process(cls) -> "RunOwner":
        """A name that no other run and no other process has."""
        pid = os.getpid()
        return cls(token=secrets.token_hex(8), host=socket.gethostname(), pid=pid, began=_began(pid))

    def gone(self) -> "RunOwner":
        """The same one, now that it has let go of the run."""
        return self.model_copy(update={"pid": _NOBODY})

    def is_running(self) -> bool | None:
        """Whether that process is there; None if it would be on another machine."""
        if self.pid in {_NOBODY, os.getpid()}:
            # A container that is restarted keeps its name, and its first process the number.
            return False
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's, but there
        # In a container that is restarted, a process or a thread of another soon has the number.
        return not self.began or _began(self.pid) == self.began


def _began(pid: int) -> str:
    """When this process was started, in clock ticks since the machine was: field 22 of proc(5)'s stat; "" elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


class MemberProgress(_Model):
    """How far one member is."""

    fold: int
    seed: int
    # Trained so far, and known to `state`.
    epochs: int = 0
    # Name of the file to go on from, and its sha256; once the member is trained, that of its weights.
    file: str = ""
    sha256: str = ""
    done: bool = False
    # The split that had a say in which weights those are; empty if none had.
    selected_on: str = ""


class RunProgress(_Model):
    """progress.json."""

    schema_version: str = Field(default=SCHEMA, alias="schema")
    dataset_name: str
    dataset_version: str
    corpus_version: str
    owner: RunOwner
    updated: str
    # Spent on it so far, by all processes together.
    seconds: float
    # Why it cannot go on as it is; empty if it can.
    failure: str = ""
    members: tuple[MemberProgress, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all members that need not be trained again."""
        return sum(member.epochs for member in self.members)

    @property
    def done(self) -> int:
        """Members that are trained."""
        return sum(member.done for member in self.members)

    def is_live(self) -> bool:
        """Whether a process seems to be training it now."""
        running = self.owner.is_running()
        if running is not None:
            return running
        silent = datetime.now(UTC) - datetime.fromisoformat(self.updated)
        return silent.total_seconds() < _SILENCE_SECONDS


def load_progress(store: ObjectStore, run_id: str) -> RunProgress | None:
    """How far a run is; None if it has not come to choose its clips.

    Raises:
        DataLoss: it cannot be read.
    """
    key = keys.run(run_id, PROGRESS)
    try:
        return RunProgress.model_validate_json(store.get(key))
    except NotFound:
        return None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: not a run's progress ({error.error_count()} faults). Delete it, and the run begins "
            "from its first epoch."
        ) from error


def resume_hint(run_id: str, progress: RunProgress | None) -> str:
    """What is kept of a run that did not come to its end, and how it goes on: a sentence for people."""
    command = f"`signet train --resume {run_id}`"
    if progress is None or not progress.epochs:
        return f"{command} begins it again."
    if len(progress.members) == 1:
        return f"{command} goes on after epoch {progress.epochs}."
    return (
        f"{command} goes on: {progress.done} of {len(progress.members)} members are trained, and "
        f"{progress.epochs} epochs in all are kept."
    )
