"""IBN against a naive float64 version, channel by channel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.backbones._ibn import IBN


def naive(maps: Tensor, norm: IBN) -> Tensor:
    """The first half of the channels by their own image, the rest over the batch (training)."""
    out = torch.empty_like(maps)
    half = maps.shape[1] // 2
    for c in range(maps.shape[1]):
        part, index = (norm.IN, c) if c < half else (norm.BN, c - half)
        for b in range(maps.shape[0]):
            values = maps[b, c] if c < half else maps[:, c]
            variance = ((values - values.mean()) ** 2).mean()
            scaled = (maps[b, c] - values.mean()) / (variance + 1e-5).sqrt()
            out[b, c] = scaled * part.weight[index] + part.bias[index]
    return out


@given(
    st.integers(1, 4), st.integers(2, 9), st.integers(1, 5), st.integers(2, 5), st.integers(0, 9)
)
def test_matches_the_definition_in_training(
    batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    norm = IBN(channels).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    maps = 3 * torch.randn(batch, channels, height, width, dtype=torch.float64) + 1
    torch.testing.assert_close(norm(maps), naive(maps, norm))


def test_in_eval_only_the_instance_half_looks_at_the_image() -> None:
    norm = IBN(4).eval()
    maps = torch.randn(2, 4, 6, 3)
    brighter = norm(5 * maps + 2)
    torch.testing.assert_close(brighter[:, :2], norm(maps)[:, :2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(brighter[:, 2:], 5 * norm(maps)[:, 2:] + 2, rtol=1e-3, atol=1e-3)


def test_the_input_stays_and_every_parameter_gets_a_gradient() -> None:
    norm = IBN(6)
    maps = torch.randn(3, 6, 4, 4)
    kept = maps.clone()
    norm(maps).square().mul(torch.rand(3, 6, 4, 4)).sum().backward()
    torch.testing.assert_close(maps, kept, rtol=0, atol=0)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in norm.parameters())


def test_one_channel_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="IBN expects num_features of 2 or more, got 1"):
        IBN(1)
