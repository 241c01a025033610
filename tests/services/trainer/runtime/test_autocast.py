"""In which precision a model is computed, by setting and device."""

from contextlib import nullcontext

import pytest
import torch

from services.trainer.runtime.autocast import select_autocast
from signet.errors import InvalidSetting

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def product(name: str, device: torch.device) -> torch.Tensor:
    ones = torch.ones(2, 2, device=device)
    with select_autocast(name, device)():  # type: ignore[arg-type]
        return ones @ ones


@pytest.fixture(params=[True, False], ids=["a GPU with bf16", "a GPU without bf16"])
def able(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """What the GPU answers; a software emulation of bf16 does not count."""

    def supported(including_emulation: bool = True) -> bool:
        return bool(request.param) or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    return bool(request.param)


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_auto_takes_bf16_where_the_gpu_has_it(able: bool) -> None:
    context = select_autocast("auto", GPU)
    assert (context is not nullcontext) is able
    if able:
        entered = context()
        assert isinstance(entered, torch.autocast)
        assert (entered.device, entered.fast_dtype) == ("cuda", torch.bfloat16)


def test_float32_is_kept_on_every_device(able: bool) -> None:
    assert select_autocast("float32", GPU) is nullcontext
    assert select_autocast("float32", CPU) is nullcontext


def test_bf16_is_refused_where_the_device_has_none(able: bool) -> None:
    with pytest.raises(InvalidSetting, match="--precision bf16: cpu"):
        select_autocast("bf16", CPU)
    if able:
        assert select_autocast("bf16", GPU) is not nullcontext
    else:
        with pytest.raises(InvalidSetting, match="--precision bf16: cuda"):
            select_autocast("bf16", GPU)


def test_a_cpu_computes_in_float32_even_beside_a_gpu_with_bf16(able: bool) -> None:
    assert select_autocast("auto", CPU) is nullcontext
    assert product("auto", CPU).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_products_on_a_gpu_are_computed_in_the_chosen_precision() -> None:
    assert product("bf16", GPU).dtype == torch.bfloat16
    assert product("float32", GPU).dtype == torch.float32
