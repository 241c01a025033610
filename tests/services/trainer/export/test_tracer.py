"""What the tracer does not know is an error that says so; sizes of the batch and of time are never fixed."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.export.graph import Dim, Graph
from services.trainer.export.tracer import Symbol, Tracing, serialise
from signet.errors import SignetError

Function = Callable[[Tensor], Tensor]


def trace(function: Function) -> onnxruntime.InferenceSession:
    """A graph from x [batch, time, 4] to a function of it."""
    graph = Graph()
    x = Symbol.new_input(graph, "x", torch.float32, (Dim("batch"), Dim("time"), 4))
    with Tracing(graph):
        y: Symbol = function(x)  # type: ignore[arg-type, assignment]
    return onnxruntime.InferenceSession(serialise({"y": y}), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :, [2, 0]] - 2 * x[..., 1:3],
        lambda x: 1 - x[..., None, 0] / 3,
        lambda x: (x > 0) & ~(x < -0.5) | (x > 0.9),
        lambda x: torch.where(x > 0, x, 0.0).sum(dim=(0, -1), keepdim=True),
        lambda x: (x > 0).sum(dim=-1) * 0.5,
        lambda x: (x > 0).sum(dim=-1) / 2,
        lambda x: (x > -1).all(dim=1),
        lambda x: torch.unflatten(torch.stack([x, -x], dim=-1).flatten(-2), -1, (-1, 2)).transpose(0, 3),
        lambda x: torch.arange(x.shape[1]).expand(3, -1) + 1,
        lambda x: torch.cat([x, torch.zeros_like(x)], dim=1),
        lambda x: x.gather(-1, (x > 0).to(torch.int64)),
        lambda x: F.pad(x, (1, 0, 2, 3), value=7.0),
        lambda x: F.pad(x, (0, 0, 5, 5))[:, 2 : 2 + x.shape[1]],
        lambda x: torch.minimum(x.square().sqrt(), x.exp()).clamp(min=0.1, max=0.5),
        lambda x: F.normalize(x, dim=-1),
        lambda x: F.logsigmoid(x) + F.gelu(x) + torch.expm1(x) + x.logsumexp(dim=-1)[..., None],
        lambda x: x.softmax(dim=-1) + torch.log_softmax(x, dim=-1),
        lambda x: torch.matmul(x, torch.ones(4, 2)) @ torch.ones(2, 3) + torch.arange(3.0),
        lambda x: F.linear(x, torch.ones(2, 4), torch.ones(2)).mean(dim=0),
        lambda x: torch.cat(x.tensor_split((1, 3), dim=-1)[::-1] + x.split(2, dim=-1), dim=-1),
        lambda x: x.unbind(2)[1].masked_fill((x > 0)[..., 0], -9.0),
        lambda x: (x / torch.zeros(4)).nan_to_num(),
    ],
)
def test_each_function_means_what_it_means_in_torch(function: Function) -> None:
    session = trace(function)
    for batch, frames in ((1, 1), (3, 7)):
        x = torch.randn(batch, frames, 4)
        x[0, 0, 0] = 0.0
        expected = function(x)
        (found,) = session.run(None, {"x": x.numpy()})
        assert found.dtype == expected.numpy().dtype
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.cumsum(x, 0), "does not know torch.cumsum"),
        (lambda x: torch.zeros(len(x)), r"calls len\(\)"),
        (lambda x: x.flatten(0, 1)[: x.shape[0] * 2], "only add to it"),
        (lambda x: x[:, 1:], "only up to a known size"),
        (lambda x: F.gelu(x, approximate="tanh"), "approximate='tanh'"),
        (lambda x: F.normalize(x, p=1), "p=1"),
    ],
)
def test_what_cannot_be_exported_is_an_error(function: Function, message: str) -> None:
    with pytest.raises(SignetError, match=message):
        trace(function)
