"""Cosines of all pairs, and which pairs are of one identity."""

import torch
from torch import Tensor

from reidblocks._checks import at_least_float32, expect_labels, expect_shape, leaf
from reidblocks._vectors import products, unit_vectors
from reidblocks.losses._anchors import expect_same_size


@leaf
def cosine_similarity_matrix(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    r"""Return the cosine of each embedding with each other one, or with each of a second set.

    $$s_{ij} = \frac{x_i \cdot y_j}{\lVert x_i \rVert \, \lVert y_j \rVert}$$

    The cosine of a zero vector (shorter than 1e-30 counts as zero) is 0, and so is its gradient.
    Computed in float32 at least, in full precision: neither autocast nor TF32 changes it.

    Args:
        embeddings: the rows.
        others: the columns; the embeddings themselves unless given.

    Shape:
        (..., B, D), (..., G, D) → (..., B, G), float32 at least

    Raises:
        ValueError: shapes do not fit.

    >>> cosine_similarity_matrix(torch.tensor([[3.0, 0.0], [0.3, 0.4], [0.0, 0.0]]))
    tensor([[1.0000, 0.6000, 0.0000],
            [0.6000, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    expect_shape("cosine_similarity_matrix", "embeddings", embeddings, "... B D")
    if others is not None:
        expect_same_size("cosine_similarity_matrix", "others", embeddings, others)
    return products(*unit_sets(embeddings, others))


@leaf
def pair_masks(labels: Tensor, other_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mark the pairs of one identity (positives) and of two (negatives).

    Within one set, no anchor is its own positive; against a second set every pair counts.

    Args:
        labels: identities of the anchors, of any integer dtype.
        other_labels: identities of a second set, compared with instead.

    Shape:
        (B,), (G,) → positives (B, G) and negatives (B, G) of bool

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: labels are not 1-dimensional.

    >>> positives, negatives = pair_masks(torch.tensor([7, 7, 8]))
    >>> positives.int()
    tensor([[0, 1, 0],
            [1, 0, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    expect_labels("pair_masks", "labels", labels)
    if other_labels is not None:
        expect_labels("pair_masks", "other_labels", other_labels)
    return masks_of(labels, other_labels)


def masks_of(
    labels: Tensor, other_labels: Tensor | None, rows: slice | None = None
) -> tuple[Tensor, Tensor]:
    """`pair_masks` without checks, of these rows alone if given."""
    labels = labels.long()  # unsigned and signed labels have no common dtype
    anchors = labels if rows is None else labels[rows]
    positives = anchors.unsqueeze(1) == (labels if other_labels is None else other_labels.long())
    negatives = ~positives
    if other_labels is None:
        positives.diagonal(rows.start if rows else 0).fill_(False)
    return positives, negatives


def unit_sets(embeddings: Tensor, others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return unit vectors of both sets, in the anchors' precision; of one, the same twice."""
    unit = unit_vectors(at_least_float32(embeddings))
    if others is None or others is embeddings:
        return unit, unit
    return unit, unit_vectors(at_least_float32(others)).to(unit.dtype)


def row_slices(num_rows: int, chunk_size: int | None) -> list[slice | None]:
    """Cut rows into slices of ``chunk_size``; None stands for all of them at once."""
    if chunk_size is None or num_rows <= chunk_size:
        return [None]
    return [slice(start, start + chunk_size) for start in range(0, num_rows, chunk_size)]


def joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return what was found for some rows each as what was found for all."""
    if len(parts) == 1:
        return parts[0]
    first, second = zip(*parts, strict=True)
    return torch.cat(first, -1), torch.cat(second, -1)
