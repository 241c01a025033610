"""The whole path on real clips: video to MediaPipe to S3 to training to gRPC, with three real processes."""

import io
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from services.local.demo import run_demo, unseen_clip
from services.local.stack import LocalStack
from services.standalone.cli import app
from signet.errors import InvalidInput, NotFound, NotReady
from signet.landmarks import load
from signet.rpc.client import Client, signet_errors
from signet.v1 import evaluator_pb2, extractor_pb2, trainer_pb2
from tests.conftest import alive

pytestmark = pytest.mark.clips

GLOSSES = 3
SAMPLES = 3
EPOCHS = 60
CALL_SECONDS = 60
LONG_SECONDS = 300


@dataclass
class Walk:
    """What one walk along the path left behind."""

    folder: Path
    stack: LocalStack
    client: Client
    extraction: extractor_pb2.ExtractionProgress
    again: extractor_pb2.ExtractionProgress
    started: trainer_pb2.RunStarted
    finished: trainer_pb2.RunFinished
    epochs: list[trainer_pb2.EpochFinished] = field(default_factory=list)

    def metrics(self, service: str) -> str:
        with urllib.request.urlopen(self.stack.services[service].metrics_url, timeout=10) as answer:
            return str(answer.read().decode())


def _extract(client: Client) -> extractor_pb2.ExtractionProgress:
    request = extractor_pb2.StartExtractionRequest(
        max_glosses=GLOSSES, samples_per_gloss=SAMPLES, splits=["train", "val"]
    )
    with signet_errors():
        started = client.extractor.StartExtraction(request, timeout=CALL_SECONDS)
        watch = extractor_pb2.WatchExtractionRequest(extraction_id=started.extraction_id)
        *_, last = client.extractor.WatchExtraction(watch, timeout=LONG_SECONDS)
    progress: extractor_pb2.ExtractionProgress = last.progress
    return progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("path")


@pytest.fixture(scope="module")
def path(wlasl: Path, folder: Path) -> Iterator[Walk]:
    with LocalStack(folder, wlasl) as stack, stack.client() as client:
        extraction, again = _extract(client), _extract(client)
        config = trainer_pb2.TrainConfig(
            max_glosses=GLOSSES, samples_per_gloss=SAMPLES, num_epochs=EPOCHS, train_past_target=True, device="cpu"
        )
        with signet_errors():
            run = client.trainer.StartRun(trainer_pb2.StartRunRequest(config=config), timeout=CALL_SECONDS)
            watch = trainer_pb2.WatchRunRequest(run_id=run.run_id)
            events = list(client.trainer.WatchRun(watch, timeout=LONG_SECONDS))
        yield Walk(
            folder,
            stack,
            client,
            extraction,
            again,
            next(event.started for event in events if event.HasField("started")),
            next(event.finished for event in events if event.HasField("finished")),
            [event.epoch for event in events if event.HasField("epoch")],
        )


def test_every_clip_is_extracted_into_s3_as_a_landmark_tensor(path: Walk) -> None:
    progress = path.extraction
    assert progress.state == extractor_pb2.EXTRACTION_STATE_SUCCEEDED, progress.error
    assert len(progress.glosses) == GLOSSES
    assert progress.extracted == progress.total > GLOSSES
    assert (progress.present, progress.broken) == (0, 0)
    store = path.stack.store.open()
    clips = [load(store.get(info.key), info.key) for info in store.list("landmarks/v1/wlasl/")]
    assert len(clips) == progress.extracted
    assert {clip.record.gloss for clip in clips} == set(progress.glosses)
    assert sum(clip.record.frame_end - clip.record.frame_start + 1 for clip in clips) == progress.frames
    assert all(clip.frames <= 10 * clip.length.seconds + 2 for clip in clips), "ten frames a second are tracked"
    # A signing person: the body is nearly always found, a hand in a good part of the frames.
    assert sum(clip.presence[:, 0].mean() for clip in clips) / len(clips) > 0.9
    assert sum(clip.presence[:, 1:].any(axis=1).mean() for clip in clips) / len(clips) > 0.3


