"""The configuration of a training run, and what importing it costs."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig, removed_settings

HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib")


def test_the_configuration_imports_no_torch() -> None:
    """`signet train --help` must answer at once, and torch alone takes seconds to import."""
    program = (
        "import sys, services.trainer.config.flags, services.trainer.config.train_config; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OLD = TrainConfig(num_epochs=7, lr=0.1).model_dump() | {"schedule": "one-cycle", "average_last": 0, "keep_best": 0}


def test_a_stored_configuration_may_name_removed_features() -> None:
    for stored in (OLD, OLD | {"keep_best": 3, "schedule": "plateau"}):
        for form in (stored, json.dumps(stored).encode()):
            assert TrainConfig.stored(form) == TrainConfig(num_epochs=7, lr=0.1)
    with pytest.raises(ValidationError, match="other"):
        TrainConfig.stored(OLD | {"other": 1})
    with pytest.raises(ValidationError, match="keep_best"):
        TrainConfig.model_validate(OLD)


def test_only_removed_features_in_use_are_reported() -> None:
    assert removed_settings(json.dumps(OLD).encode()) == []
    assert removed_settings(TrainConfig().model_dump_json().encode()) == []
    used = OLD | {"keep_best": 3, "schedule": "plateau"}
    assert removed_settings(json.dumps(used).encode()) == ["schedule plateau", "keep_best 3"]
