"""From a trained model to its ONNX graph, and the check that the graph gives the same answers on real clips."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from services.trainer.export.graph import Dim, Graph
from services.trainer.export.tracer import Symbol, Tracing, serialise
from services.trainer.model.heads import sign_logits
from services.trainer.model.sign_model import SignModel, length_mask
from signet.decoding import ContinuousDecoder, Hypothesis, single_sign_posterior
from signet.errors import SignetError
from signet.landmarks import JOINTS

_log = logging.getLogger(__name__)

GRAPH = "model.onnx"
_LANDMARKS, _LENGTHS, _DOMINANCE = "landmarks", "lengths", "dominance"
_LOG_PROBS, _EMBEDDINGS = "log_probs", "embeddings"
DIRECTIONS = "sign_directions"

# No probability of a frame may differ by more between ONNX and torch. Glosses, and sequences of glosses, whose
# probabilities are nearer to one another than this are tied: their order is not compared.
TOLERANCE = 1e-3
# On the median clip, no probability of a frame may differ by more. ONNX Runtime and torch add in different orders. On
# most clips that makes 1e-7, and on a few, where a feature changes abruptly, 1e-5 and more.
TYPICAL_TOLERANCE = 1e-5
# A clip's differences are accepted, whatever they are, if torch's own answer in float32 differs by a tenth of them from
# its answer in float64: float32 does not determine the answer there.
_ROUNDING = 10

# This many clips have all lengths and all kinds of gaps, and are checked in less than a second.
_CHECKED_CLIPS = 32

Clip = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]


class ExportMismatch(SignetError):
    """An exported ONNX graph gives other answers than the model. The message says which answers, and on which clip."""


@dataclass(frozen=True)
class ExportAgreement:
    """How far the probabilities of ONNX and torch agree on real clips."""

    clips: int  # how many were compared
    largest: float  # largest difference of any frame's probabilities
    median: float  # median over the clips of each one's largest difference

    def __str__(self) -> str:
        return f"{self.largest:.1e} at most, {self.median:.1e} on the median of {self.clips} clips"


def export_model(
    model: SignModel, clips: Mapping[str, Clip], decoder: ContinuousDecoder
) -> tuple[bytes, ExportAgreement]:
    """A model's ONNX graph, checked on the first 32 of these clips.

    The clips are model inputs float32 [T, 75, 3] by clip id, at least one.

    Raises:
        ExportMismatch: the graph gives other answers than the model.
    """
    graph = to_onnx(model)
    return graph, compare(model, graph, dict(list(clips.items())[:_CHECKED_CLIPS]), decoder)


def to_onnx(model: SignModel) -> bytes:
    """The graph with inputs `landmarks` [B, T, 75, 3] and `lengths` [B], and output `log_probs` [B, T, C + 1].

    The input `dominance` [B] or [1] may be left out: see `SignModel.compute_features`. With a competition head, the
    graph also has the output `embeddings` [B, T, N·D] and the initializer `sign_directions` [C, N, D]: see
    `sign_logits`. No other part of the graph depends on C, so that signs can be added and removed by replacing this
    one tensor.
    """
    graph = Graph()
    batch, time = Dim("batch"), Dim("time")
    landmarks = Symbol.new_input(graph, _LANDMARKS, torch.float32, (batch, time, JOINTS, 3))
    lengths = Symbol.new_input(graph, _LENGTHS, torch.int64, (batch,))
    dominance = Symbol.new_optional_input(graph, _DOMINANCE, torch.zeros(1), (Dim("dominances"),))
    with torch.no_grad(), Tracing(graph):
        return serialise(_trace(_with_onnx_lstms(model), landmarks, lengths, dominance))


def new_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session that runs a graph on the CPU."""
    options = onnxruntime.SessionOptions()
    # ONNX Runtime warns of optional inputs, because it cannot treat them as constants.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _trace(model: SignModel, landmarks: Symbol, lengths: Symbol, dominance: Symbol) -> dict[str, Symbol]:
    """The outputs of the graph. Only a `Symbol` stands where a model says Tensor."""
    given: Any = (landmarks, lengths, dominance)
    directions = model.directions()
    if directions is None:
        return {_LOG_PROBS: model(*given)}
    replaceable: Any = Symbol.new_parameter(
        landmarks.graph, DIRECTIONS, directions, (Dim("signs"), *directions.shape[1:])
    )
    features: Any = model.compute_features(*given)
    timing, embeddings = model.embed(features, given[1])
    logits = torch.cat([timing, sign_logits(embeddings, replaceable)], dim=-1)
    log_probs: Any = model.encoders[0].head.log_probs(logits, length_mask(features, given[1]), model.branch_count)
    embedded: Any = embeddings
    return {_LOG_PROBS: log_probs, _EMBEDDINGS: embedded}