def test_a_second_extraction_does_nothing(path: Walk) -> None:
    assert path.again.state == extractor_pb2.EXTRACTION_STATE_SUCCEEDED
    assert path.again.extracted == 0
    assert path.again.present == path.extraction.extracted


def test_training_runs_to_its_end_and_publishes(path: Walk) -> None:
    assert path.finished.state == trainer_pb2.RUN_STATE_SUCCEEDED, path.finished.error
    assert path.started.glosses == GLOSSES
    assert path.started.train_clips + path.started.val_clips == path.extraction.extracted
    assert 10_000 < path.started.parameters <= 60_000
    assert [epoch.epoch for epoch in path.epochs] == list(range(1, EPOCHS + 1))
    # The loss rises where the flat start ends and CTC begins; from there it must fall.
    losses = [epoch.train_loss for epoch in path.epochs]
    assert losses[-1] < max(losses) / 2
    with signet_errors():
        runs = path.client.trainer.ListRuns(trainer_pb2.ListRunsRequest(), timeout=CALL_SECONDS).runs
    assert [run.model_version for run in runs] == [path.finished.model_version]


def test_the_published_model_is_evaluated_on_val(path: Walk) -> None:
    with signet_errors():
        summary = path.client.evaluation.RunEvaluation(
            evaluator_pb2.RunEvaluationRequest(), timeout=CALL_SECONDS
        ).summary
        report = path.client.evaluation.GetReport(
            evaluator_pb2.GetReportRequest(report_id=summary.report_id), timeout=CALL_SECONDS
        )
    assert summary.model_version == path.finished.model_version
    assert summary.clips == path.started.val_clips
    assert summary.top1 == pytest.approx(path.finished.val_accuracy)
    assert summary.top1_low <= summary.top1 <= summary.top1_high
    assert summary.report_id in report.json
    assert report.html.lstrip().lower().startswith("<!doctype html>")


def _recognise(path: Walk, request: evaluator_pb2.RecognizeRequest) -> evaluator_pb2.RecognizeResponse:
    deadline = time.monotonic() + 30
    while True:
        try:
            with signet_errors():
                answer: evaluator_pb2.RecognizeResponse = path.client.recognizer.Recognize(
                    request, timeout=CALL_SECONDS
                )
        except NotReady:
            # A new model is picked up within seconds.
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return answer


def test_a_video_that_was_never_trained_on_is_recognised(path: Walk, wlasl: Path) -> None:
    clip = unseen_clip(wlasl, list(path.extraction.glosses), [])
    video = clip.path.read_bytes()
    answer = _recognise(path, evaluator_pb2.RecognizeRequest(video=video))
    assert answer.model_version == path.finished.model_version
    assert {prediction.gloss for prediction in answer.predictions} == set(path.extraction.glosses)
    probabilities = [prediction.probability for prediction in answer.predictions]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert 0 <= answer.blank_ratio <= 1
    assert answer.frames > 0
    assert 0 < answer.timing.extract_seconds <= answer.timing.total_seconds

    # Its landmarks, extracted apart, are the same to the served model.
    with signet_errors():
        landmarks = path.client.extractor.ExtractClip(
            extractor_pb2.ExtractClipRequest(video=video, clip_id="again"), timeout=CALL_SECONDS
        ).landmarks
    again = _recognise(path, evaluator_pb2.RecognizeRequest(landmarks=landmarks)).predictions
    assert [prediction.gloss for prediction in again] == [prediction.gloss for prediction in answer.predictions]
    assert again[0].probability == pytest.approx(probabilities[0], abs=1e-6)


