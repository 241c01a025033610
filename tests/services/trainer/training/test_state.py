"""A training that is stopped, and goes on in another process, is the training that never was."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.epoch import EpochResult
from services.trainer.training.loop import Training
from services.trainer.training.state import TrainingIdentity
from signet.datasets.snapshot import Dataset, publish_snapshot
from signet.errors import DataLoss, InvalidInput, SignetError
from signet.store import DirectoryStore

CPU = torch.device("cpu")
CONFIG = TrainConfig(num_epochs=6, hidden_dim=8, batch_size=8, dropout=0.2)
EVERYTHING = CONFIG.model_copy(
    update={"accumulate": 2, "optimizer": "sgd", "lr": 0.05, "branches": 2, "patience": 100, "flat_start": 0.0}
)

# Trains from the last saved state, and saves the state of each epoch. Kills itself at a batch of this number, if given.
_TRAIN = """
import hashlib, json, os, pathlib, signal, sys
import torch
from services.trainer.config.train_config import TrainConfig
from services.trainer.training.loop import Training
from signet.datasets.snapshot import load_snapshot
from signet.store import DirectoryStore

torch.set_num_threads(1)
folder, version, config, batches = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
saved, counted = folder / "kept", 0

def count():
    global counted
    counted += 1
    if counted == batches:
        os.kill(os.getpid(), signal.SIGKILL)

snapshot = load_snapshot(DirectoryStore(folder), "wlasl", version)
config = TrainConfig.model_validate_json(config)
training = Training(snapshot, config, torch.device("cpu"), between_batches=count)
if saved.exists():
    training.restore(saved.read_bytes())
for epoch in training.epochs():
    saved.write_bytes(training.state())
    print(json.dumps([epoch.number, epoch.train_loss, epoch.val.loss, epoch.val.correct]), flush=True)
