"""Long videos become clips in pieces: stored once, resumed, sharded, and in one split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.extractor.engines.lockstep_workers import LockstepWorkers
from services.extractor.jobs import worker
from services.extractor.jobs.extraction import ClipWorkers, Extraction
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_pieces import StoredPieces
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.quality.command import run_audit
from services.extractor.sources.detection import read_corpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.selection import SelectionCriteria
from signet.datasets.corpus import Shard, read_manifest
from signet.landmarks import ClipRecord, load
from signet.store import DirectoryStore, keys
from signet.terminal.output import open_console
from tests.services.extractor.conftest import MakeVideo

# A frame each 50 s: 22 minutes.
_TICKS = [50 * number for number in range(27)]


@dataclass
class Run:
    """Extractions of one folder into one store. The files that are verified are noted."""

    store: DirectoryStore
    workers: ClipWorkers
    folder: Path
    verified: list[str] = field(default_factory=list)

    def extract(self, shard: Shard = Shard(), workers: ClipWorkers | None = None) -> ExtractionProgress:  # noqa: B008
        noting = _NotingWorkers(workers or self.workers, self.verified)
        extraction = Extraction(
            name="videos", corpus=read_corpus(self.folder), choice=SelectionCriteria(), store=self.store,
            workers=noting, metrics=ExtractorMetrics(CollectorRegistry()), shard=shard,
        )  # fmt: skip
        return extraction.run()

    def records(self) -> dict[str, ClipRecord]:
        clips = (load(self.store.get(info.key), info.key) for info in self.store.list(keys.clips("videos")))
        return {clip.record.clip_id: clip.record for clip in clips}


class _NotingWorkers:
    def __init__(self, workers: ClipWorkers, verified: list[str]) -> None:
        self._workers = workers
        self._verified = verified

    def each(self, function: Callable[..., Any], jobs: Any, stopped: Callable[[], bool] = lambda: False) -> Any:
        jobs = list(jobs)
        if function is worker.verify:
            self._verified += [path.name for _, (path, *_) in jobs]
        yield from self._workers.each(function, jobs, stopped)


@pytest.fixture
def run(directory_store: DirectoryStore, workers: WorkerPool, make_video: MakeVideo, tmp_path: Path) -> Run:
    """Two short videos of a sign, and two long ones of another."""
    for gloss, name, settings in (
        ("book", "1.mp4", {"frames": 10}), ("book", "2.mp4", {"frames": 12}),
        ("drink", "long.mp4", {"frames": 27, "ticks": _TICKS, "fps": 1}),
        ("drink", "longer.webm", {"frames": 27, "ticks": _TICKS, "fps": 1, "codec": "libvpx-vp9"}),
    ):  # fmt: skip
        (tmp_path / "own" / gloss).mkdir(parents=True, exist_ok=True)
        make_video(name, size=(32, 32), **settings).rename(tmp_path / "own" / gloss / name)
    return Run(directory_store, workers, tmp_path / "own")


def test_a_long_video_becomes_clips_in_pieces(run: Run) -> None:
    result = run.extract()
    assert (result.state, result.total, result.extracted, result.broken) == (ExtractionState.SUCCEEDED, 8, 8, 0)
    assert result.frames == 10 + 12 + 27 + 27
    (note,) = (note for note in result.notes if "long.mp4" in note)
    assert note.startswith("drink-long-")
    assert "-part-1-of-3: long.mp4 lasts 21.7 minutes, so it is cut into 3 clips of 7.2 minutes" in note
    pieces = {clip_id: record for clip_id, record in run.records().items() if record.gloss == "drink"}
    assert len(pieces) == 6
    for clip_id, record in pieces.items():
        number = int(clip_id.split("-part-")[1][0])
        assert (record.frame_start, record.frame_end) == (9 * number - 8, 9 * number)
        assert clip_id.endswith(f"-part-{number}-of-3")
        assert load(run.store.get(keys.clip("videos", clip_id)), clip_id).timestamps[-1] == pytest.approx(400, abs=0.1)
    manifest = read_manifest(run.store, "videos")
    assert manifest is not None
    assert len(manifest.clips) == 8


def test_stored_pieces_are_not_extracted_again(run: Run) -> None:
    run.extract()
    before = {info.key: info.etag for info in run.store.list(keys.clips("videos"))}
    run.verified.clear()
    again = run.extract()
    assert (again.present, again.extracted) == (8, 0)
    assert run.verified == []
    assert not any("stored clip" in note for note in again.notes), "no piece is foreign"
    (lost,) = (key for key in before if "longer" in key and "part-2" in key)
    run.store.delete(lost)
    resumed = run.extract()
    assert (resumed.present, resumed.extracted) == (7, 1)
    assert run.verified == ["longer.webm"]
    assert {info.key: info.etag for info in run.store.list(keys.clips("videos"))}.keys() == before.keys()


def test_machines_share_the_pieces(run: Run) -> None:
    first, second = run.extract(Shard(0, 2)), run.extract(Shard(1, 2))
    assert (first.extracted, second.extracted) == (4, 4)
    assert len(run.records()) == 8
    assert read_manifest(run.store, "videos") is not None


def test_all_pieces_of_a_video_are_in_its_split_also_after_videos_were_added(run: Run, make_video: MakeVideo) -> None:
    run.extract()
    for number in range(4):
        make_video(f"{number}.mp4", frames=9 + number, size=(32, 32)).rename(run.folder / f"drink/{number}.mp4")
    run.extract()
    splits: dict[str, set[str]] = {}
    for clip_id, record in run.records().items():
        splits.setdefault(clip_id.split("-part-")[0], set()).add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "val"}


def test_another_video_under_the_name_of_a_long_one_is_refused(run: Run, make_video: MakeVideo) -> None:
    run.extract()
    make_video("other.mp4", frames=27, ticks=_TICKS, fps=1).replace(run.folder / "drink/long.mp4")
    result = run.extract()
    assert result.state is ExtractionState.FAILED
    assert "made from another video" in result.error


def test_pieces_in_lockstep_are_the_same_clips(run: Run, workers: WorkerPool) -> None:
    with LockstepWorkers(workers, "cpu", clip_timeout=60, clips=3) as batches:
        assert run.extract(workers=batches).extracted == 8
    assert run.extract().present == 8


def test_an_audit_finds_the_video_of_a_piece(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.extract()
    page = tmp_path / "audit.html"
    run_audit(
        open_console(), run.store, "videos", find_videos=lambda: read_corpus(run.folder).files, page=page, pictures=8
    )
    assert page.read_text().count("the video is not here") == 0


def test_a_set_of_pieces_is_complete_if_each_frame_is_in_one_piece() -> None:
    record = ClipRecord(clip_id="a", gloss="book", fps=25, width=64, height=48, frame_end=2, extractor="e/1")
    ends = {1: (1, 10), 2: (11, 20), 3: (21, 30)}

    def find(piece: Instance) -> ClipRecord:
        start, end = ends[int(piece.clip_id.split("-part-")[1][0])]
        return record.model_copy(update={"clip_id": piece.clip_id, "frame_start": start, "frame_end": end})

    whole = Instance("a", "book", "train", "")
    ids = [f"a-part-{number}-of-3" for number in (1, 2, 3)]
    usable = StoredPieces(ids).find_complete(whole, find)
    assert usable is not None
    assert (usable.segment.end, [piece.stored for piece in usable.pieces]) == (30, [True] * 3)
    assert StoredPieces(ids).find_any("a") == "a-part-1-of-3"
    assert StoredPieces(ids[1:]).find_complete(whole, find) is None
    assert StoredPieces(["b", "a-part-2-of-1"]).find_any("a") == ""
    ends[2] = (12, 20)
    assert StoredPieces(ids).find_complete(whole, find) is None
