"""What the store holds about a run is loaded, and what is missing is named."""

import json

import pytest

from services.trainer.inspection.run.record import load_run
from signet.errors import DataLoss, NotFound
from signet.store import keys
from tests.services.trainer.inspection.conftest import FOLDS, INTERRUPTED, LINEAR, SEEDS, TRAIN_ONLY, Runs


def test_a_complete_run_is_loaded(runs: Runs) -> None:
    record = load_run(runs.store, SEEDS)
    assert (record.state, record.missing) == ("succeeded", ())
    assert [(member.key, len(member.epochs), member.done) for member in record.members] == [
        ((0, 0), 14, True),
        ((0, 1), 14, True),
    ]
    assert record.vocabulary == ("book", "drink", "who")
    assert len(record.clips()) == 24


def test_a_cross_validation_has_a_member_for_each_fold(runs: Runs) -> None:
    record = load_run(runs.store, FOLDS)
    assert [member.key for member in record.members] == [(0, 0), (1, 0)]
    assert record.folds == 2


def test_an_interrupted_run_has_its_curves_and_the_command_that_resumes_it(runs: Runs) -> None:
    record = load_run(runs.store, INTERRUPTED)
    assert (record.state, record.held_out) == ("interrupted", None)
    assert [len(member.epochs) for member in record.members] == [4]
    (sentence,) = record.missing
    assert "The run was interrupted" in sentence
    assert f"signet train --resume {INTERRUPTED}" in sentence


def test_a_run_without_held_out_clips_says_how_to_get_some(runs: Runs) -> None:
    record = load_run(runs.store, TRAIN_ONLY)
    assert (record.state, record.held_out) == ("succeeded", None)
    (sentence,) = record.missing
    assert "no held-out clips" in sentence
    assert "signet extract --split val" in sentence


def test_a_run_of_another_version_is_loaded_without_its_configuration(copied: Runs) -> None:
    key = keys.run(LINEAR, "config.json")
    settings = json.loads(copied.store.get(key)) | {"warp_factor": 9}
    entries = [json.loads(line) for line in copied.store.get(keys.run(LINEAR, "history.jsonl")).splitlines()]
    for entry in entries:
        # As the first version wrote them.
        for name in ("val_top5", "val_continuous_correct", "learning_rate"):
            del entry[name]
    copied.replaced(LINEAR, "config.json", json.dumps(settings).encode())
    copied.replaced(LINEAR, "history.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in entries).encode())
    record = load_run(copied.store, LINEAR)
    assert record.config is None
    assert record.settings["warp_factor"] == 9
    assert "warp_factor" in record.missing[0]
    assert [len(member.epochs) for member in record.members] == [14]
    assert record.members[0].epochs[-1].val.continuous_correct is None
    assert record.held_out is not None


def test_a_run_without_progress_has_one_member(copied: Runs) -> None:
    copied.replaced(LINEAR, "progress.json", None).replaced(LINEAR, "heldout.safetensors", None)
    record = load_run(copied.store, LINEAR)
    assert [member.key for member in record.members] == [(0, 0)]
    assert record.members[0].weights == ""
    assert "older version" in record.missing[0]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("history.jsonl", "Its curves are left out"),
        ("result.json", "cannot read result.json"),
        ("heldout.safetensors", "not held-out predictions"),
        ("progress.json", "The progress of the run cannot be read"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_loaded(copied: Runs, file: str, said: str) -> None:
    record = load_run(copied.replaced(LINEAR, file, b"{").store, LINEAR)
    assert any(said in sentence for sentence in record.missing), record.missing
    assert record.settings["head"] == "linear"


def test_an_unknown_run_is_an_error_that_names_it(runs: Runs) -> None:
    with pytest.raises(NotFound, match=r"no run 'nope'.*signet runs"):
        load_run(runs.store, "nope")


def test_a_damaged_configuration_is_an_error(copied: Runs) -> None:
    for broken in (b"{", b"[]"):
        with pytest.raises(DataLoss, match=r"config\.json"):
            load_run(copied.replaced(LINEAR, "config.json", broken).store, LINEAR)
