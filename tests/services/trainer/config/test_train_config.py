"""The configuration of a training run, and what importing it costs."""

import subprocess
import sys

HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib")


def test_the_configuration_imports_no_torch() -> None:
    """`signet train --help` must answer at once, and torch alone takes seconds to import."""
    program = (
        "import sys, services.trainer.config.flags, services.trainer.config.train_config; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
