"""Clips of further glosses are learnt from, never judged by, and nothing of their glosses is left in the model."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from services.evaluator.reports.clips import of_split
from services.trainer.config.presets import PRESETS, Preset
from services.trainer.config.train_config import TrainConfig
from services.trainer.converters import event_to
from services.trainer.data import snapshot
from services.trainer.model.build import new_model, restore_model, serialise_weights
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs import warm_start as start
from services.trainer.runs.events import RunCallbacks, RunStarted
from services.trainer.runs.members import plan
from services.trainer.runs.messages import start_messages
from services.trainer.runs.run import new_run_id, run
from services.trainer.training.loop import Training
from services.trainer.training.state import Subject
from signet import registry
from signet.datasets.snapshot import AUXILIARY, SUPPLEMENT, Dataset
from signet.errors import InvalidInput
from signet.landmarks import Landmarks, dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import GLOSSES, Fill, moving_clip

CPU = torch.device("cpu")
QUICK = TrainConfig(num_epochs=4, max_glosses=2, auxiliary_glosses=1, hidden_dim=8, hand_dim=4, batch_size=6)


@pytest.fixture
def store(directory_store: DirectoryStore, fill: Fill) -> DirectoryStore:
    fill(directory_store)
    return directory_store


def labelled(clip: Landmarks, gloss: str) -> Landmarks:
    """The same recording under a gloss that is not what it shows."""
    return replace(clip, record=clip.record.model_copy(update={"gloss": gloss}))


def taken(store: DirectoryStore, glosses: int = 2, auxiliary: int = 1, samples: int = 0) -> Dataset:
    return snapshot.take(store, "wlasl", glosses, samples, auxiliary_glosses=auxiliary)


def test_further_glosses_come_with_their_training_clips_alone(store: DirectoryStore) -> None:
    found = taken(store)

    assert (found.manifest.vocabulary, found.manifest.auxiliary) == (("book", "drink"), ("who",))
    assert {clip.gloss for clip in found.split(AUXILIARY)} == {"who"}
    assert [len(found.split(split)) for split in ("train", "val", AUXILIARY)] == [12, 4, 6]
    assert {found.label(clip) for clip in found.split(AUXILIARY)} == {3}


def test_there_may_be_fewer_of_them_than_are_asked_for(store: DirectoryStore) -> None:
    assert taken(store, glosses=2, auxiliary=50).manifest.auxiliary == ("who",)
    assert taken(store, glosses=0, auxiliary=50).manifest.auxiliary == ()


def test_samples_per_gloss_holds_for_them_too(store: DirectoryStore) -> None:
    assert len(taken(store, samples=2).split(AUXILIARY)) == 2


@pytest.mark.parametrize(("split", "seed"), [("train", 0), ("val", 6)])
def test_what_shows_a_recording_of_the_vocabulary_is_left_out(store: DirectoryStore, split: str, seed: int) -> None:
    """A recording of "book" that is labelled "who" too: it would be told from itself, or shows what is held out."""
    recording = moving_clip("double", "book", "train", seed, source_sha256="d" * 64)
    store.put(keys.clip("wlasl", "double"), dump(labelled(recording, "who")))
    original = moving_clip("original", "book", split, seed)
    store.put(keys.clip("wlasl", "original"), dump(original))

    clips = {clip.clip_id: clip.split for clip in taken(store, glosses=1, auxiliary=2).manifest.clips}
    assert clips["who-0"] == AUXILIARY
    assert clips["original"] == split
    assert "double" not in clips


def test_a_fold_learns_from_none_by_a_signer_that_it_holds_out(store: DirectoryStore) -> None:
    members = plan(taken(store), QUICK.model_copy(update={"folds": 2}))

    for member in members:
        further = [clip for clip in member.train if clip.split == AUXILIARY]
        assert further
        assert not {clip.signer for clip in further} & {clip.signer for clip in member.held_out}
        assert {clip.gloss for clip in member.held_out} == {"book", "drink"}


def test_what_is_published_knows_the_vocabulary_alone(store: DirectoryStore) -> None:
    began: list[RunStarted] = []
    run(store, QUICK, new_run_id(), RunCallbacks(on_start=began.append))

    card = registry.read_card(store, "signet", registry.resolve(store, "signet", "latest"))
    assert card.vocabulary == ("book", "drink")
    kept = restore_model(QUICK, 2, registry.read_file(store, card, "model.safetensors"), "x")
    assert kept.parameter_count == began[0].parameters
    assert (began[0].glosses, began[0].train_clips, began[0].val_clips) == (2, 18, 4)


@pytest.mark.parametrize("head", ["competition", "attention", "linear"])
def test_fewer_signs_are_what_the_first_were(head: str) -> None:
    """Their evidence stays, and so does what they are to one another."""
    torch.manual_seed(0)
    model = new_model(QUICK.model_copy(update={"head": head}), 5).eval()
    fewer = model.of_first(3)
    features, lengths = torch.randn(2, 9, model.features.size), torch.tensor([9, 6])

    more, few = answers(model, features, lengths), answers(fewer, features, lengths)
    assert few.shape == (2, 9, 4)
    for clip, length in enumerate(lengths.tolist()):
        told = more[clip, :length, 1:4].log_softmax(dim=-1)
        assert torch.allclose(few[clip, :length, 1:].log_softmax(dim=-1), told, atol=1e-5)
    assert answers(model, features, lengths).shape == (2, 9, 6)


def answers(model: Recogniser, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.log_probs(features, lengths)


def test_training_clips_of_the_vocabulary_alone_are_judged(store: DirectoryStore) -> None:
    found = taken(store)
    training = Training(found, QUICK, CPU)
    for _ in training.epochs():
        pass
    assert training.judge_train().clips == 12


def test_what_they_teach_is_gone_on_with_to_the_bit(store: DirectoryStore) -> None:
    found = taken(store)
    whole, first, second = (Training(found, QUICK, CPU) for _ in range(3))
    for _ in whole.epochs():
        pass
    for _ in zip(range(2), first.epochs(), strict=False):
        pass
    second.restore(first.state())
    for _ in second.epochs():
        pass
    assert serialise_weights(second.model) == serialise_weights(whole.model)


def test_people_are_told_of_them(store: DirectoryStore) -> None:
    began: list[RunStarted] = []
    run(store, QUICK.model_copy(update={"publish": "none"}), new_run_id(), RunCallbacks(on_start=began.append))
    assert any("2 glosses and 1 auxiliary ones, 18 train and 4 val clips" in line for line in start_messages(began[0]))


def test_a_client_is_told_of_them(store: DirectoryStore) -> None:
    began = RunStarted("cpu", "", 0, 1, "v", 2, 18, 4, 4, auxiliary=1)
    assert event_to(began).started.auxiliary == 1


def test_too_few_of_them_are_told_of(store: DirectoryStore, caplog: pytest.LogCaptureFixture) -> None:
    taken(store, glosses=2, auxiliary=1)
    assert "asked for" not in caplog.text
    taken(store, glosses=2, auxiliary=5)
    assert "corpus wlasl has clips of 1 further glosses, and 5 auxiliary ones were asked for" in caplog.text
    assert "`signet extract --max-glosses 7`" in caplog.text
    caplog.clear()
    taken(store, glosses=0, auxiliary=5)
    assert "0 further glosses" in caplog.text


def test_a_run_from_before_them_had_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its preset says today: what it was trained with is what it kept."""
    monkeypatch.setitem(PRESETS, "phase1", Preset("20 signs", {"auxiliary_glosses": 80}))
    kept = TrainConfig(preset="phase1").model_dump() | {"num_epochs": 100}
    del kept["auxiliary_glosses"]
    assert TrainConfig.stored(kept).auxiliary_glosses == 0
    assert TrainConfig.stored(json.dumps(kept).encode()).auxiliary_glosses == 0
    assert TrainConfig.model_validate(kept).auxiliary_glosses == 80


