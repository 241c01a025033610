"""Names that nobody expects go through every command: each answer is a result, or one line that names the input."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.evaluator.__main__ import evaluator
from signet import landmarks
from signet.errors import quote
from signet.store import DirectoryStore
from signet.terminal.characters import escape_control_characters
from signet.v1 import evaluator_pb2, extractor_pb2, extractor_pb2_grpc, trainer_pb2, trainer_pb2_grpc
from signet.v1 import evaluator_pb2_grpc as pb
from tests.conftest import RunSignet
from tests.names import CONTROLS, GLOSSES, TEXTS, choose
from tests.servers import extractor, serving, trainer
from tests.services.evaluator.conftest import World, everyday_clips, make_clip, place_of

# Where a command takes a name; `NAME` stands for it. WLASL and CLIP stand for files.
PLACES = (
    "extract --wlasl NAME", "extract --wlasl WLASL --clips NAME", "import NAME --wlasl WLASL",
    "import . --kind archive --wlasl NAME",
    "train --corpus NAME", "train --model-name NAME", "train --start-from NAME", "train --resume NAME",
    "train --preset NAME", "train --without NAME", "train --device NAME", "runs --store NAME", "runs NAME",
    "analyze NAME", "analyze a --clip NAME", "features NAME", "features a --corpus NAME", "features a --model NAME",
    "features NAME.safetensors", "evaluate --model-name NAME", "evaluate --model-version NAME", "evaluate --split NAME",
    "evaluate --run NAME", "models --model-name NAME", "models --store NAME", "reports NAME", "reports --html NAME a",
    "predict NAME --server 127.0.0.1:9", "predict CLIP --timeout 0.1 --server NAME",
    "extract --wlasl WLASL --split NAME", "extract --wlasl WLASL --gloss NAME", "extract --wlasl WLASL --shard NAME",
    "extract --wlasl WLASL --corpus NAME --max-glosses x", "extract --wlasl WLASL --store NAME --gloss none",
    "extract --max-glosses NAME", "extract --workers NAME", "extract --clip-timeout-seconds NAME",
    "import . --wlasl WLASL --corpus NAME", "import . --first-glosses NAME", "train --plot NAME --corpus none",
    "train --seed NAME", "train --head NAME", "train --optimizer NAME", "train --precision NAME",
    "train --publish NAME", "train --threads NAME", "train --lr NAME", "train --store NAME",
    "analyze a --out NAME", "analyze a --seed NAME",
    "analyze a --store NAME", "features none --out NAME", "features a --store NAME", "evaluate --json NAME --run none",
    "evaluate --html NAME --run none", "evaluate --store NAME", "reports --json NAME a", "reports --store NAME",
    "up --data clip.mp4/NAME", "up --data clip.mp4 --clips NAME", "predict CLIP --top-k NAME --server 127.0.0.1:9",
    "NAME",
)  # fmt: skip
# These can be names or values, so that something else is wrong.
VALID = {"latest", "CON", "null", "NaN", "00123", "-1", "1e999", "name.", ""}
# The name is not the first thing that is wrong with these commands.
OTHER_FAULT = re.compile(
    "--(model-version|clip|clips|html|json|corpus|split|device|model|store|out|plot) NAME|runs NAME|--seed NAME"
)
# These take a number. The message names the option.
NUMBERS = re.compile(r"(--(max-glosses|workers|clip-timeout-seconds|first-glosses|threads|lr|top-k)) NAME")


@pytest.mark.parametrize("number", range(len(PLACES)), ids=PLACES)
def test_every_command_answers_every_name_with_a_result_or_one_line(
    number: int, run_signet: RunSignet, tmp_path: Path
) -> None:
    place = PLACES[number]
    World(tmp_path / "store").store.put("landmarks/v1/other/1.safetensors", b"no clip of corpus wlasl")
    (tmp_path / "wlasl/clips").mkdir(parents=True)
    instance = {"video_id": "1", "split": "train", "signer_id": 1, "frame_start": 1, "frame_end": -1, "fps": 25}
    (tmp_path / "wlasl/WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": [instance]}]))
    (tmp_path / "wlasl/clips/other.mp4").write_bytes(b"no video, and of no instance")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    fixed = {"WLASL": str(tmp_path / "wlasl"), "CLIP": "clip.mp4"}
    faults = []
    for name in choose(number):
        arguments = [fixed.get(word, word.replace("NAME", name)) for word in place.split()]
        status, shown, errors = run_signet(arguments)
        forms = (name, name.replace("//", "/"))
        named = (*map(escape_control_characters, forms), repr(name)[1:-1], ascii(name)[1:-1], quote(name)[1:-1])
        names_it = any(form in errors for form in named) or name in VALID or bool(OTHER_FAULT.search(place))
        if option := NUMBERS.search(place):
            names_it |= option[1] in errors
        checks = {
            "exit status": status in {0, 1, 2},
            "one line": errors.count("\n") == (status != 0),
            "no control character": not CONTROLS.search(shown + errors),
            "names the input": status == 0 or names_it,
        }
        failed = [what for what, holds in checks.items() if not holds]
        if failed:
            faults.append(f"{failed}: {arguments!a}: {status}\n{shown[-300:]}{errors[-300:]}")
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("part", range(4))
def test_the_demo_answers_every_name_of_a_directory_without_clips(
    part: int, run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in choose(part):
        monkeypatch.setenv("WLASL", name)
        status, shown, errors = run_signet(["demo"])
        assert status in {1, 2}, ascii(name)
        assert 1 <= errors.count("\n") <= 2, errors
        assert not CONTROLS.search(shown + errors)
        named = {escape_control_characters(form)[:99] for form in (name or "data/wlasl", str(Path(name)))}
        assert any(form in errors for form in named), ascii(name)


# A call is answered, or refused with a status that says whose fault it is.
ANSWERED = re.compile("OK|INVALID_ARGUMENT: |NOT_FOUND: |FAILED_PRECONDITION: |RESOURCE_EXHAUSTED: ")


def _outcome(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def _call(method: Callable[..., Any], request: Any) -> str:
    """The status and message of a call; "OK" if it is answered."""
    try:
        answer = method(request, timeout=60)
        for _ in answer if hasattr(answer, "__next__") else ():
            pass
    except grpc.RpcError as error:
        return _outcome(error)
    return "OK"


@pytest.fixture
def named_world(tmp_path: Path) -> World:
    """A store with a published model whose vocabulary is `GLOSSES`, and three words that its clips need."""
    world = World(tmp_path / "store")
    world.publish(world.snapshot(everyday_clips((*GLOSSES, "chair", "go", "who"))))
    return world


def test_every_call_of_the_evaluator_answers_every_name(named_world: World, caplog: pytest.LogCaptureFixture) -> None:
    settings = named_world.settings(auto_evaluate=False)
    with serving(lambda: evaluator(settings)) as channel:
        recognizer, evaluation = pb.RecognizerStub(channel), pb.EvaluationStub(channel)
        for name in TEXTS:
            outcomes = [
                _call(evaluation.RunEvaluation, evaluator_pb2.RunEvaluationRequest(model_name=name)),
                _call(evaluation.RunEvaluation, evaluator_pb2.RunEvaluationRequest(model_version=name)),
                _call(evaluation.RunEvaluation, evaluator_pb2.RunEvaluationRequest(split=name)),
                _call(evaluation.GetReport, evaluator_pb2.GetReportRequest(report_id=name)),
            ]
            assert all(map(ANSWERED.match, outcomes)), f"{name!a}: {outcomes}"
        # Nothing of a gloss is lost on the way from the corpus to an answer and to a report.
        places = sorted((*GLOSSES, "chair", "go", "who"))
        for gloss in GLOSSES:
            clip = landmarks.dump(make_clip("new", "", place_of(places.index(gloss), len(places))))
            answer = recognizer.Recognize(evaluator_pb2.RecognizeRequest(landmarks=clip, top_k=3), timeout=60)
            assert gloss in [prediction.gloss for prediction in answer.predictions]
        summary = evaluation.RunEvaluation(evaluator_pb2.RunEvaluationRequest(), timeout=60).summary
        report = evaluation.GetReport(evaluator_pb2.GetReportRequest(report_id=summary.report_id), timeout=60)
    assert {gloss["gloss"] for gloss in json.loads(report.json)["per_gloss"]} >= set(GLOSSES)
    assert "<script>alert" not in report.html
    assert not CONTROLS.search(report.html)
    for gloss in GLOSSES:
        shown = html.escape(escape_control_characters(gloss)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        assert shown in report.html, ascii(gloss)
    assert not [record for record in caplog.records if record.exc_info]


def _train_config(field: str, value: str) -> trainer_pb2.TrainConfig:
    config = trainer_pb2.TrainConfig()
    setattr(config, field, value)
    return config


def test_every_call_of_the_trainer_answers_every_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(lambda: trainer(DirectoryStore(tmp_path / "store"))) as channel:
        stub = trainer_pb2_grpc.TrainerStub(channel)
        for name in TEXTS:
            outcomes = [_call(stub.StartRun, trainer_pb2.StartRunRequest(resume_run_id=name))]
            outcomes += [
                _call(stub.StartRun, trainer_pb2.StartRunRequest(config=_train_config(field, name)))
                for field in ("corpus", "model_name", "preset", "start_from", "device", "head", "without", "optimizer")
            ]
            outcomes += [_call(stub.WatchRun, trainer_pb2.WatchRunRequest(run_id=name))]
            outcomes += [_call(stub.StopRun, trainer_pb2.StopRunRequest(run_id=name))]
            assert all(map(ANSWERED.match, outcomes)), f"{name!a}: {outcomes}"
        assert _call(stub.ListRuns, trainer_pb2.ListRunsRequest()) == "OK"
    assert not [record for record in caplog.records if record.exc_info]


def test_every_call_of_the_extractor_answers_every_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(lambda: extractor(DirectoryStore(tmp_path / "store"), tmp_path / "wlasl")) as channel:
        stub = extractor_pb2_grpc.ExtractorStub(channel)
        for name in TEXTS:
            outcomes = [
                _call(stub.StartExtraction, extractor_pb2.StartExtractionRequest(corpus=name)),
                _call(stub.StartExtraction, extractor_pb2.StartExtractionRequest(splits=[name])),
                _call(stub.StartExtraction, extractor_pb2.StartExtractionRequest(glosses=[name])),
                _call(stub.WatchExtraction, extractor_pb2.WatchExtractionRequest(extraction_id=name)),
                _call(stub.CancelExtraction, extractor_pb2.CancelExtractionRequest(extraction_id=name)),
                _call(stub.ExtractClip, extractor_pb2.ExtractClipRequest(video=b"no video", clip_id=name)),
            ]
            assert all(map(ANSWERED.match, outcomes)), f"{name!a}: {outcomes}"
    assert not [record for record in caplog.records if record.exc_info]
