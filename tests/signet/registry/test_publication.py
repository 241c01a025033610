"""Published models are complete or absent, and immutable."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signet import registry
from signet.errors import AlreadyExists
from signet.store import DirectoryStore, ObjectStore, keys
from tests.signet.registry.models import FILES, make_card


def test_a_published_model_is_found_by_alias_and_by_version(object_store: ObjectStore) -> None:
    registry.publish(object_store, make_card(), FILES)
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert registry.resolve(object_store, "signet", "v1") == "v1"
    card = registry.read_card(object_store, "signet", "v1")
    assert card == make_card()
    assert {name: registry.read_file(object_store, card, name) for name in card.files} == FILES


def test_a_version_is_immutable(object_store: ObjectStore) -> None:
    registry.publish(object_store, make_card(), FILES)
    with pytest.raises(AlreadyExists):
        registry.publish(object_store, make_card(), {"model.onnx": b"other"})
    assert registry.read_file(object_store, make_card(), "model.onnx") == FILES["model.onnx"]


def test_a_version_gets_its_card_and_its_alias_only_after_all_its_files(directory_store: DirectoryStore) -> None:
    """A second writer stops at the first file, which exists; nothing else may be written."""
    directory_store.create(keys.model("signet", "v1", "model.safetensors"), b"of another writer")
    with pytest.raises(AlreadyExists):
        registry.publish(directory_store, make_card(), FILES)
    assert registry.versions(directory_store, "signet") == []
    assert registry.aliases(directory_store, "signet") == {}


def test_versions_sort_by_time_and_differ_by_content_and_run() -> None:
    first, second = registry.new_version("run", b"a"), registry.new_version("run", b"b")
    assert first[-8:] != second[-8:]
    assert registry.new_version("another", b"a")[-8:] != first[-8:]
    assert registry.new_version("run", b"a", enrolled=True)[16:] == f"{first[16:]}-enrolled"
    assert first[:-9] <= second[:-9]
    assert first[-8:] == hashlib.sha256(b"runa").hexdigest()[:8]
    assert keys.check_name("model version", first) == first


# Publishes versions one after the other, until it is killed. A file is large, so that many kills meet a write.
PUBLISHER = """
import hashlib, itertools, sys
from pathlib import Path
from signet import registry
from signet.store import DirectoryStore
from tests.signet.registry.models import FILES, make_card
store = DirectoryStore(Path(sys.argv[1]))
files = {**FILES, "model.onnx": bytes(3_000_000)}
hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
card = make_card().model_copy(update={"files": hashes})
print("ready", flush=True)
for number in itertools.count():
    registry.publish(store, card.model_copy(update={"version": f"{sys.argv[2]}-{number}"}), files)
"""
ROOT = Path(__file__).parents[3]


def test_the_alias_never_names_an_incomplete_version_if_the_publisher_is_killed(
    directory_store: DirectoryStore,
) -> None:
    moments = random.Random(19)  # noqa: S311  (moments are no secrets)
    for round_ in range(6):
        command = [sys.executable, "-c", PUBLISHER, str(directory_store.root), f"v{round_}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.01, 0.4))
            process.kill()
        for version in {
            *registry.versions(directory_store, "signet"), *registry.aliases(directory_store, "signet").values()
        }:  # fmt: skip
            card = registry.read_card(directory_store, "signet", version)
            assert {name: len(registry.read_file(directory_store, card, name)) for name in card.files}
    assert registry.resolve(directory_store, "signet", "latest")
    registry.publish(directory_store, make_card("after"), FILES)
    assert registry.resolve(directory_store, "signet", "latest") == "after"


def test_a_publisher_whose_clock_is_behind_moves_the_alias_as_others_do(object_store: ObjectStore) -> None:
    """The order of versions follows clocks; an alias and its rollback follow the order of the moves."""
    ahead, behind = "20270101T000000Z-aaaaaaaa", "20250101T000000Z-bbbbbbbb"
    registry.publish(object_store, make_card(ahead), FILES)
    registry.publish(object_store, make_card(behind), FILES)
    assert registry.resolve(object_store, "signet", "latest") == behind
    registry.rollback(object_store, "signet", "latest")
    assert registry.resolve(object_store, "signet", "latest") == ahead
