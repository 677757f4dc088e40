from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.blocks import EmbeddingHead
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
    torch.testing.assert_close(out.embedding, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EmbeddingHead(0, 4), "expects in_channels above 0, got 0"),
        (lambda: EmbeddingHead(4, 0), "expects out_channels above 0, got 0"),
        (
            lambda: EmbeddingHead(4, 4)(torch.rand(2, 4)),
            r"expects features \(B, C, H, W\), got \(2, 4\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
