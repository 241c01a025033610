"""Recipes by name, wherever a configuration comes from."""

import json

import pytest
from pydantic import ValidationError

from services.trainer.config.flags import config_from_flags
from services.trainer.config.presets import PRESETS, Preset
from services.trainer.config.train_config import TrainConfig
from services.trainer.converters import config_from_message
from services.trainer.settings import TrainerSettings
from signet.errors import InvalidInput, InvalidSetting
from signet.v1 import trainer_pb2 as pb

EXPECTED = {"phase1", "signs50", "signs100", "signs300", "signs1000", "signs2000", "tiny", "few", "large"}


def test_there_are_presets_for_every_size() -> None:
    assert set(PRESETS) == EXPECTED
    for name, preset in PRESETS.items():
        config = TrainConfig(preset=name)
        assert {field: getattr(config, field) for field in preset.values} == preset.values
    assert [TrainConfig(preset=f"signs{count}").max_glosses for count in (50, 100, 300, 1000, 2000)] == [
        50, 100, 300, 1000, 2000,
    ]  # fmt: skip


def test_what_is_given_counts_more_than_the_preset_and_what_neither_says_keeps_its_default() -> None:
    config = TrainConfig.model_validate({"preset": "signs300", "hidden_dim": 10})
    assert (config.hidden_dim, config.max_glosses) == (10, 300)
    assert config.optimizer == TrainConfig().optimizer


def test_a_stored_configuration_is_what_it_was_though_its_preset_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = TrainConfig(preset="signs300").model_dump_json()
    monkeypatch.delitem(PRESETS, "tiny")
    monkeypatch.setitem(PRESETS, "signs300", PRESETS["phase1"])
    assert TrainConfig.model_validate_json(stored).max_glosses == 300


def test_a_field_that_a_stored_configuration_lacks_has_its_default_and_not_the_value_of_the_preset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PRESETS, "phase1", Preset("20 signs", {"accumulate": 8}))
    stored = TrainConfig(preset="phase1").model_dump()
    del stored["accumulate"]
    assert TrainConfig.stored(stored).accumulate == 1
    assert TrainConfig.stored(json.dumps(stored).encode()).accumulate == 1
    assert TrainConfig.model_validate(stored).accumulate == 8


def test_fields_of_removed_features_are_dropped_from_a_stored_configuration_and_refused_in_a_new_one() -> None:
    stored = TrainConfig(seed=7).model_dump() | {"supplement": "hands", "auxiliary_glosses": 80}
    assert TrainConfig.stored(stored) == TrainConfig.stored(json.dumps(stored).encode()) == TrainConfig(seed=7)
    for name in ("supplement", "auxiliary_glosses"):
        with pytest.raises(ValidationError, match=name):
            TrainConfig.model_validate({name: stored[name]})


def test_a_preset_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidSetting, match=r"--preset signs20: .*phase1.*large"):
        config_from_flags({"preset": "signs20"})
    with pytest.raises(InvalidInput, match="preset='signs20'"):
        config_from_message(pb.TrainConfig(preset="signs20"))


def test_the_service_takes_one_from_its_environment_and_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNET_TRAIN__PRESET", "signs100")
    monkeypatch.setenv("SIGNET_TRAIN__NUM_EPOCHS", "7")
    train = TrainerSettings(_cli_parse_args=[]).train
    assert (train.max_glosses, train.num_epochs) == (100, 7)
    monkeypatch.setenv("SIGNET_TRAIN__NUM_EPOCHS", "")
    assert TrainerSettings(_cli_parse_args=[]).train == TrainConfig(preset="signs100"), "handed on, and not set"
    assert config_from_message(pb.TrainConfig(preset="signs100", seed=3)).max_glosses == 100


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"folds": 1}, "--folds 1: One fold"),
        ({"folds": 5, "target_accuracy": 0.8}, "--folds with --target-accuracy"),
        ({"folds": 5, "patience": 10}, "--folds with --patience"),
        ({"folds": 5, "start_from": "signet"}, "--folds with --start-from"),
        ({"folds": 5, "pretrain": True}, "--pretrain with --folds"),
        ({"seeds": 0}, "--seeds 0"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_flags(values: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        config_from_flags(values)


def test_a_stored_run_of_an_earlier_version_may_combine_what_a_new_one_may_not() -> None:
    for values in ({"folds": 5, "start_from": "signet"}, {"folds": 5, "pretrain": True}):
        assert TrainConfig.stored(TrainConfig().model_dump() | values).folds == 5


def test_a_goal_that_stops_nothing_goes_with_folds() -> None:
    assert TrainConfig(folds=5, target_accuracy=0.8, train_past_target=True).folds == 5
    with pytest.raises(ValidationError):
        TrainConfig(folds=21)
