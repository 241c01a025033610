"""Passes the standard error of workers on, without the routine lines of MediaPipe."""

import re
import threading
from typing import Any

from signet.terminal.logs import pass_on

# Lines that MediaPipe and TensorFlow Lite write for every graph. All other output of a worker is passed on. TensorFlow
# Lite writes a line in pieces, so pieces of two workers can be on one line.
_ROUTINE_LINES = re.compile(
    rb"(INFO: )*("
    rb"Created TensorFlow Lite XNNPACK delegate for CPU\.|\s*$"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} .*(inference_feedback_manager|landmark_projection_calculator|gl_context)"
    rb")"
)


class StderrFilter:
    """Passes the workers' standard error on, without the routine lines of MediaPipe.

    The parent reads the pipe, so that the last lines of a dying worker arrive.
    """

    def __init__(self, processes: Any) -> None:
        self._reader, self.write_end = processes.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._filter_lines, daemon=True)
        self._thread.start()

    def _filter_lines(self) -> None:
        with open(self._reader.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                if not _ROUTINE_LINES.match(line):
                    pass_on(line.decode(errors="replace").rstrip("\r\n"))
        self._reader.close()

    def close(self) -> None:
        """Pass on the remaining lines and end. The workers must have ended."""
        self.write_end.close()
        self._thread.join(timeout=1.0)
