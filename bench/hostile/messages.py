"""Attacks by calls of methods: large, invalid, numerous and malformed messages."""

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bench.hostile.attacker import Attack, Attacker
from bench.hostile.corpus import CORPUS
from bench.hostile.system import AttackedSystem
from signet.landmarks import JOINTS, POSE_JOINTS, Landmarks, dump, load
from signet.landmarks.tensor import MAX_FRAMES, MAX_SECONDS
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.v1 import enrolment_pb2, evaluator_pb2, extractor_pb2, registry_pb2, trainer_pb2

RECOGNIZE = "/signet.v1.Recognizer/Recognize"
_RUN_EVALUATION = "/signet.v1.Evaluation/RunEvaluation"
_START_RUN = "/signet.v1.Trainer/StartRun"
_START_EXTRACTION = "/signet.v1.Extractor/StartExtraction"
EXTRACT_CLIP = "/signet.v1.Extractor/ExtractClip"
_MODULES = {
    "evaluator": (evaluator_pb2, registry_pb2, enrolment_pb2),
    "extractor": (extractor_pb2,),
    "trainer": (trainer_pb2,),
}
_OTHER_METHODS = ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
# An escape sequence that clears a terminal, and a line that looks like one of a service's log.
_FORGED = "book\n2026-01-01 00:00:00 ERROR forged line\x1b[2J\x1b]0;forged\x07"


def _recognize(landmarks: bytes) -> tuple[str, bytes]:
    return RECOGNIZE, evaluator_pb2.RecognizeRequest(landmarks=landmarks).SerializeToString()


def _stretched(good: bytes, times: npt.NDArray[np.float64]) -> bytes:
    """The good clip with other times; its frames are repeated."""
    clip = load(good)
    index = np.arange(len(times)) % clip.frames
    record = clip.record.model_copy(update={"frame_end": len(times), "warnings": ()})
    return dump(
        Landmarks(clip.landmarks[index], clip.presence[index], clip.visibility[index], times.astype(np.float32), record)
    )


def _two_distant_frames(attacker: Attacker) -> None:
    tensor = _stretched(attacker.target.landmarks, np.array([0.0, MAX_SECONDS]))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=80)


def _long_tensors(attacker: Attacker) -> None:
    tensor = _stretched(attacker.target.landmarks, np.linspace(0, MAX_SECONDS, MAX_FRAMES))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=64)


def _dense_tensors(attacker: Attacker) -> None:
    tensor = _stretched(attacker.target.landmarks, np.linspace(0, 50, MAX_FRAMES))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=64)


def _costliest_clips(attacker: Attacker) -> None:
    """The longest clips that the evaluator answers. A limit that is lowered makes them refused, which is no miss."""
    tensor = _stretched(attacker.target.landmarks, np.linspace(0, 179, 10_800))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=64)


def _medium_clips(attacker: Attacker) -> None:
    tensor = _stretched(attacker.target.landmarks, np.linspace(0, 29, 3_600))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=100)


def _short_clips(attacker: Attacker) -> None:
    tensor = _stretched(attacker.target.landmarks, np.linspace(0, 5.9, 720))
    attacker.flood("evaluator", [_recognize(tensor)], at_once=100)


def _invalid_tensors(attacker: Attacker) -> None:
    attacker.flood("evaluator", [_recognize(bytes(MAX_MESSAGE_BYTES))], at_once=8, most=150)


