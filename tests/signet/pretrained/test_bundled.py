"""The model that comes with the package is small, whole, and answers as where it was made."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from services.evaluator.enrolment.graph_file import read_directions
from services.evaluator.serving.stored_version import ONNX_FILE
from services.standalone.models import ModelChoice, load_bundled_model, load_chosen_model
from signet import pretrained
from signet.errors import DataLoss, NotFound
from signet.parity import PARITY_FILE
from signet.pretrained import bundled
from signet.registry import CARD
from signet.sign_embeddings import EMBEDDINGS_FILE, load_embeddings
from tests.conftest import ROOT

FOLDER = ROOT / "signet/pretrained/asl100"


def test_the_model_is_small_enough_to_be_in_the_package() -> None:
    files = list(FOLDER.iterdir())
    assert {path.name for path in files} == {CARD, ONNX_FILE, PARITY_FILE, EMBEDDINGS_FILE, "README.md"}
    assert sum(path.stat().st_size for path in files) <= pretrained.MAX_BYTES


def test_the_card_has_the_sha256_of_each_file() -> None:
    card = pretrained.read_bundled_card()
    assert set(card.files) == {ONNX_FILE, PARITY_FILE, EMBEDDINGS_FILE}
    for name, digest in card.files.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_it_answers_its_parity_vector_and_knows_100_signs() -> None:
    model = load_bundled_model()
    assert len(model.vocabulary) == 100
    assert load_chosen_model(ModelChoice()).model.name == model.name


def test_signs_can_be_added_to_it() -> None:
    card = pretrained.read_bundled_card()
    kept = load_embeddings(pretrained.read_bundled_file(card, EMBEDDINGS_FILE), card.name, len(card.vocabulary))
    directions = read_directions(pretrained.read_bundled_file(card, ONNX_FILE), card.name)
    assert np.array_equal(directions, kept.directions)
    # Most train clips of a sign are nearest to its direction.
    vectors = kept.vectors.reshape(len(kept.signs), -1)
    nearest = (vectors @ directions.reshape(len(directions), -1).T).argmax(axis=1)
    assert (nearest == kept.signs).mean() > 0.9
    assert np.bincount(kept.signs, minlength=100).min() >= 2


def test_no_split_has_chosen_it() -> None:
    card = pretrained.read_bundled_card()
    assert card.selected_on == ""
    assert card.metrics.val_clips == 130
    assert card.config["patience"] == 0
    assert card.config["target_accuracy"] is None
    assert card.metrics.epoch == card.config["num_epochs"]


def test_the_notice_names_the_licence_and_the_command() -> None:
    notice = (FOLDER / "README.md").read_text()
    card = pretrained.read_bundled_card()
    for words in ("C-UDA", "academic and computational", "make bundled-model", card.version):
        assert words in notice
    share = card.metrics.val_correct / card.metrics.val_clips
    assert f"{100 * share:.1f} %" in notice


def test_its_files_are_in_the_package() -> None:
    assert '"signet.pretrained" = ["asl100/*"]' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model, which is used instead of it."""
    folder = tmp_path / "asl100"
    folder.mkdir()
    for path in FOLDER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(bundled, "files", lambda _: tmp_path)
    return folder


def test_a_damaged_file_is_refused(copied: Path) -> None:
    data = bytearray((copied / ONNX_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / ONNX_FILE).write_bytes(data)
    with pytest.raises(DataLoss, match=r"model\.onnx of the bundled model asl100 is damaged"):
        load_bundled_model()


def test_a_damaged_card_is_refused(copied: Path) -> None:
    card = json.loads((copied / CARD).read_text())
    del card["vocabulary"]
    (copied / CARD).write_text(json.dumps(card))
    with pytest.raises(DataLoss, match="the card of the bundled model asl100 is damaged"):
        load_bundled_model()


def test_a_missing_model_is_named_with_the_way_out(copied: Path) -> None:
    (copied / CARD).unlink()
    with pytest.raises(NotFound, match="Install Signet again, or name a model of a store with --store"):
        load_bundled_model()
