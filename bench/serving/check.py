"""Compares answers under load with the answers for each clip alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.serving.load import put_load, read_messages
from bench.serving.servers import Server
from services.evaluator.serving.loaded_model import LoadedModel
from signet import landmarks, registry
from signet.landmarks import to_model_input, why_nothing_is_signed
from signet.store import ObjectStore
from signet.v1 import evaluator_pb2

# Probabilities under load differ from those for the clip alone by at most this.
MAX_DIFFERENCE = 1e-5
_CALLERS = 32


def check_answers(
    server: Server, models: ObjectStore, name: str, clips: Sequence[bytes], seconds: float, answers: Path
) -> tuple[str, list[str]]:
    """Put load on an evaluator: a summary, and the answers that are not those for the clip alone."""
    model = LoadedModel.load(models, name, registry.resolve(models, name, registry.LATEST))
    expected = [expected_answer(model, clip) for clip in clips]
    result = put_load(server.address, server.method, server.requests, _CALLERS, seconds, answers)
    faults = [f"{count} calls ended with {status}" for status, count in result.errors.items()]
    compared = 0
    for number, data in enumerate(read_messages(answers)):
        if data:
            answer = evaluator_pb2.RecognizeResponse.FromString(data)
            fault = difference(answer, expected[number % len(clips)])
            faults += [f"clip {number % len(clips)}, answer {number}: {fault}"] if fault else []
            compared += 1
    rate = result.answered / result.seconds
    return f"{compared} answers to {_CALLERS} callers, {rate:.0f} a second: {len(faults)} differ", faults


def expected_answer(model: LoadedModel, clip: bytes) -> evaluator_pb2.RecognizeResponse:
    """The answer for a clip alone."""
    frames = to_model_input(landmarks.load(clip))
    answer = evaluator_pb2.RecognizeResponse(model_version=model.card.version, frames=len(frames))
    if why_nothing_is_signed(frames) is not None:
        return answer
    decoded = model.decode(model.log_probs([frames])[0])
    for index in decoded.ranking()[:5]:
        answer.predictions.add(gloss=model.vocabulary[index], probability=decoded.posterior[index])
    answer.greedy_glosses.extend(decoded.greedy)
    answer.continuous_glosses.extend(decoded.continuous)
    answer.blank_ratio = decoded.blank_ratio
    answer.moment.start_seconds, answer.moment.end_seconds = decoded.time_span.start, decoded.time_span.end
    if decoded.in_vocabulary is not None:
        answer.in_vocabulary = decoded.in_vocabulary
    return answer


def difference(answer: evaluator_pb2.RecognizeResponse, expected: evaluator_pb2.RecognizeResponse) -> str:
    """How an answer differs from another one, in words; "" if it does not."""
    for field in ("model_version", "frames", "greedy_glosses", "continuous_glosses"):
        if getattr(answer, field) != getattr(expected, field):
            return f"{field} is {getattr(answer, field)!r} instead of {getattr(expected, field)!r}"
    if [one.gloss for one in answer.predictions] != [one.gloss for one in expected.predictions]:
        return "other glosses"
    numbers, expected_numbers = (
        np.array([
            one.blank_ratio, one.moment.start_seconds, one.moment.end_seconds, one.in_vocabulary,
            *(guess.probability for guess in one.predictions),
        ])
        for one in (answer, expected)
    )  # fmt: skip
    largest = float(np.abs(numbers - expected_numbers).max())
    return f"numbers differ by {largest:.2g}" if largest > MAX_DIFFERENCE else ""
