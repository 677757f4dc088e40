"""What losses over pairs share: cosines, which pairs are of one identity, means over anchors."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reidblocks import _checks as check
from reidblocks._vectors import products, unit_vectors

Reduction = Literal["mean", "sum", "none"]
OfRows = Callable[[Tensor, slice | None], tuple[Tensor, Tensor]]  # of anchors and which they are


@check.leaf
def cosine_similarity_matrix(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    r"""Return the cosines between all embeddings, or between two sets of embeddings.

    $$s_{ij} = \frac{x_i \cdot y_j}{\lVert x_i \rVert \, \lVert y_j \rVert}$$

    The cosine of a zero vector (shorter than 1e-30) is 0, and so are its derivatives. Neither
    autocast nor TF32 changes the value.

    Args:
        embeddings: the rows.
        others: the columns; the embeddings themselves unless given.

    Shape: (..., B, D), (..., G, D) → (..., B, G), float32 at least

    Raises:
        ValueError: shapes do not fit.

    >>> cosine_similarity_matrix(torch.tensor([[3.0, 0.0], [0.3, 0.4], [0.0, 0.0]]))
    tensor([[1.0000, 0.6000, 0.0000],
            [0.6000, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    check.expect_pair_of_sets("cosine_similarity_matrix", embeddings, "others", others)
    return products(*unit_sets(embeddings, others))


def pair_masks(labels: Tensor, other_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the masks of positive pairs (same identity) and negative pairs (two identities).

    Within one set, no anchor is its own positive; against a second set every pair counts.

    Args:
        labels: identities of the anchors, of any integer dtype.
        other_labels: identities of a second set, compared with instead.

    Shape: (B,), (G,) → positives (B, G) and negatives (B, G) of bool

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: labels are not 1-dimensional.

    >>> positives, negatives = pair_masks(torch.tensor([7, 7, 8]))
    >>> positives.int()
    tensor([[0, 1, 0],
            [1, 0, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    check.expect_labels("pair_masks", "labels", labels)
    if other_labels is not None:
        check.expect_labels("pair_masks", "other_labels", other_labels)
    no_positives, no_negatives = excluded_pairs(labels, other_labels)
    return ~no_positives, ~no_negatives


@check.leaf
def excluded_pairs(
    labels: Tensor, other_labels: Tensor | None, rows: slice | None = None
) -> tuple[Tensor, Tensor]:
    """Mark what is no positive pair and what is no negative one, of these rows alone if given."""
    labels = labels.long()  # unsigned and signed labels have no common dtype
    anchors = labels if rows is None else labels[rows]
    no_positives = anchors.unsqueeze(1) != (labels if other_labels is None else other_labels.long())
    no_negatives = ~no_positives
    if other_labels is None:
        start = rows.start if rows else 0
        no_positives.diagonal(start).fill_(1)  # TorchScript knows no fill_ of a bool
    return no_positives, no_negatives


def unit_sets(embeddings: Tensor, others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return unit vectors of both sets, in the anchors' precision; of one, the same twice."""
    unit = unit_vectors(check.at_least_float32(embeddings))
    if others is None or others is embeddings:
        return unit, unit
    return unit, unit_vectors(check.at_least_float32(others)).to(unit.dtype)


def in_chunks(of_rows: OfRows, anchors: Tensor, chunk_size: int | None) -> tuple[Tensor, Tensor]:
    """Return what is found for all anchors, or for so many at a time and joined.

    With a gradient, what is found for a chunk is computed again instead of kept.
    """
    if chunk_size is None or anchors.shape[-2] <= chunk_size:
        return of_rows(anchors, None)
    if torch.is_grad_enabled():
        check.expect_no_transform(chunk_size)
        of_rows = partial(checkpoint, of_rows, use_reentrant=False)
    chunks = (slice(at, at + chunk_size) for at in range(0, anchors.shape[-2], chunk_size))
    first, second = zip(*(of_rows(anchors[..., each, :], each) for each in chunks), strict=True)
    return torch.cat(first, -1), torch.cat(second, -1)


def reduce_losses(losses: Tensor, uncounted: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (..., B) losses, 0 where uncounted; the mean of none is 0, with a graph."""
    if reduction == "none":
        return losses
    total = losses.sum(-1)
    return total if reduction == "sum" else total / (~uncounted).sum(-1).clamp_min(1)


class PairLoss(nn.Module):
    """A loss over pairs as a module: a function, and its options as attributes of these names."""

    _function: Callable[..., Tensor]
    _options: tuple[str, ...]

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        other_embeddings: Tensor | None = None,
        other_labels: Tensor | None = None,
    ) -> Tensor:
        options: dict[str, Any] = {name: getattr(self, name) for name in self._options}
        options.update(other_embeddings=other_embeddings, other_labels=other_labels)
        return self._function(embeddings, labels, **options)

    def extra_repr(self) -> str:
        shown = [name for name in self._options if name != "chunk_size" or self.chunk_size]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
