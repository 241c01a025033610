"""The choice of clips that are shown frame by frame, and the models that show them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.inspection.run.clip_choice import choose_clips
from services.trainer.inspection.run.predictions import ClipPrediction, collect_clip_predictions
from services.trainer.inspection.run.record import RunRecord, load_run
from signet.errors import NotFound
from signet.statistics.calibration import log_posteriors
from signet.store import DirectoryStore, ObjectStore, keys
from tests.services.trainer.inspection.conftest import FOLDS, INTERRUPTED, LINEAR, SEEDS, Runs


def _whole(store: ObjectStore, run_id: str) -> tuple[RunRecord, tuple[str, ...]]:
    record = load_run(store, run_id)
    assert record.held_out is not None
    return record, tuple(predictions.clip_id for predictions in collect_clip_predictions(record.held_out))


@pytest.mark.parametrize(("run_id", "seed"), [(SEEDS, 0), (SEEDS, 1), (FOLDS, 0), (LINEAR, 0)])
def test_a_clip_is_shown_by_the_model_that_held_it_out(runs: Runs, run_id: str, seed: int) -> None:
    record, clip_ids = _whole(runs.store, run_id)
    assert record.held_out is not None
    choice = choose_clips(runs.store, record, collect_clip_predictions(record.held_out), 0, clip_ids, seed)
    assert (choice.seed, choice.missing) == (seed, "")
    assert [one.prediction.clip_id for one in choice.clips] == list(clip_ids)
    said = {
        clip_id: np.exp(log_posteriors(member.scores[[row]]))[0]
        for member in record.held_out.members
        if member.seed == seed
        for row, clip_id in enumerate(member.clip_ids)
    }
    for one in choice.clips:
        np.testing.assert_allclose(one.posteriors.posterior, said[one.prediction.clip_id], atol=1e-4)
        place = one.prediction.seeds.index(seed)
        assert one.posteriors.format_glosses(one.posteriors.greedy) == (
            " · ".join(one.prediction.greedy[place]) or "nothing"
        )
        assert one.posteriors.frames == record.clips()[one.prediction.clip_id].frames


def test_a_kind_has_at_most_its_number_of_clips_and_no_clip_is_shown_twice(runs: Runs) -> None:
    record, _ = _whole(runs.store, FOLDS)
    assert record.held_out is not None
    predictions = collect_clip_predictions(record.held_out)
    for each in (0, 1, 3):
        chosen = choose_clips(runs.store, record, predictions, each).clips
        assert len({one.prediction.clip_id for one in chosen}) == len(chosen)
        for kind in {one.kind for one in chosen}:
            assert sum(one.kind == kind for one in chosen) <= each
    for one in choose_clips(runs.store, record, predictions, 3).clips:
        assert one.kind.startswith("right") <= one.prediction.correct
        assert (one.kind == "wrong and sure") <= (not one.prediction.correct)
        assert one.kind.startswith("empty") <= (not one.posteriors.greedy)


def test_an_unknown_clip_or_seed_is_an_error_that_names_it(runs: Runs) -> None:
    record, _ = _whole(runs.store, SEEDS)
    assert record.held_out is not None
    with pytest.raises(NotFound, match=r"'book-0'.*book-6"):
        choose_clips(runs.store, record, collect_clip_predictions(record.held_out), 2, named=["book-0"])
    with pytest.raises(NotFound, match=r"no seed 7; it has 0, 1"):
        choose_clips(runs.store, record, collect_clip_predictions(record.held_out), 2, seed=7)
    with pytest.raises(NotFound, match="It held out no clips"):
        choose_clips(runs.store, load_run(runs.store, INTERRUPTED), (), 2, named=["book-6"])


def _without_weights(store: DirectoryStore, key: str) -> str:
    store.delete(key)
    return "is gone"


def _with_damaged_weights(store: DirectoryStore, key: str) -> str:
    data = store.get(key)
    store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    return "is damaged"


def _with_other_weights(store: DirectoryStore, key: str) -> str:
    other = store.get(keys.run(SEEDS, "members/0-0/weights.safetensors"))
    progress = keys.run(LINEAR, "progress.json")
    before = hashlib.sha256(store.get(key)).hexdigest()
    store.put(progress, store.get(progress).replace(before.encode(), hashlib.sha256(other).hexdigest().encode()))
    store.put(key, other)
    return "was trained by another version of Signet"


@pytest.mark.parametrize("spoil", [_without_weights, _with_damaged_weights, _with_other_weights])
def test_without_usable_weights_there_are_no_strips(copied: Runs, spoil: object) -> None:
    assert callable(spoil)
    reason = spoil(copied.store, keys.run(LINEAR, "weights.safetensors"))
    record, _ = _whole(copied.store, LINEAR)
    assert record.held_out is not None
    choice = choose_clips(copied.store, record, collect_clip_predictions(record.held_out), 2)
    assert choice.clips == ()
    assert "There are no alignment strips" in choice.missing
    assert reason in choice.missing


def predicted(clip_id: str, truth: str, guesses: Sequence[tuple[str, float]], path: tuple[str, ...]) -> ClipPrediction:
    """A clip with a guess of each seed; the best path of the last seed is this one, those of the others are empty."""
    vocabulary = ("book", "drink", "who")
    posterior = np.full(3, 1e-3)
    for gloss, probability in guesses:
        posterior[vocabulary.index(gloss)] += probability / len(guesses)
    return ClipPrediction(
        clip_id=clip_id,
        vocabulary=vocabulary,
        label=vocabulary.index(truth) + 1,
        seeds=tuple(range(len(guesses))),
        posterior=posterior,
        first_guesses=tuple(vocabulary.index(gloss) + 1 for gloss, _ in guesses),
        greedy=(*((),) * (len(guesses) - 1), path),
    )


def test_clips_of_each_kind_are_chosen_by_their_confidence(runs: Runs) -> None:
    clips = [
        predicted("book-6", "book", [("book", 0.5)], ("book",)),
        predicted("book-7", "book", [("book", 0.9)], ("book",)),
        predicted("drink-6", "drink", [("book", 0.6)], ("book",)),
        predicted("drink-7", "drink", [("book", 0.8)], ("book",)),
        predicted("who-6", "who", [("who", 0.7)], ()),
        predicted("who-7", "who", [("book", 0.7)], ("who", "book")),
    ]
    record, _ = _whole(runs.store, LINEAR)
    chosen = [(clip.prediction.clip_id, clip.kind) for clip in choose_clips(runs.store, record, clips, 1).clips]
    assert chosen == [
        ("book-7", "right and sure"),
        ("book-6", "right and unsure"),
        ("drink-7", "wrong and sure"),
        ("who-6", "empty: the blank wins in every frame"),
        ("who-7", "more than one sign"),
    ]
    named = choose_clips(runs.store, record, clips, 1, ["book-7", "drink-6"]).clips
    assert [(clip.prediction.clip_id, clip.kind) for clip in named][:4] == [
        ("book-7", "named by --clip"),
        ("drink-6", "named by --clip"),
        ("book-6", "right and sure"),
        ("who-6", "right and unsure"),
    ]


def test_a_kind_looks_at_the_seed_that_is_shown_and_at_all_seeds_together(runs: Runs) -> None:
    # Together the seeds are right about book-6 and wrong about book-7; seed 1 alone is the other way round.
    clips = [
        predicted("book-6", "book", [("book", 0.9), ("who", 0.2)], ("who",)),
        predicted("book-7", "book", [("who", 0.9), ("book", 0.2)], ("book",)),
        predicted("drink-6", "drink", [("drink", 0.9), ("drink", 0.2)], ("drink",)),
    ]
    record, _ = _whole(runs.store, SEEDS)
    shown = choose_clips(runs.store, record, clips, 2, seed=1).clips
    assert [(clip.prediction.clip_id, clip.kind) for clip in shown] == [("drink-6", "right and sure")]


def test_a_model_that_now_recognises_another_gloss_is_a_warning(runs: Runs) -> None:
    record, clip_ids = _whole(runs.store, LINEAR)
    assert record.held_out is not None
    clips = collect_clip_predictions(record.held_out)
    now = {
        clip.prediction.clip_id: clip.posteriors for clip in choose_clips(runs.store, record, clips, 0, clip_ids).clips
    }
    changed = [
        replace(clip, first_guesses=(int(now[clip.clip_id].posterior.argmin()) + 1,)) if number < 2 else clip
        for number, clip in enumerate(clips)
    ]
    missing = choose_clips(runs.store, record, changed, 0, clip_ids).missing
    assert missing.startswith(f"For 2 of these {len(clip_ids)} clips the models now recognise another gloss")
