"""What a ReID network passes around, as hypothesis strategies.

Shapes, a kind of values and a seed are drawn, and the values made from them: that is quick, and
what fails shrinks to few, small and plain tensors.
"""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

Sizes = SearchStrategy[int]

_BATCHES: Sizes = st.integers(1, 4)
_BATCHES_OF_PAIRS: Sizes = st.integers(1, 8)
_CHANNELS: Sizes = st.integers(1, 8)
_HEIGHTS: Sizes = st.integers(1, 9)
_WIDTHS: Sizes = st.integers(1, 6)
_MAPS: Sizes = st.integers(1, 4)
_DIMENSIONS: Sizes = st.integers(1, 16)
_IDENTITIES: Sizes = st.integers(0, 3)

_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "ones": torch.ones_like,
    "sparse, as after a ReLU": torch.relu,
    "above 0": torch.exp,
    "of both signs": torch.clone,
    "large": lambda noise: 1e3 * noise,
}
_EMBEDDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "scattered": torch.clone,
    "all the same": lambda noise: noise[:1].expand_as(noise).clone(),
    "some zero": lambda noise: noise * (noise[:, :1] > 0),
    "huge": lambda noise: 1e20 * noise,
    "tiny": lambda noise: 1e-20 * noise,
    "a tight cluster far from the origin": lambda noise: 1e3 + 1e-3 * noise,
}


@st.composite
def feature_maps(
    draw: DrawFn,
    batch: Sizes = _BATCHES,
    channels: Sizes = _CHANNELS,
    height: Sizes = _HEIGHTS,
    width: Sizes = _WIDTHS,
) -> Tensor:
    """Draw feature maps: zeros, ones, sparse as after a ReLU, positive, of both signs, or large.

    Args:
        batch: a strategy for B.
        channels: for C.
        height: for H, which is odd and even.
        width: for W.

    Shape:
        (B, C, H, W) of float32

    >>> from hypothesis import given, strategies as st
    >>> @given(feature_maps(channels=st.just(8)))
    ... def test_has_channels(maps):
    ...     assert maps.shape[1] == 8
    >>> test_has_channels()
    """
    noise = _noise(draw, batch, channels, height, width)
    return _FEATURES[draw(st.sampled_from(list(_FEATURES)))](noise)


@st.composite
def attention_maps(
    draw: DrawFn,
    batch: Sizes = _BATCHES,
    num_maps: Sizes = _MAPS,
    height: Sizes = _HEIGHTS,
    width: Sizes = _WIDTHS,
) -> Tensor:
    """Draw attention maps: positive and, with a background, with a sum of 1 at each position.

    They go from even to one map taking all of a place.

    Args:
        batch: a strategy for B.
        num_maps: for K, without the background.
        height: for H, which is odd and even.
        width: for W.

    Shape:
        (B, K, H, W) of float32

    >>> from hypothesis import given
    >>> @given(attention_maps())
    ... def test_leaves_room_for_a_background(maps):
    ...     assert (maps.sum(1) < 1.001).all()
    >>> test_leaves_room_for_a_background()
    """
    raw = _noise(draw, batch, num_maps.map(lambda maps: maps + 1), height, width)
    contrast = draw(st.sampled_from([0.0, 1.0, 100.0]))
    return (contrast * raw).softmax(1)[:, :-1]


@st.composite
def embeddings_and_labels(
    draw: DrawFn,
    batch: Sizes = _BATCHES_OF_PAIRS,
    embed_dim: Sizes = _DIMENSIONS,
    identity: Sizes = _IDENTITIES,
) -> tuple[Tensor, Tensor]:
    """Draw a batch for a loss, degenerate ones included.

    Embeddings are scattered, all the same, partly zero, huge (1e20), tiny (1e-20), or a tight
    cluster far from the origin; an identity may have all of the batch or one image of it.

    Args:
        batch: a strategy for B.
        embed_dim: for D.
        identity: for each label.

    Shape:
        embeddings (B, D) of float32, labels (B,) of int64

    >>> from hypothesis import given
    >>> @given(embeddings_and_labels())
    ... def test_has_a_label_each(batch):
    ...     embeddings, labels = batch
    ...     assert len(embeddings) == len(labels)
    >>> test_has_a_label_each()
    """
    noise = _noise(draw, batch, embed_dim)
    labels = draw(st.lists(identity, min_size=len(noise), max_size=len(noise)))
    kind = draw(st.sampled_from(list(_EMBEDDINGS)))
    return _EMBEDDINGS[kind](noise), torch.tensor(labels, dtype=torch.int64)


def _noise(draw: DrawFn, *sizes: Sizes) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    return torch.randn([draw(size) for size in sizes], generator=generator)
