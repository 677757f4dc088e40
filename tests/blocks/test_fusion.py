from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor

from reidblocks.blocks import FusionModule
from reidblocks.testing import feature_maps


@pytest.mark.parametrize("training", [True, False])
def test_is_two_convolutions_with_nothing_between_them(training: bool) -> None:
    module = FusionModule(3).double().train(training)
    one, other = (torch.randn(2, c, 4, 3, dtype=torch.float64) for c in (1, 2))
    joined = torch.cat((one, other), 1)

    mixed = torch.einsum("mc,bchw->bmhw", module.conv1x1.weight[:, :, 0, 0], joined)
    padded = torch.zeros(2, 3, 6, 5, dtype=torch.float64)
    padded[:, :, 1:-1, 1:-1] = mixed
    expected = torch.zeros(2, 3, 4, 3, dtype=torch.float64)
    for y in range(4):
        for x in range(3):
            window = padded[:, :, y : y + 3, x : x + 3]
            expected[:, :, y, x] = torch.einsum("mcij,bcij->bm", module.conv3x3.weight, window)
    if training:
        mean = expected.mean((0, 2, 3), keepdim=True)
        variance = ((expected - mean) ** 2).mean((0, 2, 3), keepdim=True)
        expected = (expected - mean) / (variance + module.bn.eps).sqrt()
    else:
        expected = expected / (1 + module.bn.eps) ** 0.5
    torch.testing.assert_close(module(one, other), expected.clamp(min=0))


@given(feature_maps())
def test_how_the_inputs_are_cut_makes_no_difference(maps: Tensor) -> None:
    module = FusionModule(maps.shape[1]).eval()
    together = module(maps)
    assert together.shape == maps.shape
    torch.testing.assert_close(module(*maps.split(1, 1)), together)


def test_says_what_it_is() -> None:
    assert "channels=6" in repr(FusionModule(6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FusionModule(0), "FusionModule expects channels above 0, got 0"),
        (lambda: FusionModule(6)(), r"FusionModule expects 6 channels in all, got maps \[\]"),
        (
            lambda: FusionModule(6)(torch.rand(2, 6)),
            r"FusionModule expects maps \(B, C, H, W\), got \(2, 6\)",
        ),
        (
            lambda: FusionModule(6)(torch.rand(2, 4, 6, 3), torch.rand(2, 2, 3, 3)),
            "FusionModule expects maps of one batch, height and width, got .*3, 3",
        ),
        (
            lambda: FusionModule(6)(torch.rand(2, 4, 6, 3), torch.rand(1, 2, 6, 3)),
            "FusionModule expects maps of one batch, height and width",
        ),
        (
            lambda: FusionModule(6)(torch.rand(2, 4, 6, 3)),
            r"FusionModule expects 6 channels in all, got maps \[\(2, 4, 6, 3\)\]",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