def test_a_training_from_before_them_goes_on(store: DirectoryStore) -> None:
    config = QUICK.model_copy(update={"auxiliary_glosses": 0})
    found = taken(store, auxiliary=0)
    now = Subject.of(config, found, found.split("train"), found.split("val"), "cpu")
    before = now.model_copy(
        update={"config": {name: value for name, value in now.config.items() if name != "auxiliary_glosses"}}
    )
    assert before.differences(now) == []
    more = Subject.of(QUICK, found, found.split("train"), found.split("val"), "cpu")
    assert before.differences(more) == ["auxiliary_glosses 1 instead of 0"]


def test_none_of_them_can_be_evaluated(store: DirectoryStore) -> None:
    with pytest.raises(InvalidInput, match=r"it has train \(12 clips\), val \(4 clips\)\. "):
        of_split(store, taken(store), AUXILIARY)


@pytest.fixture
def other(store: DirectoryStore) -> Callable[..., None]:
    """Puts a clip of a second corpus into the store, which has the first one's val clips too: twins can be told."""

    def put(clip_id: str, gloss: str, seed: int, split: str = "train", **record: object) -> None:
        known = {"corpus": "other", "source_sha256": "", "signer": "9", **record}
        clip = moving_clip(clip_id, "book", split, seed, **known)
        store.put(keys.clip("other", clip_id), dump(labelled(clip, gloss)))

    for number, gloss in enumerate(GLOSSES):
        for index in (6, 7):
            put(f"{gloss}-{index}", gloss, 500 + 10 * number + index, "val")
    return put


def supplemented(store: DirectoryStore, glosses: int, auxiliary: int) -> Dataset:
    return snapshot.take(store, "wlasl", glosses, 0, "other", auxiliary_glosses=auxiliary)