class _OnnxLstm(nn.Module):
    """An LSTM that is traced as the ONNX operator of that name."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        # torch keeps its gates as input, forget, cell, output; ONNX as input, output, forget, cell.
        order = torch.cat([torch.arange(lstm.hidden_size) + gate * lstm.hidden_size for gate in (0, 3, 1, 2)])
        weight, recurrence, *biases = (parameter.detach()[order] for parameter in lstm.parameters())
        self._weights = weight[None], recurrence[None], torch.cat(biases)[None]

    def forward(self, x: Symbol) -> tuple[Symbol, None]:
        """[B, T, D] to [B, T, H]."""
        return x.lstm(*self._weights), None


def _with_onnx_lstms(model: SignModel) -> SignModel:
    """A copy for inference on the CPU whose LSTMs are ONNX operators."""
    copied = copy.deepcopy(model).cpu().eval()
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LSTM):
                setattr(module, name, _OnnxLstm(child))
    return copied


def compare(model: SignModel, graph: bytes, clips: Mapping[str, Clip], decoder: ContinuousDecoder) -> ExportAgreement:
    """Compare the answers of ONNX and torch on clips: all as one batch, and the shortest and the longest alone.

    The clips are model inputs float32 [T, 75, 3] by clip id, at least one.

    Raises:
        ExportMismatch: a probability differs by more than `TOLERANCE`, the median clip's by more than
            `TYPICAL_TOLERANCE`, or another ranking of the glosses or another sequence of glosses comes out.
    """
    session = new_session(graph)
    model = model.cpu().eval()
    by_length = sorted(clips, key=lambda clip_id: len(clips[clip_id]))
    differences: dict[str, float] = {}
    for batch in (by_length, by_length[:1], by_length[-1:]):
        landmarks, lengths = _padded([clips[clip_id] for clip_id in batch])
        (answers,) = session.run([_LOG_PROBS], {_LANDMARKS: landmarks, _LENGTHS: lengths})
        with torch.no_grad():
            references = model(torch.from_numpy(landmarks), torch.from_numpy(lengths)).numpy()
        faults = _find_faults(answers, references, lengths, decoder)
        for clip_id, fault, answer, reference, length in zip(batch, faults, answers, references, lengths, strict=True):
            difference = _difference(answer[:length], reference[:length])
            if fault and not difference <= _ROUNDING * _rounding(model, clips[clip_id], reference[:length]):
                raise ExportMismatch(f"the exported ONNX graph disagrees with torch on clip {clip_id}: {fault}.")
            if fault:
                _log.warning("ONNX differs from torch on clip %s, as float32 does from float64: %s", clip_id, fault)
            differences[clip_id] = max(difference, differences.get(clip_id, 0.0))
    agreement = ExportAgreement(len(clips), max(differences.values()), float(np.median(list(differences.values()))))
    if agreement.median > TYPICAL_TOLERANCE:
        clip_id = min(differences, key=lambda clip: abs(differences[clip] - agreement.median))
        raise ExportMismatch(
            f"the exported ONNX graph's probabilities differ from torch's by {agreement.median:.1e} on the median "
            f"clip, such as {clip_id}; at most {TYPICAL_TOLERANCE:.0e} is rounding."
        )
    return agreement


def _padded(clips: list[Clip]) -> tuple[Clip, npt.NDArray[np.int64]]:
    """Clips as one batch [B, T, 75, 3], and their lengths [B]."""
    lengths = np.array([len(clip) for clip in clips])
    landmarks = np.full((len(clips), lengths.max(), JOINTS, 3), np.nan, np.float32)
    for row, clip in zip(landmarks, clips, strict=True):
        row[: len(clip)] = clip
    return landmarks, lengths


def _difference(answer: Floats, reference: Floats) -> float:
    """The largest difference of the probabilities of two answers [T, C + 1]; NaN if one is not a number."""
    return float(np.abs(np.exp(answer) - np.exp(reference)).max())


def _rounding(model: SignModel, clip: Clip, reference: Floats) -> float:
    """The largest difference of torch's probabilities in float32, the reference, from those in float64."""
    landmarks: Tensor = torch.from_numpy(clip)[None].double()
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(landmarks, torch.tensor([len(clip)]))
    return _difference(exact[0].numpy(), reference)


def _find_faults(
    answers: Floats, references: Floats, lengths: npt.NDArray[np.int64], decoder: ContinuousDecoder
) -> list[str]:
    """How the ONNX output [B, T, C + 1] of each clip differs from torch's output; "" if they give the same answer."""
    differences = [_difference(a[:n], r[:n]) for a, r, n in zip(answers, references, lengths, strict=True)]
    faults = [
        ""
        if difference <= TOLERANCE
        else f"a frame's probabilities differ by {difference:.1e}, and not by at most {TOLERANCE:.0e}"
        for difference in differences
    ]
    if not np.isfinite(differences).all():
        # Numbers that are not finite cannot be decoded.
        return faults
    rankings = zip(single_sign_posterior(answers, lengths), single_sign_posterior(references, lengths), strict=True)
    sequences = zip(decoder.hypotheses(answers, lengths, most=1), decoder.hypotheses(references, lengths), strict=True)
    return [
        fault or _compare_rankings(*ranking) or _compare_sequences(answer, hypotheses)
        for fault, ranking, ((answer,), hypotheses) in zip(faults, rankings, sequences, strict=True)
    ]


def _compare_rankings(answer: Floats, reference: Floats) -> str:
    """How the order of the glosses differs, of which these are the probabilities [C]; "" if only tied ones changed."""
    # In ONNX's order, by how much a later gloss may be more probable than an earlier one in torch.
    ordered = reference[np.argsort(-answer, kind="stable")]
    gap = float((ordered - np.minimum.accumulate(ordered)).max())
    return f"two glosses whose probabilities differ by {gap:.1e} change places" if gap > TOLERANCE else ""


def _compare_sequences(answer: Hypothesis, hypotheses: Sequence[Hypothesis]) -> str:
    """How ONNX's best sequence of signs differs from torch's hypotheses, best first; "" if it is tied with the best."""
    best = hypotheses[0]
    weights = {hypothesis.signs: float(np.exp(hypothesis.score - best.score)) for hypothesis in hypotheses}
    gap = (1.0 - weights.get(answer.signs, 0.0)) / sum(weights.values())
    if gap <= TOLERANCE:
        return ""
    return f"classes {answer.signs} are decoded instead of {best.signs}, whose probability is higher by {gap:.1e}"
