"""From trained weights to the files of a published model: safetensors, and an ONNX graph proven equal to them."""

import copy
import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxscript.optimizer
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from services.trainer.features import phonology as features
from services.trainer.model import heads
from services.trainer.model import recogniser as model_of_all
from services.trainer.model.build import WEIGHTS, serialise_weights
from services.trainer.model.heads import CompetitionHead, LinearHead
from services.trainer.model.recogniser import Encoder, Recogniser, length_mask
from signet.errors import DataLoss, SignetError
from signet.landmarks import JOINTS
from signet.store.cache import Cache

GRAPH = "model.onnx"

NO_CACHE = Cache(None)

# What decides which graph comes of an architecture: when one of them is changed, none that was kept before is believed.
_DECIDING: tuple[ModuleType, ...] = (features, heads, model_of_all, sys.modules[__name__])

_LENGTHS, _FEATURES, _EVIDENCE, _OUTPUT = "lengths", "features", "evidence", "log_probs"

# ONNX and torch sum in different orders; a real difference of probabilities is larger than this by far.
TOLERANCE = 1e-5

# A clip on which the model hangs on the last digit of a landmark cannot be told to `TOLERANCE` in float32 by anyone.
# There, ONNX may differ by so many times what torch's own float32 differs from its float64.
_ROUNDING = 10

# Enough clips of all lengths to meet every branch of the graph, few enough to take a second.
_PROOF_CLIPS = 32


def export(
    model: Recogniser, clips: Sequence[npt.NDArray[np.float32]], cache: Cache = NO_CACHE
) -> tuple[dict[str, bytes], float]:
    """A model's files by name, and the largest difference of their probabilities on these clips.

    Args:
        model: trained; a single one or an ensemble.
        clips: model inputs float32 [T, 75, 3] of real clips, at least one.
        cache: where this machine keeps what need not be exported again.

    Raises:
        SignetError: ONNX and torch differ by more than float32 explains; nothing should be published then.
    """
    model = model.cpu().eval()
    graph = _to_onnx(model, cache)
    try:
        difference = prove(model, graph, clips[:_PROOF_CLIPS])
    except Exception:
        if cache is NO_CACHE:
            raise
        # Should what was kept be to blame, it is not believed twice.
        graph = _to_onnx(model, NO_CACHE)
        difference = prove(model, graph, clips[:_PROOF_CLIPS])
    return {WEIGHTS: serialise_weights(model), GRAPH: graph}, difference


def _to_onnx(model: Recogniser, cache: Cache) -> bytes:
    """The graph with inputs `landmarks` [B, T, 75, 3] and `lengths` [B], output `log_probs` [B, T, C + 1].

    It is put together from what measures, what reads the measures, once for each encoder, and what
    decides on the mean of what was read. None depends on the weights: these are filled in, and the graphs are kept,
    since the exporter takes seconds for them.
    """
    with _silenced():
        graph = _measuring(model, cache)
        body, answers = graph.graph, []
        del body.output[:], body.value_info[:]
        outlines: dict[str, onnx.ModelProto] = {}
        for index, encoder in enumerate(model.encoders):
            prepared = _Reading(encoder)
            kind = _architecture(prepared)
            if kind not in outlines:
                outlines[kind] = _reading(prepared, model.features.size, cache)
            reading = _filled(outlines[kind], prepared)
            reading = onnx.compose.add_prefix_graph(reading, f"encoder-{index}.", rename_inputs=False)
            body.node.extend(reading.node)
            body.initializer.extend(reading.initializer)
            answers.append(reading.output[0].name)
        body.node.append(onnx.helper.make_node("Mean", answers, [_EVIDENCE]))
        deciding = _deciding(model.encoders[0].head, model.branch_count, cache).graph
        deciding = onnx.compose.add_prefix_graph(deciding, "together.", rename_inputs=False, rename_outputs=False)
        body.node.extend(deciding.node)
        body.initializer.extend(deciding.initializer)
        body.output.extend(deciding.output)
        exported: bytes = graph.SerializeToString()
    return exported


