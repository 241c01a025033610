"""The version that an enrolment starts from: of a store, or the model that comes with Signet."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.evaluator.enrolment.parent import (
    MAX_ENROLLED,
    check_new_gloss,
    choose_model_name,
    read_parent,
    read_parent_card,
)
from signet import pretrained
from signet.errors import AlreadyExists, NotFound, NotReady
from signet.pretrained import ASL100
from signet.registry import LATEST, Enrolment, ModelCard
from signet.store import DirectoryStore

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def test_without_a_default_model_the_bundled_one_is_meant(tmp_path: Path, world: "World", open_card: ModelCard) -> None:
    assert choose_model_name(DirectoryStore(tmp_path / "empty"), "signet") == ASL100
    assert choose_model_name(world.store, "signet") == "signet"


def test_the_bundled_model_is_a_parent_in_every_store(directory_store: DirectoryStore) -> None:
    bundled = pretrained.read_bundled_card()
    for version in (LATEST, bundled.version):
        parent = read_parent(directory_store, ASL100, version, trial=False)
        assert (parent.name, parent.latest) == (f"{ASL100}/{bundled.version}", "")
        assert len(parent.directions) == parent.kept.trained == 100
    with pytest.raises(NotFound, match="'asl100' has no version or alias '1999'"):
        read_parent_card(directory_store, ASL100, "1999")


@pytest.mark.parametrize("gloss", ["mother", "MOTHER", " Mother ", "ＭＯＴＨＥＲ"])
def test_a_name_that_differs_only_in_form_is_the_same_name(gloss: str) -> None:
    with pytest.raises(AlreadyExists, match=r"knows 'mother' already\. Choose another name\.$"):
        check_new_gloss(pretrained.read_bundled_card(), gloss)


def test_the_name_of_an_enrolled_sign_is_refused_with_the_way_out() -> None:
    with pytest.raises(AlreadyExists, match="take the enrolled sign away first: `signet forget 'my sign'`"):
        check_new_gloss(enrolled("my sign"), "my  sign")


def test_a_version_has_a_limit_of_enrolled_signs() -> None:
    with pytest.raises(NotReady, match="has 100 enrolled signs, which is the most"):
        check_new_gloss(enrolled(*map(str, range(MAX_ENROLLED))), "one more")


def enrolled(*glosses: str) -> ModelCard:
    """The card of a version of the bundled model with enrolled signs."""
    card = pretrained.read_bundled_card()
    made = Enrolment(parent=card.version, trained=100, measured_on="", clips=0, correct=0, parent_correct=0)
    return card.model_copy(update={"vocabulary": card.vocabulary + glosses, "enrolment": made})
