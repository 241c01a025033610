"""An extraction counts and stores clips, can be resumed, and never mixes landmarks of different origin."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.extractor.jobs import stored_clips
from services.extractor.jobs.extraction import Extraction, _is_segment
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.instances import Instance
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.sources.wlasl import read_wlasl
from signet.datasets.corpus import Shard, read_manifest
from signet.errors import InvalidInput, Unavailable
from signet.landmarks import ClipRecord, Landmarks, dump, load
from signet.store import DirectoryStore, ObjectStore, keys
from tests.services.extractor.conftest import SHORT, MakeCorpus, MakeVideo

pytestmark = pytest.mark.clips


@dataclass
class Run:
    """ExtractionQueue of one directory into one store."""

    store: ObjectStore
    workers: WorkerPool
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._metrics = ExtractorMetrics(self.registry)

    def prepare(
        self,
        folder: Path,
        choice: SelectionCriteria = SelectionCriteria(),  # noqa: B008  (frozen)
        name: str = "wlasl",
        shard: Shard = Shard(),  # noqa: B008
        on_change: Callable[[ExtractionProgress], None] = lambda _: None,
    ) -> Extraction:
        return Extraction(
            name=name,
            corpus=read_wlasl(folder),
            choice=choice,
            store=self.store,
            workers=self.workers,
            metrics=self._metrics,
            shard=shard,
            on_change=on_change,
        )

    def clips(self, outcome: str, reason: str = "") -> float:
        labels = {"outcome": outcome, "reason": reason}
        return self.registry.get_sample_value("signet_extractor_clips_total", labels) or 0.0

    def objects(self) -> dict[str, bytes]:
        return {info.key: self.store.get(info.key) for info in self.store.list("landmarks/")}


@pytest.fixture
def run(directory_store: DirectoryStore, workers: WorkerPool) -> Run:
    return Run(directory_store, workers)


def test_broken_files_are_named_and_counted_and_the_others_are_extracted(
    wlasl: Path, make_corpus: MakeCorpus, make_video: MakeVideo, run: Run, tmp_path: Path
) -> None:
    others = {path.stem: path for path in (wlasl / "broken").iterdir()}
    others["empty"] = tmp_path / "empty"
    others["empty"].touch()
    others["jpeg"] = tmp_path / "jpeg"
    others["jpeg"].write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(1000))
    others["truncated"] = tmp_path / "truncated"
    others["truncated"].write_bytes((wlasl / f"clips/{SHORT[1]}.mp4").read_bytes()[:20_000])
    others["one-frame"] = make_video("one.mp4", frames=1)
    others["audio-only"] = make_video("sound.mp4", frames=0, sound=True)

    result = run.prepare(make_corpus(SHORT[:2], others)).run()

    assert result.state is ExtractionState.SUCCEEDED
    reasons = {failure.clip_id: failure.reason for failure in result.failures}
    expected = {name: "html" if name.startswith("html") else "text_mangled" for name in others if "_" in name}
    expected |= {"empty": "empty", "jpeg": "image", "truncated": "truncated"}
    expected |= {"one-frame": "too_few_frames", "audio-only": "no_video"}
    assert reasons == expected
    assert all(failure.clip_id in failure.message for failure in result.failures)
    assert (result.total, result.extracted, result.present, result.broken, result.missing) == (16, 2, 0, 14, 2)
    assert result.frames == 39

    assert run.clips("extracted") == 2
    assert run.clips("missing") == 2
    assert run.clips("broken", "text_mangled") == 8
    assert run.clips("broken", "html") == run.clips("broken", "empty") == run.clips("broken", "image") == 1
    assert run.registry.get_sample_value("signet_extractor_frames_total") == 18  # of 39, those that are tracked
    for stage in ("decode", "landmarks", "store"):
        count = run.registry.get_sample_value("signet_extractor_stage_seconds_count", {"stage": stage})
        assert count == 2

    stored = run.objects()
    assert set(stored) == {keys.clip("wlasl", clip_id) for clip_id in SHORT[:2]}
    clip = load(stored[keys.clip("wlasl", SHORT[0])])
    assert clip.record.source_sha256 == hashlib.sha256((wlasl / f"clips/{SHORT[0]}.mp4").read_bytes()).hexdigest()
    assert (clip.record.gloss, clip.record.split, clip.record.corpus) == ("bird", "train", "wlasl")
    assert clip.landmarks.shape == (9, 75, 3)
    assert clip.presence[:, 0].all()
    assert 0 < np.nanmean(clip.landmarks[..., :2].astype(np.float64)) < 2


def test_a_second_extraction_resumes_a_cancelled_one(make_corpus: MakeCorpus, run: Run) -> None:
    folder = make_corpus(SHORT[:4])

    def cancel_after_one(progress: ExtractionProgress) -> None:
        if progress.extracted:
            first.cancel()

    first = run.prepare(folder, on_change=cancel_after_one)
    result = first.run()
    assert result.state is ExtractionState.CANCELLED
    done = result.extracted
    assert 1 <= done < 4
    assert result.done == done  # what was under way was finished, nothing else begun
    before = run.objects()
    assert len(before) == done

    resumed = run.prepare(folder).run()
    assert resumed.state is ExtractionState.SUCCEEDED
    assert (resumed.present, resumed.extracted) == (done, 4 - done)
    assert run.clips("extracted") == 4
    assert run.clips("present") == done
    after = run.objects()
    assert len(after) == 4
    assert before.items() <= after.items()

    again = run.prepare(folder).run()
    assert (again.state, again.present, again.extracted, again.frames) == (ExtractionState.SUCCEEDED, 4, 0, 0)
    assert run.objects() == after


def test_a_cancelled_selection_extracts_nothing(make_corpus: MakeCorpus, run: Run) -> None:
    extraction = run.prepare(make_corpus(SHORT[:2]))
    extraction.cancel()
    assert extraction.run().state is ExtractionState.CANCELLED
    assert not run.objects()


def test_segments_are_cut_and_trimmed_clips_are_taken_whole(make_corpus: MakeCorpus, run: Run) -> None:
    segments = {SHORT[0]: (4, 12), SHORT[1]: (101, 121), SHORT[2]: (10, 90)}
    folder = make_corpus(SHORT[:3], segments=segments)
    result = run.prepare(folder).run()
    assert [(failure.clip_id, failure.reason) for failure in result.failures] == [(SHORT[2], "outside")]
    assert len(result.notes) == 1
    assert result.notes[0].startswith(f"{SHORT[1]}: trimmed already")
    part = load(run.store.get(keys.clip("wlasl", SHORT[0])))
    assert (part.frames, part.record.frame_start, part.record.frame_end) == (5, 4, 12)
    assert part.timestamps[0] == 0
    whole = load(run.store.get(keys.clip("wlasl", SHORT[1])))
    assert (whole.frames, whole.record.frame_start, whole.record.frame_end) == (9, 1, 20)
    assert run.prepare(folder).run().present == 2


def test_what_is_unusual_about_metadata_and_files_is_said_and_the_clips_are_extracted(
    make_corpus: MakeCorpus, run: Run
) -> None:
    folder = make_corpus(SHORT[:2])
    (folder / "raw_videos").mkdir()
    shutil.move(folder / f"clips/{SHORT[1]}.mp4", folder / f"raw_videos/{SHORT[1].lstrip('0')}.MP4")
    path = folder / "WLASL_v0.3.json"
    entries = json.loads(path.read_text())
    entries[0]["instances"][0] |= {"signer_id": None, "bbox": [0.5, 1, 2, 3], "split": "dev"}
    entries.append({"gloss": "go", "instances": [{"video_id": "?"}]})
    path.write_bytes(json.dumps(entries).replace("\n", "\r\n").encode("utf-16"))

    result = run.prepare(folder).run()
    assert (result.state, result.extracted, result.broken) == (ExtractionState.SUCCEEDED, 2, 0)
    said = "\n".join(result.notes)
    for what in (
        "signer_id is unknown in 1 ",
        "bbox is unknown in 1 ",
        "split 'dev' is read as 'val'",
        "1 instance left out",
    ):
        assert said.count(what) == 1, said
    records = [load(data).record for data in run.objects().values()]
    assert {record.clip_id for record in records} == set(SHORT[:2])
    assert [(record.signer, record.split) for record in records if not record.signer] == [("", "val")]


def test_a_stored_clip_with_other_frames_than_the_metadata_is_refused(make_corpus: MakeCorpus, run: Run) -> None:
    folder = make_corpus(SHORT[:1])
    assert run.prepare(folder).run().extracted == 1  # frames 1 to 19
    metadata = folder / "WLASL_v0.3.json"
    metadata.write_text(metadata.read_text().replace('"frame_start": 1', '"frame_start": 4').replace("-1", "12"))
    result = run.prepare(folder).run()
    assert result.state is ExtractionState.FAILED
    assert "made of frames 1 to 19" in result.error


@pytest.mark.parametrize(
    ("stored", "fps", "wanted", "same"),
    [
        ((4, 12), 25, (4, 12), True),
        ((4, 11), 25, (4, 12), False),
        ((3, 12), 25, (4, 12), False),
        ((1, 20), 25, (1, -1), True),
        ((1, 20), 25, (0, -1), True),
        ((10, 30), 25, (10, -1), True),
        # A clip that ends before the segment does was trimmed already, and was taken whole.
        ((1, 9), 25, (4, 12), True),
        ((1, 11), 25, (4, 12), True),
        ((1, 12), 25, (4, 12), False),
        ((1, 9), 25, (10, -1), True),
        ((1, 10), 25, (10, -1), False),
        ((2, 9), 25, (10, -1), False),
        # The metadata counts at 25 frames per second.
        ((448, 508), 30, (373, 423), True),
        ((373, 423), 30, (373, 423), False),
        ((1, 51), 30, (373, 423), True),
        ((31, 60), 30, (26, -1), True),
        ((26, 60), 30, (26, -1), False),
        # Numbers that no video has need neither time nor memory.
        ((1, 60), 30, (900_000_000, 900_000_050), True),
        ((2, 60), 30, (900_000_000, 900_000_050), False),
    ],
)
def test_stored_frames_match_an_instance_if_its_segment_would_choose_them(
    stored: tuple[int, int], fps: float, wanted: tuple[int, int], same: bool
) -> None:
    record = ClipRecord(
        clip_id="c", fps=fps, width=64, height=48, source_sha256="0" * 64, frame_start=stored[0], frame_end=stored[1]
    )
    instance = Instance("c", "book", "train", "1", *wanted)
    assert _is_segment(record, instance) is same


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"extractor": "mediapipe-0.9/holistic-0"}, "made by mediapipe-0.9/holistic-0"),
        ({"source_sha256": "0" * 64}, "made from another video"),
        ({"gloss": "fish"}, "with gloss 'fish', not 'bird'"),
        ({"frame_start": 3}, "made of frames 3 to 19"),
    ],
)
def test_an_extraction_refuses_a_corpus_with_landmarks_of_another_origin(
    make_corpus: MakeCorpus, run: Run, change: dict[str, object], fault: str
) -> None:
    folder = make_corpus(SHORT[:1])
    assert run.prepare(folder).run().extracted == 1
    key = keys.clip("wlasl", SHORT[0])
    clip = load(run.store.get(key))
    other = Landmarks(
        clip.landmarks, clip.presence, clip.visibility, clip.timestamps, clip.record.model_copy(update=change)
    )
    run.store.put(key, dump(other))

    result = run.prepare(folder).run()
    assert result.state is ExtractionState.FAILED
    assert fault in result.error
    assert "another --corpus than 'wlasl'" in result.error
    assert run.prepare(folder, name="second").run().extracted == 1


def test_a_damaged_object_in_the_store_is_reported_and_not_overwritten(make_corpus: MakeCorpus, run: Run) -> None:
    folder = make_corpus(SHORT[:1])
    run.store.put(keys.clip("wlasl", SHORT[0]), b"half an object")
    result = run.prepare(folder).run()
    assert result.state is ExtractionState.FAILED
    assert "damaged" in result.error
    assert run.store.get(keys.clip("wlasl", SHORT[0])) == b"half an object"


class Flaky(DirectoryStore):
    """A store that is away for its first conditional writes: what a restarting server looks like."""

    def __init__(self, root: Path, away: int) -> None:
        super().__init__(root)
        self.away = away

    def create(self, key: str, data: bytes) -> str:
        self.away -= 1
        if self.away >= 0:
            raise Unavailable(f"{self.url}: the store cannot be reached.")
        return super().create(key, data)


def test_an_extraction_survives_a_short_outage_of_the_store(
    make_corpus: MakeCorpus, workers: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_clips, "_STORE_PAUSES", (0.01, 0.01))
    result = Run(Flaky(tmp_path / "store", away=2), workers).prepare(make_corpus(SHORT[:2])).run()
    assert (result.state, result.extracted) == (ExtractionState.SUCCEEDED, 2)


def test_a_long_outage_of_the_store_fails_the_extraction_and_another_one_resumes(
    make_corpus: MakeCorpus, workers: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_clips, "_STORE_PAUSES", (0.01, 0.01))
    store = Flaky(tmp_path / "store", away=100)
    run = Run(store, workers)
    folder = make_corpus(SHORT[:2])
    result = run.prepare(folder).run()
    assert result.state is ExtractionState.FAILED
    assert "the store cannot be reached" in result.error
    store.away = 0
    assert run.prepare(folder).run().extracted == 2


def test_two_extractions_at_once_store_each_clip_once(make_corpus: MakeCorpus, run: Run) -> None:
    folder = make_corpus(SHORT[:2])
    jobs = [run.prepare(folder), run.prepare(folder)]
    threads = [threading.Thread(target=job.run) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [job.progress for job in jobs]
    assert {result.state for result in results} == {ExtractionState.SUCCEEDED}
    assert all(result.done == 2 for result in results)
    assert sum(result.extracted for result in results) == 2


def test_an_invalid_corpus_name_is_refused_at_once(make_corpus: MakeCorpus, run: Run) -> None:
    with pytest.raises(InvalidInput, match=r"\.\./x"):
        run.prepare(make_corpus(SHORT[:1]), name="../x")


def test_progress_can_be_read_while_it_runs(make_corpus: MakeCorpus, run: Run) -> None:
    seen: list[ExtractionProgress] = []
    extraction = run.prepare(make_corpus(SHORT[:2]), SelectionCriteria(max_glosses=1), on_change=seen.append)
    assert extraction.progress.state is ExtractionState.SELECTING
    result = extraction.run()
    states = [progress.state for progress in seen]
    assert states == sorted(states, key=list(ExtractionState).index)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert result.glosses == ("bird",)
    elapsed = extraction.progress.elapsed_seconds
    time.sleep(0.05)
    assert extraction.progress.elapsed_seconds == elapsed


def test_shards_divide_the_clips_and_the_last_shard_completes_the_corpus(make_corpus: MakeCorpus, run: Run) -> None:
    folder = make_corpus(SHORT[:4])
    first = run.prepare(folder, shard=Shard(0, 2)).run()
    assert (first.state, first.total, first.extracted) == (ExtractionState.SUCCEEDED, 2, 2)
    assert read_manifest(run.store, "wlasl") is None, "the other half is not there"
    assert run.registry.get_sample_value("signet_extractor_selected_clips") == 2
    assert run.registry.get_sample_value("signet_extractor_done_clips") == 2

    second = run.prepare(folder, shard=Shard(1, 2)).run()
    assert (second.total, second.extracted, second.present) == (2, 2, 0)
    manifest = read_manifest(run.store, "wlasl")
    assert manifest is not None
    assert set(manifest.clips) == set(SHORT[:4])
    assert run.registry.get_sample_value("signet_extractor_running") == 0

    whole = run.prepare(folder).run()
    assert (whole.present, whole.extracted) == (4, 0)
    assert read_manifest(run.store, "wlasl") == manifest, "the same clips are the same version"


def test_each_broken_clip_is_counted_by_one_shard_only(make_corpus: MakeCorpus, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("<!doctype html><html>gone</html>")
    folder = make_corpus(SHORT[:2], {"a": page, "b": page, "c": page})
    results = [run.prepare(folder, shard=Shard(index, 2)).run() for index in range(2)]
    assert sorted(result.broken for result in results) == [1, 2]
    assert sorted(failure.clip_id for result in results for failure in result.failures) == ["a", "b", "c"]
    assert [result.done for result in results] == [result.total for result in results]
    assert run.clips("broken", "html") == 3
