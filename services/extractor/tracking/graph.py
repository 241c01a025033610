"""Creates MediaPipe graphs from their descriptions."""

from collections.abc import Mapping, Sequence
from typing import Any

from signet.errors import SignetError


class MediaPipeMissing(SignetError):
    """MediaPipe or a system library that it needs is not installed."""

    code = "FAILED_PRECONDITION"


def create_graph(description: str, outputs: Sequence[str], side_inputs: Mapping[str, Any] | None = None) -> Any:
    """Create a graph; its method `process` takes the inputs of one frame and returns the outputs.

    Raises:
        MediaPipeMissing: MediaPipe cannot be loaded.
    """
    try:
        # These imports take seconds; only workers need them. Importing holistic registers the calculators.
        from google.protobuf import text_format  # noqa: PLC0415
        from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig  # noqa: PLC0415
        from mediapipe.python.solution_base import SolutionBase  # noqa: PLC0415
        from mediapipe.python.solutions import holistic  # noqa: F401, PLC0415
    except ImportError as error:
        raise MediaPipeMissing(
            f"MediaPipe cannot be loaded ({error}). It needs the system libraries libGL and libglib: on Debian and "
            "Ubuntu, apt-get install libgl1 libglib2.0-0."
        ) from error
    return SolutionBase(
        graph_config=text_format.Parse(description, CalculatorGraphConfig()),
        side_inputs=dict(side_inputs or {}),
        outputs=list(outputs),
    )
