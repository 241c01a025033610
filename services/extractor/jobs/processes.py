"""Starts worker processes with a clean environment: they decode foreign files, and must not hold the store's secret."""

import io
import os
import subprocess
from collections.abc import Mapping
from multiprocessing import popen_spawn_posix, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess, reduction, set_spawning_popen  # type: ignore[attr-defined]
from typing import Any

# What Python, MediaPipe and their libraries need. Secrets, and settings of Signet and of cloud services, are left out.
_NAMES = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV"})
_PREFIXES = (
    "LC_", "LD_", "PYTHON", "GLOG_", "TF_", "MEDIAPIPE_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "MESA_", "EGL_",
    "COV_", "COVERAGE_",
)  # fmt: skip
# A worker uses one core. OpenBLAS reserves memory for each of its threads.
_OWN = {"OPENBLAS_NUM_THREADS": "1"}


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that a worker process gets."""
    kept = {name: value for name, value in environment.items() if name in _NAMES or name.startswith(_PREFIXES)}
    return _OWN | kept


class CleanContext(SpawnContext):
    """Starts processes as multiprocessing's context "spawn" does, but with a clean environment."""

    class Process(SpawnProcess):
        """A process with a clean environment."""

        @staticmethod
        def _Popen(process_obj: Any) -> "_CleanPopen":  # noqa: N802
            return _CleanPopen(process_obj)


class _CleanPopen(popen_spawn_posix.Popen):
    def _launch(self, process_obj: Any) -> None:
        """As in the base class, which cannot set an environment."""
        tracker = resource_tracker.getfd()
        message = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj._name), message)
            reduction.dump(process_obj, message)
        finally:
            set_spawning_popen(None)
        parent_read, child_write = os.pipe()
        child_read, parent_write = os.pipe()
        try:
            command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=child_read)
            inherited = [*self._fds, tracker, child_read, child_write]  # type: ignore[attr-defined]
            child = subprocess.Popen(
                command,
                executable=spawn.get_executable(),
                pass_fds=inherited,
                env=clean_environment(os.environ),
                restore_signals=False,
            )
            # The base class waits for the process. With a return code, `subprocess` does not.
            child.returncode = 0
            self.pid, self.sentinel = child.pid, parent_read
            with open(parent_write, "wb", closefd=False) as pipe:
                pipe.write(message.getbuffer())
        finally:
            self.finalizer = util.Finalize(self, util.close_fds, (parent_read, parent_write))  # type: ignore[attr-defined]
            os.close(child_read)
            os.close(child_write)