def test_a_supplement_has_clips_of_them_and_further_ones(store: DirectoryStore, other: Callable[..., None]) -> None:
    other("more-book", "book", 100)
    other("more-who", "who", 101)
    for number, (gloss, clips) in enumerate({"yes": 2, "no": 3, "maybe": 1, "": 5}.items()):
        for index in range(clips):
            other(f"x{gloss}-{index}", gloss, 110 + 10 * number + index)

    found = supplemented(store, glosses=2, auxiliary=3)
    assert found.manifest.vocabulary == ("book", "drink")
    assert found.manifest.auxiliary == ("no", "who", "yes")
    assert {clip.gloss for clip in found.split(AUXILIARY)} == {"who"}
    added = ["more-book", "more-who", "xno-0", "xno-1", "xno-2", "xyes-0", "xyes-1"]
    assert [clip.clip_id for clip in found.split(SUPPLEMENT)] == added
    assert found.manifest.corpus == "wlasl"
    assert {clip.clip_id for clip in plan(found, QUICK)[0].train} >= set(added)
    assert supplemented(store, glosses=2, auxiliary=0).manifest.auxiliary == ()


def test_what_a_supplement_shows_of_the_vocabulary_by_another_gloss_is_left_out(
    store: DirectoryStore, other: Callable[..., None]
) -> None:
    """Whether it shows a clip of either corpus, or one that is held out."""
    other("more-book", "book", 100)
    other("as-more", "yes", 100)
    other("book-0", "book", 200)
    other("as-book", "yes", 200)
    other("as-val", "yes", 506)
    (video,) = (clip.source_sha256 for clip in taken(store).manifest.clips if clip.clip_id == "drink-1")
    other("same-video", "yes", 300, source_sha256=video)
    other("yes", "yes", 301)

    found = supplemented(store, glosses=2, auxiliary=2)
    assert [clip.clip_id for clip in found.split(SUPPLEMENT)] == ["more-book", "yes"]
    assert found.manifest.auxiliary == ("who", "yes")


def test_what_another_run_may_be_judged_by_is_left_out_of_further_glosses(
    store: DirectoryStore, other: Callable[..., None]
) -> None:
    """A val clip of "no" shows what a training clip of "yes" does: who begins with this one must not have seen it."""
    other("yes-0", "yes", 300)
    other("yes-1", "yes", 301)
    other("no-0", "no", 302)
    other("no-val", "no", 301, "val")
    assert [clip.clip_id for clip in supplemented(store, 2, 3).split(SUPPLEMENT)] == ["no-0", "yes-0"]


def test_a_recording_is_followed_through_clips_that_were_left_out(
    store: DirectoryStore, other: Callable[..., None]
) -> None:
    """The corpus knows that "hidden" shows what book-0 does, the supplement that "copy" shows what "hidden" does."""
    recording = moving_clip("hidden", "book", "train", 0)
    store.put(keys.clip("wlasl", "hidden"), dump(labelled(recording, "who")))
    for index in (4, 5):
        store.delete(keys.clip("wlasl", f"who-{index}"))
    other("hidden", "who", 400)
    other("copy", "yes", 400)
    other("yes", "yes", 401)

    found = supplemented(store, 2, 2)
    assert [clip.clip_id for clip in found.split(SUPPLEMENT)] == ["yes"]
    assert ("book-0", "copy", "hidden") in found.manifest.audit.all_duplicates
    assert "hidden" not in {clip.clip_id for clip in found.manifest.clips}


def test_the_opening_counts_what_is_divided_and_what_is_not(store: DirectoryStore) -> None:
    began: list[RunStarted] = []
    told = QUICK.model_copy(update={"folds": 2, "num_epochs": 1})
    run(store, told, new_run_id(), RunCallbacks(on_start=began.append))
    said = "16 clips of train and val, in 2 folds of whole signers, and 6 further ones"
    assert any(said in line for line in start_messages(began[0]))


def test_a_supplement_is_pretrained_on_fold_by_fold(store: DirectoryStore, other: Callable[..., None]) -> None:
    """Each fold learns from all but its signers, and the folds of the run that goes on are the same."""
    for signer in range(4):
        other(f"yes-{signer}", "yes", 100 + signer, signer=str(signer))
    sizes = {"num_epochs": 1, "hidden_dim": 4, "hand_dim": 4, "folds": 2, "max_glosses": 2}
    before, after = new_run_id(), new_run_id()
    further = {"supplement": "other", "auxiliary_glosses": 2}
    run(store, TrainConfig(pretrain=True, **sizes, **further), before, RunCallbacks())

    result = run(store, TrainConfig(start_from=before, **sizes), after, RunCallbacks())

    assert (result.state, result.folds) == ("succeeded", 2)
    found = start.read(store, before, 2)
    assert found is not None
    for fold, member in enumerate(plan(taken(store, auxiliary=0), TrainConfig(**sizes))):
        learnt = {clip.signer for clip in found.of(fold).learnt}
        assert learnt
        assert not learnt & {clip.signer for clip in member.held_out}
        assert any(clip.clip_id.startswith("yes-") for clip in found.of(fold).learnt)
