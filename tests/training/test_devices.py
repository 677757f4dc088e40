"""The device and the precision that a run takes of themselves."""

import pytest
import torch

from reidblocks.training import autocast_dtype, pick_device


@pytest.mark.parametrize("kind", ["mps", "xpu", "cuda", None, "hpu"])
def test_the_device_is_the_accelerator_that_there_is(
    kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    there = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: there)
    monkeypatch.setattr(torch.accelerator, "set_device_index", set_to.append)
    found = pick_device(1 if kind == "cuda" else 0)
    known = kind in ("mps", "xpu", "cuda")
    assert str(found) == (f"{kind}:{int(kind == 'cuda')}" if known else "cpu")
    assert set_to == ([int(kind == "cuda")] if kind in ("xpu", "cuda") else [])
    if kind != "cuda":
        assert autocast_dtype(found) is torch.float32


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_bfloat16_is_taken_where_the_gpu_has_it(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation  # emulated, slowly, on an older GPU

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert autocast_dtype(torch.device("cuda")) is dtype