def _measuring(model: Recogniser, cache: Cache) -> onnx.ModelProto:
    """From `landmarks` and `lengths` to `features` [B, T, D]."""

    def make() -> onnx.ModelProto:
        example = torch.zeros(2, 8, JOINTS, 3), torch.tensor([8, 5])
        return onnxscript.optimizer.optimize(_exported(_Measuring(model), example, ["landmarks", _LENGTHS], _FEATURES))

    return _kept(cache, f"measuring {sorted(model.features.groups)}", make)


def _reading(encoder: "_Reading", size: int, cache: Cache) -> onnx.ModelProto:
    """From `features` [B, T, D = size] and `lengths` to evidence [B, T, E].

    The encoder's tensors are further inputs, by their names.
    """

    def make() -> onnx.ModelProto:
        example = torch.zeros(2, 8, size), torch.tensor([8, 5])
        graph = _exported(encoder, example, [_FEATURES, _LENGTHS], _EVIDENCE)
        constants = {tensor.name: tensor for tensor in graph.graph.initializer}
        learnt = encoder.state_dict().keys()
        if missing := learnt - constants.keys():
            raise SignetError(
                f"torch.onnx.export left out {', '.join(sorted(missing))}: this is a fault of the export."
            )
        # As inputs they are none of the constants that the optimiser computes with.
        del graph.graph.initializer[:]
        for name, tensor in constants.items():
            if name in learnt:
                info = onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
                graph.graph.input.append(info)
            else:
                graph.graph.initializer.append(tensor)
        return onnxscript.optimizer.optimize(graph)

    return _kept(cache, f"reading {size} {_architecture(encoder)}", make)


def _deciding(head: LinearHead | CompetitionHead, voters: int, cache: Cache) -> onnx.ModelProto:
    """From mean logits `mean_logits` [B, T, E] and `lengths` to log-probabilities [B, T, C + 1]."""

    def make() -> onnx.ModelProto:
        example = torch.zeros(2, 8, head.logit_count), torch.tensor([8, 5])
        graph = _exported(_Deciding(head, voters), example, [_EVIDENCE, _LENGTHS], _OUTPUT)
        return onnxscript.optimizer.optimize(graph)

    return _kept(cache, f"deciding {type(head).__name__} {head.logit_count} {voters}", make)


def _kept(cache: Cache, what: str, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """A graph that this machine has kept, or else makes and keeps."""
    digest = hashlib.sha256(repr((what, torch.__version__, onnx.__version__)).encode())
    for source in _DECIDING:
        digest.update(Path(str(source.__file__)).read_bytes())
    question = f"graph-{digest.hexdigest()}"
    if answer := cache.noted(question):
        with suppress(DataLoss, DecodeError):
            return onnx.load_from_string(bytes(cache.copy(answer, lambda: b"", "a graph")))
    graph = make()
    data: bytes = graph.SerializeToString()
    answer = hashlib.sha256(data).hexdigest()
    cache.copy(answer, lambda: data, "a graph")
    cache.note(question, answer)
    return graph


def _architecture(encoder: "_Reading") -> str:
    """What two encoders have in common that differ in their weights alone."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in encoder.state_dict().items()]
    return f"{encoder} {shapes}"


def _filled(outline: onnx.ModelProto, encoder: "_Reading") -> onnx.GraphProto:
    """The graph of `_reading` with an encoder's tensors."""
    filled = onnx.GraphProto()
    filled.CopyFrom(outline.graph)
    tensors = encoder.state_dict()
    inputs = [one for one in filled.input if one.name not in tensors]
    del filled.input[:]
    filled.input.extend(inputs)
    filled.initializer.extend(
        onnx.numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in tensors.items()
    )
    return filled


def _exported(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], output: str) -> onnx.ModelProto:
    """A module of two inputs [B, T, ...] and [B] as a graph."""
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1)
    program = torch.onnx.export(
        module.eval(),
        example,
        dynamo=True,
        dynamic_shapes=({0: batch, 1: time}, {0: batch}),
        input_names=inputs,
        output_names=[output],
        optimize=False,
        verbose=False,
    )
    if program is None:
        raise SignetError("torch.onnx.export returned nothing.")
    return program.model_proto


