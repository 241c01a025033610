"""From trained weights to the files of a published model: safetensors, and an ONNX graph proven equal to them."""

import copy
import logging
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from safetensors.torch import save
from torch import Tensor, nn

from services.trainer.model import Recogniser
from signet.errors import SignetError
from signet.landmarks import JOINTS

WEIGHTS = "model.safetensors"
GRAPH = "model.onnx"

# ONNX and torch sum in different orders; a real difference of probabilities is larger than this by far.
TOLERANCE = 1e-5

# A clip on which the model hangs on the last digit of a landmark cannot be told to `TOLERANCE` in float32 by anyone.
# There, ONNX may differ by so many times what torch's own float32 differs from its float64.
_ROUNDING = 10

# Enough clips of all lengths to meet every branch of the graph, few enough to take a second.
_PROOF_CLIPS = 32


def export(model: Recogniser, clips: Sequence[npt.NDArray[np.float32]]) -> tuple[dict[str, bytes], float]:
    """A model's files by name, and the largest difference of their probabilities on these clips.

    Args:
        model: trained.
        clips: model inputs float32 [T, 75, 3] of real clips, at least one.

    Raises:
        SignetError: ONNX and torch differ by more than float32 explains; nothing should be published then.
    """
    model = model.cpu().eval()
    graph = _to_onnx(model)
    difference = prove(model, graph, clips[:_PROOF_CLIPS])
    return {WEIGHTS: weights(model), GRAPH: graph}, difference


def weights(model: Recogniser) -> bytes:
    """A model's parameters and standardisation as safetensors."""
    return save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def _to_onnx(model: Recogniser) -> bytes:
    """The graph with inputs `landmarks` [B, T, 75, 3] and `lengths` [B], output `log_probs` [B, T, C + 1]."""
    example = torch.zeros(2, 8, JOINTS, 3), torch.tensor([8, 5])
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1)
    # The exporter tells of its own internals, and misses a torchvision that nobody here needs.
    for talker in ("torch.onnx", "onnx_ir", "onnxscript"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _with_onnx_lstms(model),
            example,
            dynamo=True,
            dynamic_shapes=({0: batch, 1: time}, {0: batch}),
            input_names=["landmarks", "lengths"],
            output_names=["log_probs"],
            verbose=False,
        )
    if program is None:
        raise SignetError("torch.onnx.export returned nothing.")
    graph: bytes = program.model_proto.SerializeToString()
    return graph


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


def _with_onnx_lstms(model: Recogniser) -> Recogniser:
    """A copy whose LSTMs are ONNX operators."""
    copied = copy.deepcopy(model)
    for layers in (copied.encoder.forwards, copied.encoder.backwards):
        for index, lstm in enumerate(layers):
            assert isinstance(lstm, nn.LSTM)  # noqa: S101  (what was put in comes out)
            layers[index] = _OnnxLstm(lstm)
    return copied.eval()


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