weights = torch.cat([parameter.flatten() for parameter in training.model.parameters()]).detach().numpy()
print(hashlib.sha256(weights.tobytes()).hexdigest())
"""


def weights(training: Training) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def history(epochs: list[EpochResult]) -> list[list[float]]:
    return [[epoch.number, epoch.train_loss, epoch.val.loss, epoch.val.correct] for epoch in epochs]


def begun(small_dataset: Dataset, epochs: int, config: TrainConfig = CONFIG) -> Training:
    training = Training(small_dataset, config, CPU)
    for _, _ in zip(range(epochs), training.epochs(), strict=False):
        pass
    return training


def test_a_training_that_is_killed_goes_on_in_a_new_process_bit_for_bit(tmp_path: Path, small_dataset: Dataset) -> None:
    whole = Training(small_dataset, CONFIG, CPU)
    expected = history(list(whole.epochs()))
    publish_snapshot(DirectoryStore(tmp_path), small_dataset)

    def train(batches: int) -> tuple[int, list[str]]:
        arguments = [str(tmp_path), small_dataset.manifest.version, CONFIG.model_dump_json(), str(batches)]
        ended = subprocess.run(
            [sys.executable, "-c", _TRAIN, *arguments], check=False, stdout=subprocess.PIPE, text=True
        )
        return ended.returncode, ended.stdout.splitlines()

    killed, before = train(batches=3 * 3 + 2)  # in the fourth epoch
    assert (killed, len(before)) == (-9, 3)
    ended, (*after, digest) = train(batches=0)
    assert ended == 0
    assert [json.loads(line) for line in before + after] == expected
    assert digest == hashlib.sha256(weights(whole).numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["defaults", "everything"])
def test_a_training_can_go_on_after_any_epoch(small_dataset: Dataset, config: TrainConfig) -> None:
    whole = Training(small_dataset, config, CPU)
    expected = history(list(whole.epochs()))
    state, epochs = Training(small_dataset, config, CPU).state(), []
    for number in range(1, 7):
        training = Training(small_dataset, config, CPU)
        training.restore(state)
        assert training.epoch == number - 1
        epochs.append(next(training.epochs()))
        torch.rand(7)  # somebody else's randomness is not the training's
        state = training.state()
    assert history(epochs) == expected
    assert torch.equal(weights(training), weights(whole))
    assert training.selected_on == whole.selected_on == ""
    assert not list(training.epochs()), "a training that has ended does not go on"


def test_the_state_within_an_epoch_is_that_of_the_last_one(small_dataset: Dataset) -> None:
    batches = 0

    def give_up() -> None:
        nonlocal batches
        batches += 1
        if batches == 8:
            raise InterruptedError

    training = Training(small_dataset, CONFIG, CPU, between_batches=give_up)
    with pytest.raises(InterruptedError):
        list(training.epochs())
    assert training.epoch == 2
    assert training.state() == begun(small_dataset, 2).state()


def test_a_training_leaves_the_randomness_of_its_process_alone(small_dataset: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    begun(small_dataset, 1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"lr": 0.5}, "lr 0.5 instead of 0.008"),
        ({"num_epochs": 9, "hidden_dim": 16}, "hidden_dim 16 instead of 8; num_epochs 9 instead of 6"),
    ],
)
def test_a_training_does_not_go_on_under_another_configuration(
    small_dataset: Dataset, update: dict[str, object], named: str
) -> None:
    state = begun(small_dataset, 1).state()
    other = Training(small_dataset, CONFIG.model_copy(update=update), CPU)
    before = weights(other)
    with pytest.raises(InvalidInput, match=named):
        other.restore(state)
    assert other.epoch == 0
    assert torch.equal(weights(other), before)


def test_a_training_does_not_go_on_with_other_clips(small_dataset: Dataset) -> None:
    training = begun(small_dataset, 1)
    other_fold = Training(small_dataset, CONFIG, CPU, train=small_dataset.split("train")[1:], held_out=[])
    with pytest.raises(InvalidInput, match=r"other training clips \(17 instead of 18\); other held-out clips"):
        other_fold.restore(training.state())
    manifest = small_dataset.manifest.model_copy(update={"version": "another"})
    with pytest.raises(InvalidInput, match="dataset wlasl/another instead of wlasl/"):
        Training(Dataset(manifest, small_dataset.samples), CONFIG, CPU).restore(training.state())


def test_as_many_other_clips_another_order_and_another_device_are_a_difference(small_dataset: Dataset) -> None:
    train, held_out = (
        [clip.clip_id for clip in small_dataset.split("train")],
        [clip.clip_id for clip in small_dataset.split("val")],
    )
    own = TrainingIdentity.of(CONFIG, small_dataset, train, held_out, "cpu")
    assert own.differences(own) == []
    for others, named in (
        ((train[::-1], held_out, "cpu"), "other training clips (18 instead of 18)"),
        ((["other", *train[1:]], held_out, "cpu"), "other training clips (18 instead of 18)"),
        ((train, ["other", *held_out[1:]], "cpu"), "other held-out clips (6 instead of 6)"),
        ((train, held_out, "cuda"), "device cuda instead of cpu"),
    ):
        assert own.differences(TrainingIdentity.of(CONFIG, small_dataset, *others)) == [named]
    older = TrainingIdentity.model_validate(own.model_dump(exclude={"feature_version"}))
    assert own.differences(older) == ["features of version 1 instead of 2"]


def test_what_does_not_change_a_training_may_be_told_otherwise(small_dataset: Dataset) -> None:
    state = begun(small_dataset, 1).state()
    changes = {"model_name": "other", "max_gpu_temperature": 0.0, "target_accuracy": 0.5, "patience": 3}
    training = Training(small_dataset, CONFIG.model_copy(update=changes), CPU)
    training.restore(state)
    assert training.epoch == 1


def test_a_damaged_state_is_refused_and_changes_nothing(small_dataset: Dataset) -> None:
    state = begun(small_dataset, 1).state()
    header = 8 + int.from_bytes(state[:8], "little")
    flipped = bytearray(state)
    flipped[header + 100] ^= 1
    training = begun(small_dataset, 2)
    before = training.state()
    for damaged in (b"", b"nothing like it", state[:100], state[:-1], bytes(flipped)):
        with pytest.raises(DataLoss, match="damaged"):
            training.restore(damaged)
    other = state.replace(b"signet.state/3", b"signet.state/2")
    with pytest.raises(SignetError, match=r"signet\.state/3"):
        training.restore(other)
    assert training.state() == before


def test_a_state_with_fields_of_removed_features_can_go_on(small_dataset: Dataset) -> None:
    now = TrainingIdentity.of(CONFIG, small_dataset, ["a"], ["b"], "cpu")
    before = now.model_copy(update={"config": {**now.config, "supplement": "", "auxiliary_glosses": 0}})
    before.config.pop("accumulate")
    assert before.differences(now) == now.differences(before) == []
    other = now.model_copy(update={"config": {**now.config, "accumulate": 2}})
    assert before.differences(other) == ["accumulate 2 instead of 1"]


def of_an_older_version(state: bytes, **config: object) -> bytes:
    """A state as Signet wrote it while there were plateau schedules and averages of epochs."""
    length = 8 + int.from_bytes(state[:8], "little")
    record = json.loads(json.loads(state[8:length])["__metadata__"]["signet"])
    record["subject"]["config"] |= {"schedule": "one-cycle", "average_last": 0, "keep_best": 0, **config}
    record["progress"] |= {"plateau": {"factor": 1.0}, "watch": {"silent": [0.5], "raises": 0}, "kept": []}
    return save(load(state), {"signet": json.dumps(record)})


def test_a_state_of_an_older_version_continues_unless_it_used_a_removed_feature(small_dataset: Dataset) -> None:
    begun_before = begun(small_dataset, 2)
    training = Training(small_dataset, CONFIG, CPU)
    training.restore(of_an_older_version(begun_before.state()))
    assert next(training.epochs()).train_loss == next(begun_before.epochs()).train_loss
    assert torch.equal(weights(training), weights(begun_before))
    with pytest.raises(InvalidInput, match="keep_best None instead of 2"):
        training.restore(of_an_older_version(begun_before.state(), keep_best=2))
