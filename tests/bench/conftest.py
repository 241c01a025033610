"""A system with a small graph that needs no training, for benches that call a real evaluator."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.hostile.system import AttackedSystem
from signet.store import DirectoryStore
from tests.services.evaluator.conftest import World, everyday_clips

MakeSystem = Callable[[Mapping[str, str]], AttackedSystem]


def publish_small_model(store: DirectoryStore) -> None:
    """Publish a model whose graph is a matrix."""
    world = World(store.root)
    world.publish_with_parity(world.snapshot(everyday_clips()))


@pytest.fixture
def make_system(tmp_path: Path) -> MakeSystem:
    """Makes a system with these settings; its services are not started yet."""
    return lambda settings: AttackedSystem(tmp_path, None, settings, publish_small_model)
