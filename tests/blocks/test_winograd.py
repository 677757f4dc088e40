"""Winograd's way gives what the convolution gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reidblocks import blocks, fold_for_inference
from reidblocks.blocks.winograd import WinogradConv2d
from reidblocks.testing import check_block


@given(st.tuples(*[st.integers(1, 7)] * 2, *[st.integers(1, 3)] * 3), st.booleans(), st.booleans())
def test_is_the_convolution(sizes, bias, channels_last):
    height, width, batch, channels, outputs = sizes
    conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=bias).double()
    maps = torch.randn(batch, channels, height, width, dtype=torch.float64)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(WinogradConv2d(conv)(maps), conv(maps), rtol=0, atol=1e-12)


def test_a_value_worked_out_by_hand():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    conv.weight.data = torch.arange(1.0, 10).view(1, 1, 3, 3)
    maps = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    # one place of 1 in the corner: the kernel turned round it
    expected = torch.tensor([[[[5.0, 4.0], [2.0, 1.0]]]])
    torch.testing.assert_close(WinogradConv2d(conv)(maps), expected)


@pytest.mark.parametrize(("dtype", "times"), [(torch.float32, 2.5), (torch.bfloat16, 4.5)])
def test_rounding_is_some_times_as_large(dtype, times):
    conv = nn.Conv2d(256, 256, 3, padding=1).to(dtype)
    maps = torch.randn(2, 256, 12, 6).relu().to(dtype)
    found = conv(maps), WinogradConv2d(conv)(maps)
    exact = conv.double()(maps.double())
    usual, ours = ((each.double() - exact).std().item() for each in found)
    assert ours < times * usual


def test_autocast_and_an_empty_batch_give_what_a_convolution_gives():
    conv = nn.Conv2d(4, 6, 3, padding=1)
    winograd = WinogradConv2d(conv)
    with torch.autocast("cpu", torch.bfloat16):
        assert winograd(torch.rand(2, 4, 5, 3)).dtype == torch.bfloat16
    assert winograd(torch.rand(0, 4, 5, 3)).shape == (0, 6, 5, 3)
    with pytest.raises(ValueError, match="WinogradConv2d expects maps"):
        winograd(torch.rand(2, 5, 5, 3))


class Inference(nn.Module):
    """It is fed by what is trained, and is trained no more itself."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.conv = WinogradConv2d(nn.Conv2d(6, 4, 3, padding=1))

    def forward(self, maps):
        return self.conv(maps * self.scale)


def test_keeps_the_contract():
    check_block(Inference(), torch.rand(3, 6, 5, 4))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: blocks.FusionModule(512), 1),
        (lambda: blocks.ConvBNReLU(512, 512, 3), 1),
        (lambda: nn.Sequential(nn.Conv2d(512, 512, 3, padding=1), nn.BatchNorm2d(512)), 1),
        (lambda: blocks.ConvBNReLU(512, 512), 0),
        (lambda: blocks.ConvBNReLU(512, 8, 3), 0),
        (lambda: blocks.FusionModule(8), 0),
        (lambda: nn.Sequential(nn.Conv2d(512, 512, 3, 2, 1), nn.BatchNorm2d(512)), 0),
    ],
)
def test_folding_uses_it_where_it_pays(make, count):
    block = make().double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    folded = fold_for_inference(block, winograd=True)
    assert sum(isinstance(part, WinogradConv2d) for part in folded.modules()) == count
    assert not any(isinstance(part, WinogradConv2d) for part in fold_for_inference(block).modules())
    maps = torch.randn(
        2, 512 if not isinstance(block, blocks.FusionModule) else block.channels, 3, 4
    )
    expected = block(maps.double())
    torch.testing.assert_close(folded(maps.double()), expected, rtol=0, atol=1e-10)


def test_another_convolution_is_refused():
    for conv in (nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, 2, 1)):
        with pytest.raises(ValueError, match="WinogradConv2d expects a convolution of kernel 3"):
            WinogradConv2d(conv)
