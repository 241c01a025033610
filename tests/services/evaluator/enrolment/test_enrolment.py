"""Signs are added to a published model and taken away; what cannot be used is refused with the reason."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from services.evaluator.enrolment import measurement
from services.evaluator.enrolment.enrolment import enrol, forget
from services.evaluator.enrolment.examples import ExampleClip
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import ONNX_FILE
from signet import registry
from signet.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    InvalidInput,
    InvalidSetting,
    NotFound,
    NotReady,
    SignetError,
)
from signet.landmarks import to_model_input
from signet.registry import ModelCard
from signet.security.signatures import ModelKeys
from signet.sign_embeddings import EMBEDDINGS_FILE
from tests.model_keys import signing_keys
from tests.services.evaluator.conftest import GLOSSES, World, make_clip, make_embedding_graph, place_of
from tests.services.evaluator.enrolment.conftest import NEW_PLACE

MakeExample = Callable[..., ExampleClip]


@pytest.fixture
def examples(example: MakeExample) -> list[ExampleClip]:
    return spread(example, "mine", NEW_PLACE)


def spread(example: MakeExample, name: str, place: float) -> list[ExampleClip]:
    """Three examples around a place between two signs: the model takes some for one sign, and some for the other."""
    return [example(f"{name}{number}", place + 0.02 * (number - 1)) for number in range(3)]


def first_guess(world: World, card: ModelCard, place: float) -> str:
    model = LoadedModel.load(world.store, card.name, card.version, 1)
    (answer,) = model.log_probs([to_model_input(make_clip("asked", "", place))])
    return model.vocabulary[int(model.decode(answer).posterior.argmax())]


def test_an_enrolled_sign_is_recognised_and_the_others_are_as_before(
    world: World, open_card: ModelCard, examples: list[ExampleClip]
) -> None:
    registry.promote(world.store, "signet", open_card.version, "production")
    result = enrol(world.store, "signet", "my sign", examples)
    card = result.card
    assert card.vocabulary == (*GLOSSES, "my sign")
    assert card.trained_vocabulary == GLOSSES
    assert card.enrolment is not None
    assert (card.enrolment.parent, result.parent_version) == (open_card.version, open_card.version)
    assert first_guess(world, card, NEW_PLACE) == "my sign"
    for index, gloss in enumerate(GLOSSES):
        assert first_guess(world, card, place_of(index, 6)) == gloss
    assert registry.aliases(world.store, "signet") == {"latest": card.version, "production": open_card.version}
    history = registry.read_alias(world.store, "signet", "latest").history
    assert history[-1].reason == "enrolled 'my sign' from 3 examples"
    assert registry.read_card(world.store, "signet", open_card.version) == open_card


def test_the_trained_signs_are_measured_on_the_val_clips_of_the_snapshot(
    world: World, open_card: ModelCard, examples: list[ExampleClip]
) -> None:
    figures = enrol(world.store, "signet", "my sign", examples).figures
    # Of two val clips of six glosses and two odd ones, the model recognises all but the odd ones.
    assert (figures.measured_on, figures.clips, figures.before) == ("val", 14, 12)
    assert figures.after == 12
    card = registry.read_card(world.store, "signet", registry.resolve(world.store, "signet", "latest"))
    assert (card.metrics.val_clips, card.metrics.val_correct) == (14, 12)
    report, _ = evaluate(world.store, "signet")
    assert (report.top1.correct, report.top1.n) == (12, 14)


def test_without_the_snapshot_they_are_measured_on_the_kept_vectors(
    world: World, open_card: ModelCard, examples: list[ExampleClip]
) -> None:
    for info in list(world.store.list("datasets/")):
        world.store.delete(info.key)
    result = enrol(world.store, "signet", "my sign", examples)
    assert (result.figures.measured_on, result.figures.clips, result.figures.before) == ("embeddings", 18, 18)
    assert result.card.metrics == open_card.metrics


def test_the_order_of_enrolments_makes_no_difference_and_a_forgotten_sign_leaves_no_trace(
    world: World, open_card: ModelCard, example: MakeExample
) -> None:
    ours, mine = spread(example, "ours", 0.5 + 3.5 / 6), spread(example, "mine", NEW_PLACE)
    alone = enrol(world.store, "signet", "ours", ours).card
    enrol(world.store, "signet", "mine", mine, allow_similar=True)
    both = forget(world.store, "signet", "mine")
    assert both.card.vocabulary == (*GLOSSES, "ours")
    for file in (ONNX_FILE, EMBEDDINGS_FILE):
        assert registry.read_file(world.store, both.card, file) == registry.read_file(world.store, alone, file)
    none = forget(world.store, "signet", "ours").card
    assert none.vocabulary == GLOSSES
    for file in (EMBEDDINGS_FILE, ONNX_FILE):
        assert registry.read_file(world.store, none, file) == registry.read_file(world.store, open_card, file)
    assert registry.read_alias(world.store, "signet", "latest").history[-1].reason == "forgot 'ours'"


def test_only_enrolled_signs_can_be_forgotten(world: World, open_card: ModelCard, examples: list[ExampleClip]) -> None:
    enrol(world.store, "signet", "my sign", examples)
    with pytest.raises(NotReady, match="'book' was trained, and cannot be forgotten"):
        forget(world.store, "signet", "book")
    with pytest.raises(NotFound, match=r"knows no sign 'yours'\. Signs that were enrolled: 'my sign'"):
        forget(world.store, "signet", "yours")


@pytest.mark.parametrize(
    ("gloss", "error", "words"),
    [
        ("", InvalidInput, "is empty"),
        ("  ", InvalidInput, "is empty"),
        ("a\nb", InvalidInput, "U+000A"),
        ("x" * 1001, InvalidInput, "at most 1000"),
        ("book", AlreadyExists, "knows 'book' already"),
        ("Book", AlreadyExists, "knows 'book' already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    world: World, open_card: ModelCard, examples: list[ExampleClip], gloss: str, error: type[SignetError], words: str
) -> None:
    with pytest.raises(error) as caught:
        enrol(world.store, "signet", gloss, examples)
    assert words in str(caught.value)
    assert registry.versions(world.store, "signet") == [open_card.version]


def test_examples_that_cannot_be_used_are_named(world: World, open_card: ModelCard, example: MakeExample) -> None:
    good, empty, broken = example("good"), example("empty", None), ExampleClip("broken", b"<html>")
    also = example("also", NEW_PLACE + 0.05)
    for given, words in (
        ([], "no example was given"),
        ([good] * 21, "21 examples were given; at most 20"),
        ([good, empty], "empty: nothing is signed: no hand"),
        ([empty, good, broken], "2 of 3 examples cannot be used. empty: nothing is signed"),
        ([good, example("good"), also], "good and good show the same recording"),
        ([good, broken], "broken"),
        ([good, example("other", NEW_PLACE + 0.5)], "good and other differ"),
        (
            [good, example("also", NEW_PLACE + 0.05), example("other", NEW_PLACE + 0.5)],
            "other differs from the other 2 examples",
        ),
    ):
        with pytest.raises(InvalidInput) as caught:
            enrol(world.store, "signet", "my sign", given)
        assert words in str(caught.value)
    assert registry.versions(world.store, "signet") == [open_card.version]


def test_examples_of_a_known_sign_are_refused_with_its_name_unless_it_is_allowed(
    world: World, open_card: ModelCard, example: MakeExample
) -> None:
    known = [example(f"known{number}", place_of(2, 6)) for number in range(3)]
    with pytest.raises(InvalidInput, match=r"look like the sign 'drink'.* 3 of 3 .*--allow-similar"):
        enrol(world.store, "signet", "my sign", known)
    result = enrol(world.store, "signet", "my sign", known, allow_similar=True)
    assert any("'drink'" in warning for warning in result.warnings)


def test_few_examples_are_enough_but_there_is_a_warning(
    world: World, open_card: ModelCard, example: MakeExample
) -> None:
    result = enrol(world.store, "signet", "my sign", [example("only")], allow_similar=True)
    assert any("with one example" in warning for warning in result.warnings)
    assert first_guess(world, result.card, NEW_PLACE) == "my sign"


def test_a_model_without_embeddings_is_refused_with_the_reason(
    world: World, card: ModelCard, examples: list[ExampleClip]
) -> None:
    with pytest.raises(NotReady, match=r"has no embeddings.safetensors.* linear head\. Train it again"):
        enrol(world.store, "signet", "my sign", examples)
    with pytest.raises(NotFound):
        enrol(world.store, "signet", "my sign", examples, version="1999")


def test_if_another_program_publishes_meanwhile_nothing_is_changed(
    world: World, open_card: ModelCard, examples: list[ExampleClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = enrol(world.store, "signet", "other", examples).card
    registry.rollback(world.store, "signet", "latest")
    measure = measurement.measure_trained_signs

    def measure_while_another_program_publishes(*arguments: object) -> object:
        registry.promote(world.store, "signet", other.version, "latest")
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(
        "services.evaluator.enrolment.enrolment.measure_trained_signs", measure_while_another_program_publishes
    )
    with pytest.raises(Conflict, match="Nothing was changed; try again"):
        enrol(world.store, "signet", "my sign", examples)
    assert registry.versions(world.store, "signet") == sorted([open_card.version, other.version])
    assert registry.resolve(world.store, "signet", "latest") == other.version


def test_a_damaged_version_is_refused_with_the_reason(
    world: World, open_card: ModelCard, examples: list[ExampleClip]
) -> None:
    parts = {file: registry.read_file(world.store, open_card, file) for file in open_card.files}
    for file, data, words in (
        (EMBEDDINGS_FILE, b"?", "holds no embeddings"),
        (ONNX_FILE, b"<html>", "is not a graph"),
        (ONNX_FILE, make_embedding_graph([0.5, 0.6]), "are not about the same signs"),
    ):
        files = parts | {file: data}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        card = open_card.model_copy(update={"version": f"damaged-{hashes[file][:8]}", "files": hashes})
        registry.publish(world.store, card, files)
        with pytest.raises(DataLoss) as caught:
            enrol(world.store, "signet", "my sign", examples)
        assert words in str(caught.value)


def test_an_enrolled_version_is_signed_and_without_a_key_it_is_not_published(
    world: World, open_card: ModelCard, examples: list[ExampleClip], tmp_path: Path
) -> None:
    both = signing_keys(tmp_path)
    world.store.model_keys = both
    registry.sign(world.store, "signet", open_card.version)
    card = enrol(world.store, "signet", "my sign", examples).card
    assert registry.read_signature(world.store, "signet", card.version) is not None
    assert registry.read_card(world.store, "signet", card.version) == card
    world.store.model_keys = ModelKeys(trusted=both.trusted)
    with pytest.raises(InvalidSetting, match="SIGNET_MODEL_SIGNING_KEY"):
        enrol(world.store, "signet", "yours", examples, allow_similar=True)
    assert registry.versions(world.store, "signet") == [open_card.version, card.version]
