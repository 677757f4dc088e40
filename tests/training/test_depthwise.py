import copy

import pytest
import torch
from torch import nn

from reidblocks.training import Float32Conv2d, spare_strided_depthwise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # not depthwise
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # no stride
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, stride=(1, 2), padding=1, groups=8),
    )


def test_strided_depthwise_alone_is_chosen() -> None:
    module = network()
    names = list(module.state_dict())
    assert spare_strided_depthwise(module) == 2
    kinds = [type(part) for part in module]
    assert kinds == [nn.Conv2d, nn.Conv2d, Float32Conv2d, Float32Conv2d]
    assert list(module.state_dict()) == names
    assert spare_strided_depthwise(module) == 0


def test_one_channel_is_not_depthwise() -> None:
    assert spare_strided_depthwise(nn.Conv2d(1, 4, 3, stride=2)) == 0


def test_without_autocast_nothing_changes() -> None:
    plain, images = network().double(), torch.rand(2, 3, 16, 8, dtype=torch.float64)
    changed = copy.deepcopy(plain)
    spare_strided_depthwise(changed)
    for module in (plain, changed):
        module(images).square().sum().backward()
    assert torch.equal(plain(images), changed(images))
    for one, other in zip(plain.parameters(), changed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_under_autocast_it_is_float32_and_keeps_the_type(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    plain = nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32, bias=False)
    spared = copy.deepcopy(plain)
    assert spare_strided_depthwise(spared) == 1
    features = torch.randn(4, 32, 16, 8).to(dtype).requires_grad_()
    expected = plain(features.float())
    with torch.autocast("cpu", torch.bfloat16):
        result = spared(features)
    assert result.dtype == dtype
    assert torch.equal(result, expected.to(dtype))
    weights = torch.randn_like(expected).to(dtype)
    (result * weights).sum().backward()
    (expected * weights.float()).sum().backward()
    assert torch.equal(spared.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_parameters_of_another_type_do_as_before(dtype: torch.dtype) -> None:
    plain = nn.Conv2d(8, 8, 3, stride=2, groups=8).to(dtype)
    spared = copy.deepcopy(plain)
    spare_strided_depthwise(spared)
    images = torch.rand(1, 8, 8, 8, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spared(images), plain(images))