def _almost_valid_tensors(attacker: Attacker) -> None:
    """The tensor is parsed, and refused at its last check."""
    clip = load(attacker.target.landmarks)
    frames = MAX_MESSAGE_BYTES // (JOINTS * 6 + 3 + POSE_JOINTS * 2 + 4) // 2
    record = clip.record.model_dump_json(by_alias=True).replace('"', '\\"')
    shapes = {"landmarks": ("F16", [frames, JOINTS, 3], 2), "presence": ("U8", [frames, 3], 1)}
    shapes |= {"visibility": ("F16", [frames, POSE_JOINTS], 2), "timestamps": ("F32", [frames], 4)}
    parts, at = [], 0
    for name, (kind, shape, size) in shapes.items():
        end = at + size * int(np.prod(shape))
        parts.append(f'"{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{at},{end}]}}')
        at = end
    header = f'{{"__metadata__":{{"signet":"{record}"}},{",".join(parts)}}}'.encode()
    attacker.flood("evaluator", [_recognize(len(header).to_bytes(8, "little") + header + bytes(at))], at_once=8)


def _evaluations(attacker: Attacker) -> None:
    attacker.flood("evaluator", [(_RUN_EVALUATION, b"")], at_once=50, most=200)


def _large_runs(attacker: Attacker) -> None:
    def requests() -> Iterator[tuple[str, bytes]]:
        for field in ("model_name", "corpus", "start_from", "head", "without", "preset", "device", "publish"):
            config = trainer_pb2.TrainConfig(corpus=CORPUS)
            setattr(config, field, "x" * 20_000_000)
            yield _START_RUN, trainer_pb2.StartRunRequest(config=config).SerializeToString()
        for name in ("../../etc", "a/b", "a\nb", "", "\x1b[2J", "x" * 200):
            config = trainer_pb2.TrainConfig(corpus=CORPUS, model_name=name)
            yield _START_RUN, trainer_pb2.StartRunRequest(config=config).SerializeToString()
        resume = trainer_pb2.StartRunRequest(resume_run_id="x" * 20_000_000)
        yield _START_RUN, resume.SerializeToString()

    attacker.flood("trainer", list(requests()), at_once=4)


def _many_runs(attacker: Attacker) -> None:
    config = trainer_pb2.TrainConfig(corpus=CORPUS, preset="tiny", num_epochs=1, device="cpu", publish="none")
    request = trainer_pb2.StartRunRequest(config=config)
    attacker.flood("trainer", [(_START_RUN, request)], most=1000)


def _extractions(attacker: Attacker) -> None:
    requests = [
        (_START_EXTRACTION, extractor_pb2.StartExtractionRequest(corpus=f"stranger-{number}").SerializeToString())
        for number in range(100)
    ]
    attacker.flood("extractor", requests, most=200)


def _control_characters(attacker: Attacker) -> None:
    extraction = extractor_pb2.StartExtractionRequest(corpus=_FORGED, glosses=[_FORGED], splits=[_FORGED])
    clip = extractor_pb2.ExtractClipRequest(video=b"\x00" * 100, clip_id=_FORGED[:150])
    good = extractor_pb2.ExtractClipRequest(video=attacker.target.video, clip_id=_FORGED[:150])
    named = extractor_pb2.StartExtractionRequest(glosses=[_FORGED])
    attacker.flood("extractor", [(_START_EXTRACTION, extraction), (_START_EXTRACTION, named), (EXTRACT_CLIP, clip)])
    with attacker.channel("extractor") as channel:
        attacker.call(channel, EXTRACT_CLIP, good)
    evaluation = evaluator_pb2.RunEvaluationRequest(model_name=_FORGED, model_version=_FORGED, split=_FORGED)
    with attacker.channel("evaluator") as channel:
        attacker.call(channel, _RUN_EVALUATION, evaluation)
        attacker.call(channel, "/signet.v1.Evaluation/GetReport", evaluator_pb2.GetReportRequest(report_id=_FORGED))


def check_logs(system: AttackedSystem) -> list[str]:
    """Whether a log has a forged line or an escape sequence."""
    wrong = []
    for name in system.services:
        log = system.log(name)
        if b"\n2026-01-01 00:00:00 ERROR forged" in log:
            wrong.append(f"the log of the {name} has a forged line")
        if b"\x1b" in log or b"\x07" in log:
            wrong.append(f"the log of the {name} has control characters")
    return wrong


