"""The configuration of a training run, and what importing it costs."""

import json
import re
import subprocess
import sys

import pytest
from google.protobuf.descriptor import FieldDescriptor
from pydantic import ValidationError
from typer.testing import CliRunner

from services.trainer.cli import app
from services.trainer.config.train_config import REMOVED_FIELDS, TrainConfig, removed_settings
from signet.v1 import trainer_pb2 as pb

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


def test_proto_configuration_and_help_name_the_same_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting is declared in TrainConfig; the gRPC message and the flags of `signet train` follow it."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["train", "--help"]).output
    declared = list(TrainConfig.model_fields)
    assert [field.name for field in pb.TrainConfig.DESCRIPTOR.fields] == declared
    assert set(pb.TrainConfig.DESCRIPTOR.fields_by_name).isdisjoint(REMOVED_FIELDS)
    of_command = {"store", "help", "resume", "threads", "plot", "show_completion", "install_completion"}
    flags = {name.replace("-", "_") for name in re.findall(r"^│ (?:\*\s+)?--([a-z-]+)", shown, flags=re.MULTILINE)}
    assert flags - of_command == set(declared)


def test_a_field_has_the_type_of_its_proto_field() -> None:
    kinds = {
        "Literal": {"STRING"}, "str": {"STRING"}, "bool": {"BOOL"}, "float": {"DOUBLE"}, "int": {"UINT32", "UINT64"},
    }  # fmt: skip
    names = {value: name for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    for field in pb.TrainConfig.DESCRIPTOR.fields:
        annotation = str(TrainConfig.model_fields[field.name].annotation)
        kind = next(known for known in kinds if known in annotation)
        assert names[field.type].removeprefix("TYPE_") in kinds[kind], field.name
