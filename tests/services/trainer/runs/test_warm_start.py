"""Which runs and models a run may start from, and which of their tensors it takes over."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import new_model, serialise_weights
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.member_training import RunAborted
from services.trainer.runs.progress import load_progress
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.runs.warm_start import SourceWeights, load_source_weights
from signet.datasets.snapshot import Dataset, DatasetClip
from signet.errors import DataLoss, InvalidInput, InvalidSetting, NotFound, NotReady
from signet.landmarks import dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import Fill, moving_clip

QUICK = TrainConfig(num_epochs=2, hidden_dim=8, hand_dim=4, batch_size=6, publish="none")
PRETRAIN = TrainConfig(pretrain=True, num_epochs=2, hidden_dim=8, hand_dim=4, batch_size=6)
# The weights of a run with these settings stay where they began.
FROZEN = QUICK.model_copy(update={"lr": 1e-9, "weight_decay": 0.0})

STANDARDISATION = {"encoders.0.mean", "encoders.0.deviation"}
OWN_GLOSSES, SOURCE_GLOSSES = ("apple", "book", "who"), ("book", "chair", "drink", "who")
ENCODER_TENSOR = "encoders.0.hand.0.weight"


def source_of(config: TrainConfig = QUICK, data: bytes = b"", seen: Sequence[DatasetClip] = ()) -> SourceWeights:
    return SourceWeights("x", config, SOURCE_GLOSSES, data, tuple(seen))


def initialised(config: TrainConfig, own: TrainConfig = QUICK) -> tuple[dict[str, torch.Tensor], ...]:
    """The tensors of a source, and those of a new model before and after it starts from the source."""
    source, model = new_model(config, len(SOURCE_GLOSSES)), new_model(own, len(OWN_GLOSSES))
    source.encoders[0].mean.fill_(3.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    source_of(config, serialise_weights(source)).initialise(model, OWN_GLOSSES)
    return source.state_dict(), before, dict(model.state_dict())


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in one if name not in other or not torch.equal(one[name], other[name])}


def encoder_of(store: DirectoryStore, run_id: str) -> torch.Tensor:
    source = load_source_weights(store, run_id)
    assert source is not None
    return source.load_tensors()[ENCODER_TENSOR]


@pytest.mark.parametrize("head", ["competition", "attention", "linear"])
def test_a_trained_source_gives_encoder_timing_and_the_shared_glosses(head: str) -> None:
    config = QUICK.model_copy(update={"head": head})
    source, before, after = initialised(config, config)

    per_gloss = "logits" if head == "linear" else "signs"
    blank = int(head == "linear")
    changed = differing(after, source) - STANDARDISATION
    assert {name.split(".")[3] for name in changed} == {per_gloss}
    for name in changed:
        rows, given, own = (tensors[name][0, blank:] for tensors in (after, source, before))
        assert torch.equal(rows[1], given[0])  # book
        assert torch.equal(rows[2], given[3])  # who
        assert torch.equal(rows[0], own[0])  # apple
        assert torch.equal(after[name][:, :blank], source[name][:, :blank])


def test_a_pretrained_source_gives_no_head() -> None:
    source, before, after = initialised(PRETRAIN)

    changed, head = differing(after, before), {name for name in after if ".head." in name}
    assert not changed & head
    assert not differing(after, source) - head - STANDARDISATION


def test_a_pretraining_takes_no_head_over() -> None:
    source, before, after = initialised(QUICK, PRETRAIN)

    head = {name for name in after if ".head." in name}
    assert not differing(after, before) & head
    assert not differing(after, source) - head - STANDARDISATION - {name for name in after if "decoders" in name}


@pytest.mark.parametrize("config", [QUICK, PRETRAIN])
def test_features_are_standardised_by_the_new_clips(config: TrainConfig) -> None:
    source, before, after = initialised(config)

    assert "encoders.0.mean" in differing(source, before)
    assert not differing(after, before) & STANDARDISATION


def add_other_corpus(store: DirectoryStore) -> None:
    """Add a corpus "other" without a recording of the small corpus."""
    for number, gloss in enumerate(("book", "who")):
        for index in range(5):
            seed = 500 + 10 * number + index
            clip = moving_clip(f"x-{gloss}-{index}", gloss, "train" if index < 4 else "val", seed, corpus="other")
            store.create(keys.clip("other", clip.record.clip_id), dump(clip))


@pytest.fixture
def store(directory_store: DirectoryStore, fill: Fill) -> DirectoryStore:
    """A store with the small corpus and another one."""
    fill(directory_store)
    add_other_corpus(directory_store)
    return directory_store


def train(store: DirectoryStore, config: TrainConfig, **changes: object) -> str:
    """Train a run to its end; its id."""
    run_id = new_run_id()
    assert run(store, config.model_copy(update=changes), run_id, RunCallbacks()).state == "succeeded"
    return run_id


def test_all_seeds_of_a_run_start_from_the_source_and_have_seen_its_clips(store: DirectoryStore) -> None:
    source = train(store, PRETRAIN, corpus="other")
    run_id = train(store, FROZEN, start_from=source, jobs=2, seeds=2)

    assert torch.allclose(encoder_of(store, run_id), encoder_of(store, source), atol=1e-6)
    first, second = (load_source_weights(store, name) for name in (source, run_id))
    assert first is not None
    assert second is not None
    assert {clip.clip_id for clip in first.seen_clips} == {f"x-{g}-{i}" for g in ("book", "who") for i in range(4)}
    assert len(second.seen_clips) == 18 + 8


def test_a_member_that_begins_after_an_interruption_starts_from_the_source(store: DirectoryStore) -> None:
    source, run_id = train(store, PRETRAIN, corpus="other"), new_run_id()
    epochs: list[object] = []
    callbacks = RunCallbacks(on_epoch=epochs.append, should_abort=lambda: len(epochs) == 2)
    with pytest.raises(RunAborted):
        run(store, FROZEN.model_copy(update={"start_from": source, "seeds": 2}), run_id, callbacks)

    assert resume(store, run_id, RunCallbacks()).state == "succeeded"
    progress = load_progress(store, run_id)
    assert progress is not None
    second = store.get(keys.run(run_id, f"members/0-{progress.members[1].seed}/weights.safetensors"))
    tensors = source_of(data=second).load_tensors()
    assert torch.allclose(tensors[ENCODER_TENSOR], encoder_of(store, source), atol=1e-6)


def test_a_source_that_was_cross_validated_is_refused(store: DirectoryStore) -> None:
    source = train(store, QUICK, folds=2, corpus="wlasl")
    with pytest.raises(InvalidInput, match=f"--start-from {source} is a cross-validation"):
        train(store, QUICK, corpus="other", start_from=source)


def test_a_source_that_was_selected_by_held_out_clips_is_refused(store: DirectoryStore) -> None:
    source = train(store, QUICK)
    train(store, QUICK, start_from=source)
    progress = load_progress(store, source)
    assert progress is not None
    (member,) = progress.members
    selected = progress.model_copy(update={"members": (member.model_copy(update={"selected_on": "val"}),)})
    store.put(keys.run(source, "progress.json"), selected.model_dump_json(by_alias=True).encode())
    with pytest.raises(InvalidInput, match=r"6 of the 6 clips .* or was selected by them"):
        train(store, QUICK, start_from=source)


def test_a_source_is_refused_if_its_own_source_has_seen_a_held_out_clip(store: DirectoryStore) -> None:
    clip = moving_clip("x-again", "book", "train", 6, corpus="other")  # the recording of book-6, a val clip of wlasl
    store.put(keys.clip("other", "x-again"), dump(clip))
    first = train(store, QUICK, corpus="other")
    for key in ("x-again", "x-book-0"):
        store.delete(keys.clip("other", key))
    second = train(store, QUICK, corpus="other", start_from=first)
    with pytest.raises(InvalidInput, match=r"1 of the 6 clips .* such as book-6"):
        train(store, QUICK, start_from=second)


def test_weights_of_another_layout_are_refused() -> None:
    tensors = new_model(QUICK, 4).encoders[0].state_dict()
    for earlier in (
        {f"encoder.{name}": tensor for name, tensor in tensors.items()},
        {f"encoders.0.{name.replace('wards.0.0.', 'wards.0.')}": tensor for name, tensor in tensors.items()},
    ):
        with pytest.raises(NotReady, match="x was made by another version"):
            source_of(data=save(earlier)).initialise(new_model(QUICK, 3), OWN_GLOSSES)


def test_damaged_weights_are_named(store: DirectoryStore) -> None:
    with pytest.raises(DataLoss, match="--start-from x: its weights cannot be read"):
        source_of(data=b"garbage").load_tensors()
    source = train(store, QUICK)
    store.put(keys.run(source, "weights.safetensors"), b"garbage")
    with pytest.raises(DataLoss, match=r"weights\.safetensors is damaged"):
        train(store, QUICK, start_from=source)


def test_a_source_that_has_seen_a_held_out_clip_is_refused(small_dataset: Dataset) -> None:
    """By the clip's id, by the hash of its video, or as a duplicate that either snapshot knows."""
    training, val = small_dataset.split("train"), small_dataset.split("val")
    renamed = val[0].model_copy(update={"clip_id": "another"})
    other_video = renamed.model_copy(update={"source_sha256": "f" * 64})
    nameless = val[1].model_copy(update={"clip_id": "unknown", "source_sha256": ""})
    group = ("another", "book-6")

    source_of(seen=training).check(QUICK, val, ())
    source_of(seen=[other_video]).check(QUICK, val, ())
    source_of(seen=[nameless]).check(QUICK, [clip.model_copy(update={"source_sha256": ""}) for clip in val], ())
    for source, duplicates in (
        (source_of(seen=[*training, val[0]]), ()),
        (source_of(seen=[renamed]), ()),
        (source_of(seen=[other_video]), (group,)),
        (replace(source_of(seen=[other_video]), duplicates=(group,)), ()),
    ):
        with pytest.raises(InvalidInput, match=r"1 of the 6 clips .* such as book-6"):
            source.check(QUICK, val, duplicates)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("branches", 2),
        ("hidden_dim", 16),
        ("hand_dim", 8),
        ("num_layers", 2),
        ("without", "contact"),
        ("head", "linear"),
        ("sign_dim", 4),
    ],
)
def test_settings_that_do_not_fit_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting) as raised:
        source_of().check(QUICK.model_copy(update={name: value}), (), ())

    for text in (f"--{name.replace('_', '-')}", repr(value), repr(getattr(QUICK, name))):
        assert text in str(raised.value)


