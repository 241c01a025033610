"""`signet extract` is killed at random moments: `python -m bench.interruptions [--kills N] [--clips N] [--seed N]`.

The command is started again after each SIGKILL, and ends when it finishes. Then its store must equal that of an
undisturbed run, object for object, the manifest included. A store that is finished is compared and replaced by an empty
one, until there were enough kills. The store is a real SeaweedFS, the videos are made. Bar: 50 kills, no difference.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from bench.record import load_results, origin, save_results
from services.local.seaweedfs import LocalStore
from signet.store import ObjectStore
from signet.store.s3 import S3Store
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_table

KILLS = 50
RESULTS = Path(__file__).parent / "results/interruptions.json"

_GLOSSES = 3
_RATE = 25
# A run that takes longer than this hangs.
_LONGEST_SECONDS = 600.0


@dataclass
class Interruptions:
    """What happened. `differences` has the keys that differ from the undisturbed run."""

    kills: int = 0
    finished: int = 0
    seconds_until_kill: list[float] = field(default_factory=list)
    clips_at_kill: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def make_corpus(folder: Path, clips: int, seed: int) -> None:
    """Make metadata and short videos, which differ, and one file that is no video."""
    (folder / "clips").mkdir(parents=True)
    random_pixels = np.random.default_rng(seed)
    entries: dict[str, list[dict[str, object]]] = {f"gloss {number}": [] for number in range(_GLOSSES)}
    for number in range(clips):
        clip_id = f"{number:05}"
        path = folder / "clips" / f"{clip_id}.mp4"
        if number == 0:
            path.write_bytes(b"<!doctype html><html></html>")
        else:
            _make_video(path, random_pixels.integers(0, 255, (8 + number % 5, 48, 64, 3), dtype=np.uint8))
        instance = {"video_id": clip_id, "split": "train", "signer_id": number, "fps": _RATE}
        entries[f"gloss {number % _GLOSSES}"].append(instance | {"frame_start": 1, "frame_end": -1})
    metadata = [{"gloss": gloss, "instances": instances} for gloss, instances in entries.items()]
    (folder / "WLASL_v0.3.json").write_text(json.dumps(metadata))


def _make_video(path: Path, pictures: npt.NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(_RATE))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def interrupt(
    corpus: Path, open_new_store: Callable[[], tuple[ObjectStore, dict[str, str]]], kills: int, seed: int
) -> Interruptions:
    """Kill extractions so often. `open_new_store` gives an empty store and the environment that names it."""
    moments = random.Random(seed)  # noqa: S311  (moments are no secrets)
    undisturbed, environment = open_new_store()
    began = time.monotonic()
    _run(corpus, environment, _LONGEST_SECONDS)
    usual = time.monotonic() - began
    expected = read_objects(undisturbed)
    seen = Interruptions()
    while seen.kills < kills:
        store, environment = open_new_store()
        while not _run(corpus, environment, seconds := _moment(moments, seen, kills, usual)):
            seen.kills += 1
            seen.seconds_until_kill.append(round(seconds, 2))
            seen.clips_at_kill.append(sum(1 for _ in store.list("landmarks/")))
        seen.finished += 1
        found = read_objects(store)
        seen.differences += sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    return seen


def _moment(moments: random.Random, seen: Interruptions, kills: int, usual: float) -> float:
    """When to kill the next run: at any moment of its usual time, or never after enough kills."""
    return moments.uniform(0, 1.1 * usual) if seen.kills < kills else _LONGEST_SECONDS


def read_objects(store: ObjectStore) -> dict[str, bytes]:
    """All objects of a store."""
    return {info.key: store.get(info.key) for info in store.list("")}


def _run(corpus: Path, environment: dict[str, str], seconds: float) -> bool:
    """Run the command for at most these seconds, and then kill it. Whether it has finished."""
    command = [sys.executable, "-m", "services.cli", "extract", "--wlasl", str(corpus), "--workers", "2"]
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if seconds >= _LONGEST_SECONDS:
            raise AssertionError(f"an extraction takes more than {seconds:g} s") from None
        return False
    # The status of an extraction with a broken clip.
    assert process.returncode == 3, out
    return True


def measure(kills: int, clips: int, seed: int) -> Interruptions:
    """Kill extractions into a real SeaweedFS."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_corpus(root / "wlasl", clips, seed)
        with LocalStore(root / "server") as server:
            made = 0

            def open_new_store() -> tuple[ObjectStore, dict[str, str]]:
                nonlocal made
                made += 1
                environment = server.environment
                url, _, _ = environment["SIGNET_STORE"].rpartition("/")
                key, secret = environment["SIGNET_S3_ACCESS_KEY"], environment["SIGNET_S3_SECRET_KEY"]
                # SeaweedFS has no room for dozens of buckets: each has volumes of its own.
                store = S3Store(url.partition("//")[2], "interruptions", key, secret, secure=False)
                for info in list(store.list("")):
                    store.delete(info.key)
                own = {"SIGNET_STORE": store.url, "SIGNET_CACHE": str(root / f"cache-{made}")}
                return store, environment | own

            return interrupt(root / "wlasl", open_new_store, kills, seed)


def main() -> None:
    """Measure, print a table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seed", type=int, default=18)
    arguments = parser.parse_args()
    seen = measure(arguments.kills, arguments.clips, arguments.seed)
    rows = load_results(RESULTS)
    rows[f"{arguments.kills} kills, seed {arguments.seed}"] = {
        "kills": seen.kills,
        "finished_runs": seen.finished,
        "clips": arguments.clips,
        "clips_stored_at_kills": seen.clips_at_kill,
        "differences": seen.differences,
        **origin(),
    }
    save_results(RESULTS, rows)
    columns = [TableColumn(name, "right") for name in ("kills", "finished runs", "objects that differ")]
    print_table(open_console(), columns, [[str(seen.kills), str(seen.finished), str(len(seen.differences))]])
    raise SystemExit(f"missed: {', '.join(seen.differences)}" if seen.differences else 0)


if __name__ == "__main__":
    run_command(main)
