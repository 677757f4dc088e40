from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor

from reidblocks.blocks import ConvBNReLU
from reidblocks.testing import feature_maps


@given(feature_maps())
def test_is_a_product_at_each_place_normalized_and_cut_off(maps: Tensor) -> None:
    block = ConvBNReLU(maps.shape[1], 3)
    maps, block = maps.double(), block.double()
    product = torch.einsum("mc,bchw->bmhw", block.conv.weight[:, :, 0, 0], maps)
    if maps[:, 0].numel() > 1:
        mean = product.mean((0, 2, 3), keepdim=True)
        variance = ((product - mean) ** 2).mean((0, 2, 3), keepdim=True)
        expected = ((product - mean) / (variance + block.bn.eps).sqrt()).clamp(min=0)
        torch.testing.assert_close(block(maps), expected)
    block = ConvBNReLU(maps.shape[1], 3).double().eval()  # running mean 0, running variance 1
    product = torch.einsum("mc,bchw->bmhw", block.conv.weight[:, :, 0, 0], maps)
    torch.testing.assert_close(block(maps), (product / (1 + block.bn.eps) ** 0.5).clamp(min=0))


def test_a_larger_kernel_sees_its_neighbors_and_keeps_the_size() -> None:
    block = ConvBNReLU(2, 3, kernel_size=3).double().eval()
    maps = torch.rand(1, 2, 5, 4, dtype=torch.float64)
    padded = torch.zeros(1, 2, 7, 6, dtype=torch.float64)
    padded[:, :, 1:-1, 1:-1] = maps
    expected = torch.zeros(1, 3, 5, 4, dtype=torch.float64)
    for y in range(5):
        for x in range(4):
            window = padded[0, :, y : y + 3, x : x + 3]
            expected[0, :, y, x] = (block.conv.weight * window).sum((1, 2, 3))
    expected = (expected / (1 + block.bn.eps) ** 0.5).clamp(min=0)
    torch.testing.assert_close(block(maps), expected)


def test_has_no_bias_that_the_norm_would_take_away() -> None:
    assert set(dict(ConvBNReLU(2, 3).named_parameters())) == {
        "conv.weight",
        "bn.weight",
        "bn.bias",
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvBNReLU(0, 4), "ConvBNReLU expects in_channels above 0, got 0"),
        (lambda: ConvBNReLU(4, -1), "ConvBNReLU expects out_channels above 0, got -1"),
        (lambda: ConvBNReLU(4, 4, 2), "ConvBNReLU expects an odd kernel_size, got 2"),
        (lambda: ConvBNReLU(4, 4, -1), "ConvBNReLU expects kernel_size of at least 1, got -1"),
        (
            lambda: ConvBNReLU(4, 4)(torch.rand(4, 6, 3)),
            r"ConvBNReLU expects features \(B, C, H, W\), got \(4, 6, 3\)",
        ),
        (
            lambda: ConvBNReLU(4, 4)(torch.rand(2, 3, 6, 3)),
            r"ConvBNReLU expects features \(·, 4, ·, ·\), got \(2, 3, 6, 3\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [2.5, True, "3"])
def test_a_kernel_size_that_is_no_whole_number_is_refused_by_name(size: object) -> None:
    with pytest.raises(TypeError, match="ConvBNReLU expects kernel_size as a whole number, got"):
        ConvBNReLU(4, 4, size)  # type: ignore[arg-type]
