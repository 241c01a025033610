"""An evaluator whose store has no model serves the one that comes with Signet, until a version is published."""

import logging
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.versions.served_model import ServedModel
from signet import registry
from signet.errors import NotReady
from signet.pretrained import read_bundled_card
from signet.registry import LATEST
from tests.services.evaluator.versions.test_served_model import memory_of
from tests.signet.pretrained.versions import publish_copy, publish_version

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def served_from(world: "World", *, bundled: bool = True) -> ServedModel:
    return ServedModel(memory_of(world.store, EvaluatorMetrics(CollectorRegistry())), "signet", LATEST, bundled=bundled)


def test_the_bundled_model_answers_and_the_log_and_the_status_say_so(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    served = served_from(world)
    with caplog.at_level(logging.INFO):
        served.refresh()
        served.refresh()
    bundled = read_bundled_card()
    with served.use() as model:  # type: ignore[union-attr]
        assert (model.card.name, model.card.version) == ("asl100", bundled.version)
    said = f"asl100/{bundled.version} answers, the model that comes with Signet: 100 signs of American Sign Language"
    assert said in served.status().reason
    assert served.status().version == bundled.version
    assert sum(said in record.message for record in caplog.records) == 1


def test_a_published_model_replaces_it(world: "World") -> None:
    served = served_from(world)
    served.refresh()
    card = world.publish(world.snapshot(world.everyday_clips()))
    served.refresh()
    assert (served.current().card.name, served.status().version, served.status().reason) == ("signet", card.version, "")


def test_the_version_with_enrolled_signs_of_the_store_replaces_it_at_once(world: "World") -> None:
    served = served_from(world)
    served.refresh()
    publish_copy(world.store, "mine")
    served.refresh()
    assert (served.current().card.name, served.status().version) == ("asl100", "mine")
    assert "asl100/mine answers, the model that comes with Signet" in served.status().reason
    registry.promote(world.store, "asl100", publish_version(world.store, "v9", ()).version, LATEST)
    served.refresh()
    assert served.status().version == read_bundled_card().version


def test_a_damaged_version_with_enrolled_signs_is_refused_and_the_old_one_serves_on(world: "World") -> None:
    served = served_from(world)
    served.refresh()
    publish_copy(world.store, "mine", damaged=True)
    served.refresh()
    assert (served.status().version, served.status().refused_version) == (read_bundled_card().version, "mine")
    assert "damaged" in served.status().reason


def test_it_can_be_switched_off(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_from(world, bundled=False)
    served.refresh()
    with pytest.raises(NotReady, match="no model to serve yet"):
        served.current()
    monkeypatch.delenv("SIGNET_BUNDLED_MODEL")
    assert EvaluatorSettings(_cli_parse_args=False).bundled_model
