from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.blocks import BNNeckHead, EmbeddingHead
from reidblocks.testing import feature_maps


@given(feature_maps(batch=st.integers(2, 4)), st.integers(1, 5))
def test_is_the_chain_of_fig_3(maps: Tensor, embed_dim: int) -> None:
    maps = maps.double()
    head = EmbeddingHead(maps.shape[1], embed_dim).double()

    projected = torch.einsum("mc,bchw->bmhw", head.projection.conv.weight[:, :, 0, 0], maps)
    mean = projected.mean((0, 2, 3), keepdim=True)
    variance = ((projected - mean) ** 2).mean((0, 2, 3), keepdim=True)
    embedded = ((projected - mean) / (variance + head.projection.bn.eps).sqrt()).clamp(min=0)
    pooled = (embedded.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    spread = ((pooled - pooled.mean(0)) ** 2).mean(0)
    expected = (pooled - pooled.mean(0)) / (spread + head.neck.bn.eps).sqrt()

    out = head(maps)
    torch.testing.assert_close(out.maps, embedded)
    torch.testing.assert_close(out.pooled, pooled)
    torch.testing.assert_close(out.embedding, expected)


@given(feature_maps(batch=st.integers(2, 4)))
def test_the_baseline_pools_the_features_as_they_are(maps: Tensor) -> None:
    maps = maps.double()
    pooled = (maps.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    spread = ((pooled - pooled.mean(0)) ** 2).mean(0)
    head = BNNeckHead(maps.shape[1]).double()
    out = head(maps)
    assert out.maps is maps
    torch.testing.assert_close(out.pooled, pooled)
    expected = (pooled - pooled.mean(0)) / (spread + head.neck.bn.eps).sqrt()
    torch.testing.assert_close(out.embedding, expected)


@pytest.mark.parametrize("make", [partial(EmbeddingHead, 4, 3), partial(BNNeckHead, 3)])
def test_pool_and_neck_are_passed_in(make: Callable[..., nn.Module]) -> None:
    average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = make(pool=average, neck=nn.Linear(3, 2))
    out = head(torch.rand(2, 4 if isinstance(head, EmbeddingHead) else 3, 6, 5))
    torch.testing.assert_close(out.pooled, out.maps.mean((2, 3)))
    torch.testing.assert_close(out.embedding, head.neck(out.pooled))
    assert "pool.p" not in head.state_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EmbeddingHead(0, 4), "EmbeddingHead expects in_channels above 0, got 0"),
        (lambda: EmbeddingHead(4, 0), "EmbeddingHead expects embed_dim above 0, got 0"),
        (
            lambda: EmbeddingHead(4, 4)(torch.rand(2, 4)),
            r"EmbeddingHead expects features \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: EmbeddingHead(4, 4)(torch.rand(2, 5, 6, 3)),
            r"EmbeddingHead expects features \(·, 4, ·, ·\), got \(2, 5, 6, 3\)",
        ),
        (
            lambda: EmbeddingHead(4, 3, pool=nn.AdaptiveAvgPool2d(1))(torch.rand(2, 4, 6, 3)),
            r"EmbeddingHead expects pool to give vectors \(B, C\), got \(2, 3, 1, 1\)",
        ),
        (
            lambda: EmbeddingHead(4, 3, pool=nn.Flatten())(torch.rand(2, 4, 6, 3)),
            r"EmbeddingHead expects pool to give vectors \(·, 3\), got \(2, 54\)",
        ),
        (lambda: BNNeckHead(0), "BNNeckHead expects channels above 0, got 0"),
        (
            lambda: BNNeckHead(4)(torch.rand(2, 4)),
            r"BNNeckHead expects features \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: BNNeckHead(4)(torch.rand(2, 5, 6, 3)),
            r"BNNeckHead expects features \(·, 4, ·, ·\), got \(2, 5, 6, 3\)",
        ),
        (
            lambda: BNNeckHead(4, pool=nn.AdaptiveAvgPool2d(1))(torch.rand(2, 4, 6, 3)),
            r"BNNeckHead expects pool to give vectors \(B, C\), got \(2, 4, 1, 1\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