def _encoded(pictures: list[npt.NDArray[np.uint8]]) -> bytes:
    """Pictures uint8 [H, W, 3] as an MP4 of 30 frames a second."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return data.getvalue()


def _pictures(video: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(video)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_a_signer_who_holds_still_signs_nothing(path: Walk, wlasl: Path) -> None:
    pictures = _pictures(unseen_clip(wlasl, list(path.extraction.glosses), []).path)
    answer = _recognise(path, evaluator_pb2.RecognizeRequest(video=_encoded([pictures[len(pictures) // 2]] * 60)))
    assert answer.nothing_signed == evaluator_pb2.NOTHING_SIGNED_NO_HAND_MOVES
    assert not answer.predictions


def test_an_empty_room_signs_nothing(path: Walk) -> None:
    room = np.full((240, 320, 3), 128, np.uint8)
    room[160:] = 90
    answer = _recognise(path, evaluator_pb2.RecognizeRequest(video=_encoded([room] * 30)))
    assert answer.nothing_signed == evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND
    assert not answer.predictions


def test_a_person_without_a_hand_in_any_frame_signs_nothing(path: Walk, faults: Path) -> None:
    video = faults / "13_person_no_hands_still_predicted.mp4"
    answer = _recognise(path, evaluator_pb2.RecognizeRequest(video=video.read_bytes()))
    assert answer.nothing_signed == evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND
    assert not answer.predictions
    # The command says it plainly; it is an answer, and no error.
    address = path.stack.services["evaluator"].address
    printed = CliRunner().invoke(app, ["predict", str(video), "--server", address, "--top-k", "1"])
    assert printed.exit_code == 0
    assert "nothing signed: no hand was found" in printed.stdout


def test_what_is_no_video_is_refused_with_its_reason(path: Walk) -> None:
    with pytest.raises(InvalidInput, match="a web page, not a video"), signet_errors():
        path.client.recognizer.Recognize(
            evaluator_pb2.RecognizeRequest(video=b"<!DOCTYPE html><html><body>404</body></html>"), timeout=CALL_SECONDS
        )
    with pytest.raises(NotFound), signet_errors():
        path.client.evaluation.GetReport(evaluator_pb2.GetReportRequest(report_id="none"), timeout=CALL_SECONDS)


@pytest.mark.parametrize(
    ("service", "series"),
    [
        ("extractor", r"^signet_extractor_clips_total\{outcome=\"extracted\",reason=\"\"\} (\S+)"),
        ("extractor", r"^signet_extractor_frames_total (\S+)"),
        ("trainer", r"^signet_trainer_runs_total\{state=\"succeeded\"\} (\S+)"),
        ("trainer", r"^signet_rpc_requests_total\{code=\"OK\",method=\"signet.v1.Trainer/StartRun\"\} (\S+)"),
        ("evaluator", r"^signet_evaluator_predictions_total\{gloss=\"[\w -]+\"\} (\S+)"),
        ("evaluator", r"^signet_rpc_requests_total\{code=\"OK\",method=\"signet.v1.Recognizer/Recognize\"\} (\S+)"),
    ],
)
def test_each_service_exposes_what_it_did(path: Walk, service: str, series: str) -> None:
    values = [float(value) for value in re.findall(series, path.metrics(service), re.MULTILINE)]
    assert sum(values) > 0, f"no {series} in {service}'s metrics"


def test_the_demo_finds_everything_extracted_and_leaves_no_process(folder: Path, path: Walk, wlasl: Path) -> None:
    """Last, since it takes the data over from the stack above."""
    ours = [psutil.Process(pid) for pid in path.stack.pids.values()]
    ours += [child for process in ours for child in process.children(recursive=True)]
    assert len(ours) >= 4
    path.client.__exit__()
    path.stack.stop()
    assert alive(ours) == []

    before = set(psutil.pids())
    output = io.StringIO()
    outcome = run_demo(
        wlasl, folder, Console(file=output, width=200), max_glosses=GLOSSES, samples_per_gloss=SAMPLES, num_epochs=2
    )
    assert alive(child for child in psutil.Process().children(recursive=True) if child.pid not in before) == []
    assert f"0 clips extracted, {path.extraction.extracted} extracted before" in output.getvalue()
    assert outcome.report.clips == path.started.val_clips
    assert re.fullmatch(
        r"demo: top1=[01]\.\d{3} n=\d+ top5=[01]\.\d{3} greedy=[01]\.\d{3} blank=[01]\.\d\d "
        r"predicted=[\w -]+ truth=[\w -]+ p=[01]\.\d\d seconds=\d+",
        str(outcome),
    )
