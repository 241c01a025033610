"""Held-out predictions are read as they were written, or refused with the reason."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from signet import heldout
from signet.errors import DataLoss, InvalidInput, NotFound
from signet.heldout import GlossErrorCount, HeldOutPredictions, MemberPredictions
from signet.store import DirectoryStore, ObjectStore, keys

VOCABULARY = ("book", "chair", "drink")


def _member(fold: int, seed: int, clip_ids: tuple[str, ...], glosses: int = 3) -> MemberPredictions:
    n = len(clip_ids)
    noise = np.random.default_rng([fold, seed])
    return MemberPredictions(
        fold=fold,
        seed=seed,
        clip_ids=clip_ids,
        labels=noise.integers(1, glosses + 1, n).astype(np.int32),
        scores=noise.normal(-5, 2, (n, glosses)).astype(np.float32),
        continuous=tuple(("book",) * (index % 3) for index in range(n)),
        greedy=tuple(() if index else ("drink", "chair") for index in range(n)),
        blank_ratio=noise.random(n).astype(np.float32),
        frames=noise.integers(5, 60, n).astype(np.int32),
        gloss_errors=GlossErrorCount(7, 60) if fold == 0 else None,
    )


def _made(**changes: object) -> HeldOutPredictions:
    fields: dict[str, object] = {
        "run_id": "run-1",
        "model_name": "signet",
        "dataset_name": "wlasl",
        "dataset_version": "0123",
        "protocol": "cross-validation",
        "folds": 2,
        "vocabulary": VOCABULARY,
        "parameters": 54_321,
        "members": tuple(
            _member(fold, seed, clips) for seed in (3, 1, 2) for fold, clips in enumerate((("a", "b"), ("c", "d", "e")))
        ),
        "config": {"hidden": 48, "rate": 0.008, "warm_start": None},
        "selected_on": "",
        "decoder": {"blank_penalty": 1.5, "beam": 8},
    }
    return HeldOutPredictions(**{**fields, **changes})  # type: ignore[arg-type]


def test_predictions_are_read_as_they_were_written(object_store: ObjectStore) -> None:
    made = _made()
    heldout.write_predictions(object_store, made)
    heldout.write_predictions(object_store, made)
    back = heldout.read_predictions(object_store, "run-1")
    for field in dataclasses.fields(HeldOutPredictions):
        if field.name != "members":
            assert getattr(back, field.name) == getattr(made, field.name)
    for found, due in zip(back.members, made.members, strict=True):
        for field in dataclasses.fields(MemberPredictions):
            one, other = getattr(found, field.name), getattr(due, field.name)
            assert np.array_equal(one, other) if isinstance(other, np.ndarray) else one == other, field.name
    assert back.seeds == (1, 2, 3)
    assert heldout.dump_predictions(back) == heldout.dump_predictions(made)


def test_a_run_without_predictions_is_not_found(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="run 'run-9' has left no held-out predictions"):
        heldout.read_predictions(directory_store, "run-9")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"members": ()}, "no members"),
        ({"vocabulary": ("book", "book", "chair")}, "names a gloss twice"),
        ({"folds": 0}, "0 folds do not go with"),
        ({"folds": 1}, "1 folds do not go with"),
        ({"members": (_member(0, 1, ("a", "b")), _member(1, 1, ("b", "c")))}, "another fold of this seed"),
        ({"members": (_member(0, 1, ()),)}, "holds no clip"),
        ({"vocabulary": ("book", "chair")}, "scores of shape"),
        ({"vocabulary": ("chair", "drink", "go")}, "not in the vocabulary"),
        (
            {"members": (dataclasses.replace(_member(0, 1, ("a",)), scores=np.full((1, 3), np.nan, np.float32)),)},
            "not finite",
        ),
        (
            {"members": (dataclasses.replace(_member(0, 1, ("a",)), scores=np.full((1, 3), -np.inf, np.float32)),)},
            "not finite",
        ),
        (
            {"members": (dataclasses.replace(_member(0, 1, ("a",)), labels=np.array([0], np.int32)),)},
            "labels outside",
        ),
        (
            {"members": (dataclasses.replace(_member(0, 1, ("a",)), labels=np.array([4], np.int32)),)},
            "labels outside",
        ),
    ],
)
def test_predictions_with_parts_that_do_not_fit_are_not_written(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        heldout.dump_predictions(_made(**changes))


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_damaged_predictions_are_data_loss(directory_store: DirectoryStore, cut: int) -> None:
    data = heldout.dump_predictions(_made())
    directory_store.put(keys.held_out("run-1"), data[:cut])
    with pytest.raises(DataLoss, match=r"run-1/heldout.safetensors: not held-out predictions"):
        heldout.read_predictions(directory_store, "run-1")
    with pytest.raises(DataLoss, match="not held-out predictions"):
        heldout.load_predictions(data.replace(b"signet.heldout/1", b"signet.heldout/9"))


def test_hypotheses_whose_lengths_do_not_add_up_are_data_loss() -> None:
    data = heldout.dump_predictions(_made())
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    tensors = safetensors.numpy.load(data)
    assert heldout.dump_predictions(heldout.load_predictions(safetensors.numpy.save(tensors, header))) == data
    tensors["0.greedy.lengths"] = tensors["0.greedy.lengths"] - 1
    tensors["0.greedy.lengths"][1] = 0
    with pytest.raises(DataLoss, match="lengths or classes do not fit"):
        heldout.load_predictions(safetensors.numpy.save(tensors, header))


def test_two_thousand_glosses_and_three_seeds_take_seconds() -> None:
    vocabulary = ("book", "chair", "drink", *(f"gloss{index}" for index in range(1997)))
    clips = tuple(f"{index:05d}" for index in range(2253))
    members = tuple(_member(0, seed, clips, 2000) for seed in range(3))
    made = _made(protocol="official", folds=0, vocabulary=vocabulary, members=members)
    started = time.perf_counter()
    data = heldout.dump_predictions(made)
    back = heldout.load_predictions(data)
    assert len(data) < 60e6
    assert np.array_equal(back.members[2].scores, members[2].scores)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("version", ["2-beam-search", "3-smoothed"])
def test_predictions_of_an_older_version_are_read(version: str) -> None:
    """Stores that older versions wrote."""
    store = DirectoryStore(Path(__file__).parent / "golden" / version)
    found = heldout.read_predictions(store, "20260101-run")
    assert heldout.dump_predictions(found) == store.get(keys.held_out("20260101-run")), "and are written as before"
    assert (found.run_id, found.model_name, found.dataset_name) == ("20260101-run", "signet", "wlasl")
    assert (found.protocol, found.folds, found.seeds, found.parameters) == ("cross-validation", 2, (1, 2), 54321)
    assert found.config == {"lr": 0.008, "warm_start": None, "without": "", "publish": True}
    assert found.decoder == {"blank_penalty": 1.5, "beam_width": 8, "undoubted": True}
    assert [(member.fold, member.seed) for member in found.members] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    first, second, *_ = found.members
    assert (first.clip_ids, second.clip_ids) == (("1", "2"), ("3",))
    assert (first.labels.tolist(), first.frames.tolist()) == ([1, 2], [10, 11])
    assert first.scores.tolist() == [[-3.25, -2.25], [-1.25, -0.25]]
    assert first.blank_ratio.tolist() == pytest.approx([0.1, 0.8])
    assert (first.continuous, first.greedy) == (((), ("book",)), (("drink", "book"), ()))
    assert (first.gloss_errors, second.gloss_errors) == (GlossErrorCount(7, 60), None)
