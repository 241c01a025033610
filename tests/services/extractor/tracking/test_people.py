"""A clip in which two people are seen gets a warning, and a clip with one signer gets none."""

from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from services.cli import app
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.video.decode import Video, read_file
from signet.landmarks import Landmarks, load
from signet.store import DirectoryStore, keys
from tests.services.extractor.conftest import SHORT, MakeCorpus

pytestmark = pytest.mark.clips


def join_side_by_side(left: Path, right: Path, target: Path) -> Path:
    """Write a video that shows the middle parts of two videos next to each other."""
    halves = []
    for path in (left, right):
        frames = [frame.rgb for frame in Video(read_file(path), path.name).frames()]
        height, width = frames[0].shape[:2]
        start = (width - height) // 2
        halves.append([frame[:480, start : start + 480] for frame in frames])
    with av.open(str(target), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 960, 480, "yuv420p"
        for pair in zip(*halves, strict=False):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.hstack(pair), format="rgb24")))
        file.mux(stream.encode())
    return target


def extract(workers: WorkerPool, *paths: Path) -> list[Landmarks]:
    jobs = [(path, (read_file(path), Labels(path.name))) for path in paths]
    results = dict(workers.each(worker.extract_bytes, jobs))
    clips = []
    for path in paths:
        outcome = results[path]
        assert isinstance(outcome, Extracted), outcome
        clips.append(load(outcome.data))
        assert outcome.warnings == clips[-1].record.warnings
    return clips


def test_two_people_in_the_picture_are_a_warning_in_the_record_of_the_clip(
    wlasl: Path, workers: WorkerPool, tmp_path: Path
) -> None:
    signers = [wlasl / "clips" / f"{clip_id}.mp4" for clip_id in SHORT[:3]]
    both = join_side_by_side(signers[0], signers[1], tmp_path / "both.mp4")
    together, *alone = extract(workers, both, *signers)
    assert [warning.split(";")[0] for warning in together.record.warnings] == ["more than one person is in the picture"]
    assert [clip.record.warnings for clip in alone] == [()] * len(signers)


def test_two_people_in_the_picture_are_named_in_the_summary_and_in_the_statistics(
    make_corpus: MakeCorpus, tmp_path: Path, wlasl: Path
) -> None:
    signers = [wlasl / "clips" / f"{clip_id}.mp4" for clip_id in SHORT[:2]]
    both = join_side_by_side(signers[0], signers[1], tmp_path / "both.mp4")
    folder = make_corpus(SHORT[:1], {"both": both})
    store = f"file://{tmp_path}/store"
    arguments = ["extract", "--wlasl", str(folder), "--store", store, "--workers", "1", "--stats"]
    for _ in range(2):  # the second time from the store
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "warning both: more than one person is in the picture" in done.output
        assert "note both: more than one person is in the picture" in done.output
        assert done.output.count("more than one person") == 2
    key = keys.clip("wlasl", "both")
    assert load(DirectoryStore(tmp_path / "store").get(key), key).record.warnings