@contextmanager
def _silenced() -> Iterator[None]:
    """The exporter tells of its own internals, and misses a torchvision that nobody here needs."""
    for talker in ("torch.onnx", "onnx_ir", "onnxscript"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Measuring(nn.Module):
    """A model as far as its features. It has no weights."""

    def __init__(self, model: Recogniser) -> None:
        super().__init__()
        self._measure = model.compute_features

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Landmarks [B, T, 75, 3] and lengths [B] to features [B, T, D]."""
        return self._measure(landmarks, lengths)


class _Reading(nn.Module):
    """An encoder as far as its head's evidence, for ONNX."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = _with_onnx_lstms(encoder).eval()

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] and lengths [B] to evidence [B, T, E]."""
        evidence: Tensor = self.encoder(features, lengths)
        return evidence


class _Deciding(nn.Module):
    """What a head makes of the mean evidence of so many branches. It has no weights."""

    def __init__(self, head: LinearHead | CompetitionHead, voters: int) -> None:
        super().__init__()
        self._decide, self._voters = head.log_probs, voters

    def forward(self, evidence: Tensor, lengths: Tensor) -> Tensor:
        """Evidence [B, T, E] and lengths [B] to log-probabilities [B, T, C + 1]."""
        return self._decide(evidence, length_mask(evidence, lengths), self._voters)


class _OnnxLstm(nn.Module):
    """An LSTM that exports as the ONNX operator of that name, and does nothing else.

    The exporter takes `nn.LSTM` apart into its steps and fixes their number at the example's, from the second export
    in a process on without saying so.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        # torch keeps its gates as input, forget, cell, output; ONNX as input, output, forget, cell.
        order = torch.cat([torch.arange(lstm.hidden_size) + gate * lstm.hidden_size for gate in (0, 3, 1, 2)])
        weight, recurrence, *biases = (parameter.detach()[order] for parameter in lstm.parameters())
        self.weight, self.recurrence = nn.Buffer(weight[None]), nn.Buffer(recurrence[None])
        self.bias = nn.Buffer(torch.cat(biases)[None])

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """[B, T, D] to [B, T, H]."""
        y = torch.onnx.ops.symbolic(
            "LSTM",
            (x.transpose(0, 1), self.weight, self.recurrence, self.bias),
            attrs={"hidden_size": self.hidden_size},
            dtype=x.dtype,
            shape=(x.shape[1], 1, x.shape[0], self.hidden_size),
        )
        return y[:, 0].transpose(0, 1), None


def _with_onnx_lstms(encoder: Encoder) -> Encoder:
    """A copy whose LSTMs are ONNX operators."""
    copied = copy.deepcopy(encoder)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LSTM):
                setattr(module, name, _OnnxLstm(child))
    return copied


def prove(model: Recogniser, graph: bytes, clips: Sequence[npt.NDArray[np.float32]]) -> float:
    """The largest difference of ONNX's and torch's probabilities, over each clip's frames alone and over all at once.

    Raises:
        SignetError: it is more than float32 explains, or not a number.
    """
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    exact = copy.deepcopy(model).double()
    longest = max(len(clip) for clip in clips)
    together = np.full((len(clips), longest, JOINTS, 3), np.nan, np.float32)
    for row, clip in zip(together, clips, strict=True):
        row[: len(clip)] = clip
    lengths = np.array([len(clip) for clip in clips], np.int64)
    batches = [(together, lengths), *((clip[None], np.array([len(clip)], np.int64)) for clip in clips)]

    largest = 0.0
    for landmarks, sizes in batches:
        (graphed,) = session.run(["log_probs"], {"landmarks": landmarks, "lengths": sizes})
        inputs, frames = torch.from_numpy(landmarks), torch.from_numpy(sizes)
        with torch.no_grad():
            direct = model(inputs, frames).exp().numpy()
            reference = exact(inputs.double(), frames).exp().numpy()
        for one, other, true, size in zip(np.exp(graphed), direct, reference, sizes, strict=True):
            difference = float(np.abs(one - other)[:size].max())
            rounding = float(np.abs(other - true)[:size].max())
            if not difference <= max(TOLERANCE, _ROUNDING * rounding):
                raise SignetError(
                    f"the exported ONNX graph's probabilities differ from torch's by {difference:.2g} on a real clip; "
                    f"float32 explains {rounding:.2g} there. Nothing was published; this is a fault of the export."
                )
            largest = max(largest, difference)
    return largest