def test_a_pretrained_source_fits_every_head_and_a_pretraining_every_source() -> None:
    linear = QUICK.model_copy(update={"head": "linear"})
    source_of(PRETRAIN).check(linear, (), ())
    source_of(linear).check(PRETRAIN, (), ())


@pytest.mark.parametrize("name", ["20261125T000000Z-ffffff", "nobody@latest", "nobody"])
def test_a_source_that_does_not_exist_is_named(store: DirectoryStore, name: str) -> None:
    with pytest.raises(NotFound, match=f"--start-from {name}"):
        train(store, QUICK, start_from=name)


def test_a_run_whose_first_member_is_not_trained_is_refused(store: DirectoryStore) -> None:
    store.create(keys.run("begun", "config.json"), QUICK.model_dump_json().encode())
    with pytest.raises(NotReady, match="Finish it first: `signet train --resume begun`"):
        load_source_weights(store, "begun")
    run(store, QUICK, "stopped", RunCallbacks(should_stop=lambda: True))
    with pytest.raises(NotReady, match="was stopped: train it again, or name the model that it published"):
        load_source_weights(store, "stopped")


def test_a_published_model_is_recorded_by_its_version(store: DirectoryStore) -> None:
    result = run(store, QUICK.model_copy(update={"corpus": "other", "publish": "ensemble"}), "source", RunCallbacks())
    run_id = train(store, QUICK, start_from="signet")

    config = TrainConfig.model_validate_json(store.get(keys.run(run_id, "config.json")))
    assert config.start_from == f"signet@{result.model_version}"
