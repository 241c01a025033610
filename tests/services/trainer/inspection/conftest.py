"""A store with runs of every kind, trained once for all tests of inspection."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.member_training import RunAborted
from services.trainer.runs.run import run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet import heldout
from signet.heldout import GlossErrorCount, HeldOutPredictions, MemberPredictions
from signet.landmarks import dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import GLOSSES, moving_clip

SEEDS, LINEAR, FOLDS, INTERRUPTED, TRAIN_ONLY = "run-seeds", "run-linear", "run-folds", "run-interrupted", "run-no-val"

SHORT = TrainConfig(num_epochs=14, hidden_dim=8, batch_size=8, publish="none", lr=0.02)


@dataclass(frozen=True)
class Runs:
    """The store."""

    store: DirectoryStore

    def replaced(self, run_id: str, file: str, data: bytes | None) -> "Runs":
        """The same with one of a run's files otherwise, or gone."""
        key = keys.run(run_id, file)
        if data is None:
            self.store.delete(key)
        else:
            self.store.put(key, data)
        return self


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    use_threads(DEFAULT_THREADS)
    store = DirectoryStore(tmp_path_factory.mktemp("analysed"))
    for number, gloss in enumerate(GLOSSES):
        for index in range(8):
            clip = moving_clip(f"{gloss}-{index}", gloss, "train" if index < 6 else "val", 10 * number + index)
            store.create(keys.clip("wlasl", clip.record.clip_id), dump(clip))
            if index < 6:
                alone = moving_clip(clip.record.clip_id, gloss, "train", 10 * number + index, corpus="alone")
                store.create(keys.clip("alone", clip.record.clip_id), dump(alone))
    run(store, SHORT.model_copy(update={"seeds": 2}), SEEDS, RunCallbacks())
    run(store, SHORT.model_copy(update={"head": "linear", "flat_start": 0.0, "device": "cpu"}), LINEAR, RunCallbacks())
    run(store, SHORT.model_copy(update={"folds": 2, "num_epochs": 6}), FOLDS, RunCallbacks())
    run(store, SHORT.model_copy(update={"corpus": "alone", "num_epochs": 3}), TRAIN_ONLY, RunCallbacks())
    epochs: list[object] = []
    callbacks = RunCallbacks(on_epoch=epochs.append, should_abort=lambda: len(epochs) >= 4)
    with pytest.raises(RunAborted):
        run(store, SHORT.model_copy(update={"seeds": 2}), INTERRUPTED, callbacks)
    return store


@pytest.fixture
def runs(trained: DirectoryStore) -> Runs:
    """All of it, for a test that changes nothing."""
    return Runs(trained)


@pytest.fixture
def copied(trained: DirectoryStore, directory_store: DirectoryStore) -> Runs:
    """A copy that a test may spoil."""
    for info in trained.list(""):
        directory_store.put(info.key, trained.get(info.key))
    return Runs(directory_store)


VOCABULARY = ("book", "drink", "go", "who")


def held_out(
    *seeds: Sequence[tuple[str, str, dict[str, float], tuple[str, ...]]], folds: int = 0
) -> HeldOutPredictions:
    """What models said of clips, by hand.

    Args:
        seeds: of each seed its clips: id, truth, probabilities of some glosses, best path; the continuous decoder reads
            the same.
        folds: of cross-validation.
    """
    members = []
    for seed, clips in enumerate(seeds):
        p = np.full((len(clips), len(VOCABULARY)), 1e-6)
        for row, (_, _, said, _) in enumerate(clips):
            for gloss, share in said.items():
                p[row, VOCABULARY.index(gloss)] = share
        members.append(
            MemberPredictions(
                fold=0,
                seed=seed,
                clip_ids=tuple(clip_id for clip_id, _, _, _ in clips),
                labels=np.array([VOCABULARY.index(truth) + 1 for _, truth, _, _ in clips], np.int32),
                # Shifted: scores are not normalised.
                scores=(np.log(p) - 5).astype(np.float32),
                continuous=tuple(path for *_, path in clips),
                greedy=tuple(path for *_, path in clips),
                blank_ratio=np.full(len(clips), 0.5, np.float32),
                frames=np.full(len(clips), 20, np.int32),
                gloss_errors=GlossErrorCount(1, 10),
            )
        )
    made = HeldOutPredictions("by-hand", "m", "wlasl", "v1", heldout.OFFICIAL, 0, VOCABULARY, 1000, tuple(members))
    return replace(made, protocol=heldout.CROSS_VALIDATION, folds=folds) if folds else made
