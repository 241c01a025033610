"""From trained weights to the files of a published model: safetensors, and an ONNX graph proven equal to them."""

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from safetensors.torch import save

from services.trainer.model import Recogniser
from signet.errors import SignetError
from signet.landmarks import JOINTS

WEIGHTS = "model.safetensors"
GRAPH = "model.onnx"

# ONNX and torch sum in different orders; a real difference is larger than this by far. Relative to log-probabilities
# below -1, absolute above: float32 holds seven digits of a number, whatever its size.
TOLERANCE = 1e-5

# Enough clips of all lengths to meet every branch of the graph, few enough to take a second.
_PROOF_CLIPS = 32


def export(model: Recogniser, clips: Sequence[npt.NDArray[np.float32]]) -> tuple[dict[str, bytes], float]:
    """A model's files by name, and the largest difference of their log-probabilities on these clips.

    Args:
        model: trained.
        clips: model inputs float32 [T, 75, 3] of real clips, at least one.

    Raises:
        SignetError: ONNX and torch differ by more than `TOLERANCE`; nothing should be published then.
    """
    model = model.cpu().eval()
    graph = _to_onnx(model)
    difference = _largest_difference(model, graph, clips[:_PROOF_CLIPS])
    if not difference <= TOLERANCE:
        raise SignetError(
            f"the exported ONNX graph differs from torch by {difference:.2g} (more than {TOLERANCE:g}) on "
            f"{min(len(clips), _PROOF_CLIPS)} real clips. Nothing was published; this is a fault of the export."
        )
    return {WEIGHTS: weights(model), GRAPH: graph}, difference


def weights(model: Recogniser) -> bytes:
    """A model's parameters and standardisation as safetensors."""
    return save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def _to_onnx(model: Recogniser) -> bytes:
    """The graph with inputs `landmarks` [B, T, 75, 3] and `lengths` [B], output `log_probs` [B, T, C + 1]."""
    example = torch.zeros(2, 8, JOINTS, 3), torch.tensor([8, 5])
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1)
    # The exporter warns of its own internals, and of a torchvision that nobody here needs.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            example,
            dynamo=True,
            dynamic_shapes=({0: batch, 1: time}, {0: batch}),
            input_names=["landmarks", "lengths"],
            output_names=["log_probs"],
            verbose=False,
        )
    if program is None:
        raise SignetError("torch.onnx.export returned nothing.")
    proto = program.model_proto
    # The exporter writes the example's length into the shapes behind an LSTM; onnxruntime would warn of any other.
    del proto.graph.value_info[:]
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "time"
    graph: bytes = proto.SerializeToString()
    return graph


def _largest_difference(model: Recogniser, graph: bytes, clips: Sequence[npt.NDArray[np.float32]]) -> float:
    """Over the frames of all clips, each alone as it is served and all together as they are evaluated."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    longest = max(len(clip) for clip in clips)
    together = np.full((len(clips), longest, JOINTS, 3), np.nan, np.float32)
    for row, clip in zip(together, clips, strict=True):
        row[: len(clip)] = clip
    lengths = np.array([len(clip) for clip in clips], np.int64)
    batches = [(together, lengths), *((clip[None], np.array([len(clip)], np.int64)) for clip in clips)]

    differences = []
    for landmarks, sizes in batches:
        (graphed,) = session.run(["log_probs"], {"landmarks": landmarks, "lengths": sizes})
        with torch.no_grad():
            direct = model(torch.from_numpy(landmarks), torch.from_numpy(sizes)).numpy()
        for one, other, size in zip(graphed, direct, sizes, strict=True):
            apart = np.abs(one[:size] - other[:size]) / np.maximum(1, np.abs(other[:size]))
            differences.append(apart.max())
    # numpy's maximum is NaN if any is; Python's would pass over it.
    return float(np.max(differences))