def _methods(service: str) -> list[str]:
    services = [each for module in _MODULES[service] for each in module.DESCRIPTOR.services_by_name.values()]
    own = [f"/{each.full_name}/{method.name}" for each in services for method in each.methods]
    return [*own, *_OTHER_METHODS]


def _garbage(attacker: Attacker) -> None:
    random = np.random.default_rng(0)
    for service in attacker.target.addresses:
        part = Attacker(attacker.target, attacker.seconds / len(attacker.target.addresses))
        garbage = [random.bytes(size) for size in (1, 10, 1000, 100_000)] + [b"\xff" * 10, b"\x0a\xff\xff\xff\xff\x0f"]
        part.flood(service, [(method, data) for data in garbage for method in _methods(service)])
        attacker.statuses += part.statuses


def _unknown_methods(attacker: Attacker) -> None:
    paths = [f"/signet.v1.Recognizer/Unknown{number}" for number in range(5000)]
    paths += [f"/unknown{number}.Service/{'x' * 1000}" for number in range(5000)]
    attacker.flood("evaluator", [(path, b"") for path in paths], at_once=4, most=10_000)


def _streams(attacker: Attacker) -> None:
    """Streams that stay open: each holds a call and a task of the server."""
    attacker.flood("evaluator", [("/grpc.health.v1.Health/Watch", b"")], at_once=500)


def _nothing(attacker: Attacker) -> None:
    time.sleep(attacker.seconds_left)
    attacker.count("seconds of rest", round(attacker.seconds))


ATTACKS = {
    "nothing": Attack(
        "no attack: if it misses a bar of time, so does this machine", _nothing, ("evaluator", "extractor", "trainer"),
        ("Recognize", "ExtractClip", "ListRuns", "/metrics"),
    ),
    "two-frames-an-hour-apart": Attack("80 Recognize calls at once with two frames 3,600 s apart", _two_distant_frames),
    "longest-tensors": Attack("64 calls at once with 36,000 frames in 3,600 s", _long_tensors),
    "dense-tensors": Attack("64 calls at once with 36,000 frames in 50 s", _dense_tensors),
    "costliest-clips": Attack("64 calls at once with 10,800 frames in 179 s", _costliest_clips),
    "medium-clips": Attack("100 calls at once with 3,600 frames in 29 s", _medium_clips),
    "short-clips": Attack("100 calls at once with 720 frames in 5.9 s", _short_clips),
    "invalid-tensors": Attack("150 calls with the largest message, of zeros", _invalid_tensors, seconds=15),
    "almost-valid-tensors": Attack("tensors of 32 MB that fail at the last check", _almost_valid_tensors),
    "evaluations": Attack("200 RunEvaluation calls, 50 at once", _evaluations, seconds=10),
    "garbage": Attack(
        "garbage bytes to each method of each service", _garbage, ("evaluator", "extractor", "trainer"),
        ("Recognize", "ListRuns"), 9,
    ),
    "unknown-methods": Attack("10,000 calls of methods that do not exist", _unknown_methods, seconds=10),
    "open-streams": Attack("500 calls of Health.Watch that stay open", _streams),
    "large-runs": Attack(
        "StartRun with fields of 20 MB and impossible names", _large_runs, ("evaluator", "trainer"), ("ListRuns",), 8,
    ),
    "many-runs": Attack(
        "1,000 StartRun calls", _many_runs, ("evaluator", "trainer"), ("ListRuns",), 8, stopped=("trainer",)
    ),
    "extractions": Attack(
        "StartExtraction of 100 corpora", _extractions, ("extractor",), ("ExtractClip",), 8, stopped=("extractor",)
    ),
    "control-characters": Attack(
        "newlines and escape sequences in glosses, ids and names", _control_characters, ("extractor", "evaluator"),
        ("Recognize",), 4, check=check_logs,
    ),
}  # fmt: skip
