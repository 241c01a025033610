"""Which device a name stands for."""

import pytest
import torch

from services.trainer.runtime.devices import resolve_device
from signet.errors import InvalidSetting, NotReady


@pytest.fixture(params=[0, 2], ids=["no GPU", "two GPUs"])
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many GPUs torch finds."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return int(request.param)


def test_auto_is_a_gpu_if_there_is_one(gpus: int) -> None:
    assert resolve_device("auto") == torch.device("cuda" if gpus else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_torch_finds_is_taken(name: str, gpus: int) -> None:
    if gpus:
        assert resolve_device(name) == torch.device(name)
    else:
        with pytest.raises(NotReady, match=r"torch finds 0 GPU\(s\).*--device cpu"):
            resolve_device(name)


def test_a_gpu_of_a_number_too_high_is_refused(gpus: int) -> None:
    with pytest.raises(NotReady, match=rf"--device cuda:2: torch finds {gpus} GPU"):
        resolve_device("cuda:2")


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="--device gpu: write auto, cpu, cuda or cuda:<n>"):
        resolve_device("gpu")
