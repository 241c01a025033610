"""What a run may begin with, and what of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from services.trainer.config.train_config import TrainConfig
from services.trainer.data import snapshot
from services.trainer.model.build import new_model, serialise_weights
from services.trainer.runs import warm_start as start
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.members import Abandoned, plan
from services.trainer.runs.messages import end_messages
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.runs.warm_start import Start, Taught
from signet.datasets.snapshot import Dataset, DatasetClip, SourceClip, build_snapshot
from signet.errors import InvalidInput, InvalidSetting, NotFound, NotReady
from signet.landmarks import dump as dump_clip
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import Fill, moving_clip

CPU = torch.device("cpu")
QUICK = TrainConfig(num_epochs=2, hidden_dim=8, hand_dim=4, batch_size=6, publish="none")
PRETRAIN = TrainConfig(pretrain=True, num_epochs=2, hidden_dim=8, hand_dim=4, batch_size=6)

MEASURED = {"encoders.0.mean", "encoders.0.deviation"}
MINE, THEIRS = ("apple", "book", "who"), ("book", "chair", "drink", "who")


def alone(name: str, config: TrainConfig, weights: bytes = b"", learnt: Sequence[DatasetClip] = ()) -> Start:
    """A start of one member."""
    return Start(name, config, THEIRS, (Taught(weights, tuple(learnt)),), ())


def begun(config: TrainConfig, told: TrainConfig = QUICK) -> tuple[dict[str, torch.Tensor], ...]:
    """Tensors of a start, of a new model before it begins with that, and after."""
    source, model = new_model(config, len(THEIRS)), new_model(told, len(MINE))
    source.encoders[0].mean.fill_(3.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    alone("x", config, serialise_weights(source)).begin(0, model, MINE)
    return source.state_dict(), before, dict(model.state_dict())


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in one if name not in other or not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("head", ["competition", "attention", "linear"])
def test_an_ordinary_start_gives_encoder_timing_and_the_glosses_in_common(head: str) -> None:
    config = QUICK.model_copy(update={"head": head})
    theirs, before, after = begun(config, config)

    of_gloss = "logits" if head == "linear" else "signs"
    blank = int(head == "linear")
    changed = differing(after, theirs) - MEASURED
    assert {name.split(".")[3] for name in changed} == {of_gloss}
    for name in changed:
        rows, found, own = (tensors[name][0, blank:] for tensors in (after, theirs, before))
        assert torch.equal(rows[1], found[0])  # book
        assert torch.equal(rows[2], found[3])  # who
        assert torch.equal(rows[0], own[0])  # apple
        assert torch.equal(after[name][:, :blank], theirs[name][:, :blank])


def test_a_pretrained_start_gives_no_head() -> None:
    theirs, before, after = begun(PRETRAIN)

    changed, head = differing(after, before), {name for name in after if ".head." in name}
    assert not changed & head
    assert not differing(after, theirs) - head - MEASURED


@pytest.mark.parametrize("config", [QUICK, PRETRAIN])
def test_features_are_standardised_by_the_new_clips(config: TrainConfig) -> None:
    theirs, before, after = begun(config)

    assert "encoders.0.mean" in differing(theirs, before)
    assert not differing(after, before) & MEASURED


def other_corpus(store: DirectoryStore, corpus: str = "other", first: int = 500) -> Dataset:
    """Clips of nobody that the small corpus shows."""
    clips = [
        moving_clip(f"x{first}-{gloss}-{index}", gloss, "train" if index < 4 else "val", first + 10 * number + index)
        for number, gloss in enumerate(("book", "who"))
        for index in range(5)
    ]
    for clip in clips:
        store.create(keys.clip(corpus, clip.record.clip_id), dump_clip(clip))
    return build_snapshot(corpus, [SourceClip(clip, clip.record.source_sha256) for clip in clips])


def test_a_run_begins_with_a_pretrained_one(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    other_corpus(directory_store)
    before = new_run_id()
    run(directory_store, PRETRAIN.model_copy(update={"corpus": "other"}), before, RunCallbacks())
    found = start.read(directory_store, before, 0)
    assert found is not None
    told = QUICK.model_copy(update={"start_from": before, "jobs": 2, "seeds": 2, "lr": 1e-9, "weight_decay": 0.0})

    after = new_run_id()
    result = run(directory_store, told, after, RunCallbacks())

    assert result.state == "succeeded"
    again = start.read(directory_store, after, 0)
    assert again is not None
    assert torch.allclose(
        again.tensors(0)["encoders.0.hand.0.weight"], found.tensors(0)["encoders.0.hand.0.weight"], atol=1e-6
    )
    # What it learnt from is its own clips and those of its start.
    assert {clip.clip_id for clip in found.of(0).learnt} < {clip.clip_id for clip in again.of(0).learnt}


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_fold_begins_with_the_same_fold_of_its_start(
    directory_store: DirectoryStore, fill: Fill, jobs: int
) -> None:
    """So that a start may have learnt from the very corpus that the new run is cross-validated on."""
    fill(directory_store)
    before = new_run_id()
    run(directory_store, PRETRAIN.model_copy(update={"folds": 2, "seeds": 2}), before, RunCallbacks())
    told = {"start_from": before, "folds": 2, "seeds": 2, "jobs": jobs, "lr": 1e-9, "weight_decay": 0.0}

    after = new_run_id()
    run(directory_store, QUICK.model_copy(update=told), after, RunCallbacks())

    found, again = (start.read(directory_store, run_id, 2) for run_id in (before, after))
    assert found is not None
    assert again is not None
    theirs, mine = ([one.tensors(fold)["encoders.0.hand.0.weight"] for fold in (0, 1)] for one in (found, again))
    assert not torch.allclose(theirs[0], theirs[1], atol=1e-3)
    for their, own in zip(theirs, mine, strict=True):
        assert torch.allclose(own, their, atol=1e-6)


def test_a_fold_is_refused_what_another_fold_of_its_start_may_have(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    before = new_run_id()
    run(directory_store, PRETRAIN.model_copy(update={"folds": 2}), before, RunCallbacks())
    with pytest.raises(InvalidInput, match=r"is judged by, or from others .* Train one with --folds 3, of the same"):
        run(directory_store, QUICK.model_copy(update={"start_from": before, "folds": 3}), new_run_id(), RunCallbacks())


def test_a_start_whose_folds_are_not_all_trained_is_none(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    before = new_run_id()
    told = PRETRAIN.model_copy(update={"folds": 2})
    epochs: list[object] = []
    with pytest.raises(Abandoned):
        run(directory_store, told, before, RunCallbacks(on_epoch=epochs.append, should_abandon=lambda: len(epochs) > 2))
    with pytest.raises(NotReady, match=rf"not trained to its end, in all folds. .* --resume {before}"):
        start.read(directory_store, before, 2)
    assert start.read(directory_store, before, 0) is not None


def test_a_start_of_a_start_is_known_fold_by_fold(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    first, second = new_run_id(), new_run_id()
    run(directory_store, PRETRAIN.model_copy(update={"folds": 2}), first, RunCallbacks())
    told = QUICK.model_copy(update={"folds": 2, "start_from": first})
    run(directory_store, told, second, RunCallbacks())

    result = run(directory_store, told.model_copy(update={"start_from": second}), new_run_id(), RunCallbacks())

    assert result.state == "succeeded"
    found = start.read(directory_store, second, 2)
    assert found is not None
    held_out = [{clip.clip_id for clip in member.held_out} for member in plan(small(directory_store), told)]
    assert not any({clip.clip_id for clip in found.of(fold).learnt} & held_out[fold] for fold in (0, 1))


def test_a_fold_that_begins_after_an_interruption_begins_with_its_own(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    fill(directory_store)
    before, after = new_run_id(), new_run_id()
    run(directory_store, PRETRAIN.model_copy(update={"folds": 2}), before, RunCallbacks())
    told = QUICK.model_copy(update={"folds": 2, "start_from": before, "lr": 1e-9, "weight_decay": 0.0})
    epochs: list[object] = []
    with pytest.raises(Abandoned):
        run(directory_store, told, after, RunCallbacks(on_epoch=epochs.append, should_abandon=lambda: len(epochs) == 2))

    assert resume(directory_store, after, RunCallbacks()).state == "succeeded"

    found, again = (start.read(directory_store, run_id, 2) for run_id in (before, after))
    assert found is not None
    assert again is not None
    theirs, mine = (one.tensors(1)["encoders.0.hand.0.weight"] for one in (found, again))
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_pretraining_that_was_stopped_before_its_last_fold_says_that_none_can_begin_with_it(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    fill(directory_store)
    before = new_run_id()
    result = run(
        directory_store, PRETRAIN.model_copy(update={"folds": 2}), before, RunCallbacks(should_stop=lambda: True)
    )

    lines = list(end_messages(result, before))
    assert any("no run can" in line for line in lines)
    assert any(f"runs/{before}/members/*/weights.safetensors" in line for line in lines)
    with pytest.raises(NotReady, match=r"It was stopped: begin it again\.$"):
        start.read(directory_store, before, 2)


def test_a_start_that_was_selected_by_held_out_clips_is_refused(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    fair, selected = new_run_id(), new_run_id()
    run(directory_store, QUICK, fair, RunCallbacks())
    run(directory_store, QUICK.model_copy(update={"patience": 1, "num_epochs": 60}), selected, RunCallbacks())

    run(directory_store, QUICK.model_copy(update={"start_from": fair}), new_run_id(), RunCallbacks())
    with pytest.raises(InvalidInput, match=r"6 of the 6 clips .* or was selected by them"):
        run(directory_store, QUICK.model_copy(update={"start_from": selected}), new_run_id(), RunCallbacks())


def test_a_start_of_a_version_whose_models_are_built_otherwise_is_refused() -> None:
    tensors = new_model(QUICK, 4).encoders[0].state_dict()
    for before in (
        {f"encoder.{name}": tensor for name, tensor in tensors.items()},
        {f"encoders.0.{name.replace('wards.0.0.', 'wards.0.')}": tensor for name, tensor in tensors.items()},
    ):
        with pytest.raises(NotReady, match="x is of another version"):
            alone("x", QUICK, save(before)).begin(0, new_model(QUICK, 3), MINE)


def small(store: DirectoryStore) -> Dataset:
    return snapshot.take(store, "wlasl", 20, 0)


def guarded(config: TrainConfig, dataset: Dataset, found: Start) -> None:
    found.check(config, plan(dataset, config), dataset.manifest.audit.all_duplicates)


def test_a_start_that_has_learnt_from_a_held_out_clip_is_refused(small_dataset: Dataset) -> None:
    train, val = small_dataset.split("train"), small_dataset.split("val")
    fair = alone("x", QUICK, learnt=train)

    guarded(QUICK, small_dataset, fair)
    with pytest.raises(InvalidInput, match=r"1 of the 6 clips .* such as book-6"):
        guarded(QUICK, small_dataset, alone("x", QUICK, learnt=[*train, val[0]]))
    renamed = val[0].model_copy(update={"clip_id": "another"})
    with pytest.raises(InvalidInput, match="book-6"):
        guarded(QUICK, small_dataset, alone("x", QUICK, learnt=[renamed]))
    unlike = renamed.model_copy(update={"source_sha256": "f" * 64})
    with pytest.raises(InvalidInput, match="book-6"):
        guarded(QUICK, small_dataset, replace(alone("x", QUICK, learnt=[unlike]), twins=(("another", "book-6"),)))


def test_a_start_that_knows_the_signers_of_a_fold_is_refused(small_dataset: Dataset) -> None:
    """Other clips of theirs are enough: a fold is judged on people whom it never saw. Those of val may be known."""
    train = small_dataset.split("train")
    others = [
        clip.model_copy(update={"clip_id": f"x{number}", "source_sha256": ""}) for number, clip in enumerate(train)
    ]
    folds = QUICK.model_copy(update={"folds": 2})

    guarded(QUICK, small_dataset, alone("x", QUICK, learnt=others))
    with pytest.raises(InvalidInput, match=r"24 of the 24 clips .* or from others by their signers"):
        guarded(folds, small_dataset, alone("x", QUICK, learnt=others))
    nobody = [clip.model_copy(update={"signer": ""}) for clip in others]
    guarded(folds, small_dataset, alone("x", QUICK, learnt=nobody))


def test_the_way_out_of_a_refusal_depends_on_whose_folds_there_are(small_dataset: Dataset) -> None:
    clips = small_dataset.manifest.clips
    two, three = (QUICK.model_copy(update={"folds": folds}) for folds in (2, 3))
    for theirs, mine, way_out in (
        (QUICK, QUICK, "Begin with a run that learnt from a corpus' train split"),
        (QUICK, two, "Train one with --folds 2, of the same glosses, or leave --folds out"),
        (three, two, r"Train one with --folds 2, of the same glosses\.$"),
        (two, two, "Its folds were others: train it on the same clips"),
        (two, QUICK, "It was trained with --folds 2: give --folds 2 too"),
    ):
        with pytest.raises(InvalidInput, match=way_out):
            guarded(mine, small_dataset, alone("x", theirs, learnt=clips))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_dim", 16),
        ("hand_dim", 8),
        ("num_layers", 2),
        ("without", "contact"),
        ("head", "linear"),
        ("sign_dim", 4),
    ],
)
def test_sizes_that_do_not_fit_are_named(small_dataset: Dataset, name: str, value: object) -> None:
    found = alone("x", QUICK)

    with pytest.raises(InvalidSetting) as raised:
        guarded(QUICK.model_copy(update={name: value}), small_dataset, found)

    for text in (f"--{name.replace('_', '-')}", repr(value), repr(getattr(QUICK, name))):
        assert text in str(raised.value)


def test_a_pretrained_start_fits_every_head(small_dataset: Dataset) -> None:
    guarded(QUICK.model_copy(update={"head": "linear"}), small_dataset, alone("x", PRETRAIN))


@pytest.mark.parametrize("name", ["20261125T000000Z-ffffff", "nobody@latest", "nobody"])
def test_a_start_that_is_not_there_is_named(directory_store: DirectoryStore, fill: Fill, name: str) -> None:
    with pytest.raises(NotFound, match=f"--start-from {name}"):
        run(fill(directory_store), QUICK.model_copy(update={"start_from": name}), new_run_id(), RunCallbacks())


def test_a_run_that_has_trained_nobody_yet_is_no_start(directory_store: DirectoryStore) -> None:
    directory_store.create(keys.run("begun", "config.json"), QUICK.model_dump_json().encode())

    with pytest.raises(NotReady, match="--resume begun"):
        start.read(directory_store, "begun", 0)


def test_a_published_model_is_noted_by_its_version(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    other_corpus(directory_store)
    result = run(
        directory_store,
        QUICK.model_copy(update={"corpus": "other", "publish": "ensemble"}),
        new_run_id(),
        RunCallbacks(),
    )
    run_id = new_run_id()

    run(directory_store, QUICK.model_copy(update={"start_from": "signet"}), run_id, RunCallbacks())

    noted = TrainConfig.model_validate_json(directory_store.get(keys.run(run_id, "config.json")))
    assert noted.start_from == f"signet@{result.model_version}"
