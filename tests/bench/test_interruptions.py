"""An extraction that is killed at random moments stores what an undisturbed one stores. `bench` has the long form."""

from pathlib import Path

from bench.interruptions import interrupt, make_corpus
from signet.store import DirectoryStore, ObjectStore

KILLS = 5


def test_a_store_after_five_kills_equals_that_of_an_undisturbed_extraction(tmp_path: Path) -> None:
    make_corpus(tmp_path / "wlasl", 5, seed=18)
    made = 0

    def open_new_store() -> tuple[ObjectStore, dict[str, str]]:
        nonlocal made
        made += 1
        store = DirectoryStore(tmp_path / f"store-{made}")
        return store, {"SIGNET_STORE": store.url}

    seen = interrupt(tmp_path / "wlasl", open_new_store, KILLS, seed=18)
    assert seen.kills == KILLS
    assert seen.finished
    assert seen.differences == []
