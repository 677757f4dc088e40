"""All pairs of a batch: similarities, distances, and which pairs are of one identity."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks._checks import at_least_float32, expect_shape

SHORTEST = 1e-32  # length; below it the gradient, 1 / length, would leave float32


def cosine_similarity_matrix(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    r"""Give the cosine of each embedding with each other one, or with each of a second set.

    $$s_{ij} = \frac{x_i \cdot y_j}{\lVert x_i \rVert \, \lVert y_j \rVert}$$

    The cosine of a zero vector (shorter than 1e-32 counts as zero) is 0, and so is its gradient.
    Computed in float64, so that vectors of any length will do, directions that are nearly the
    same keep their digits, and autocast changes nothing.

    Args:
        embeddings: the rows.
        others: the columns; the embeddings themselves unless given.

    Shape:
        (B, D), (G, D) → (B, G), float32 at least

    Raises:
        ValueError: a set is not 2-dimensional, or their D differ.

    >>> cosine_similarity_matrix(torch.tensor([[3.0, 0.0], [0.3, 0.4], [0.0, 0.0]]))
    tensor([[1.0000, 0.6000, 0.0000],
            [0.6000, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    expect_two_sets("cosine_similarity_matrix", embeddings, others)
    left = right = unit_vectors(embeddings)[0]
    if others is not None and others is not embeddings:
        right = unit_vectors(others)[0]
    return (left @ right.T).to(at_least_float32(embeddings).dtype)


def euclidean_distance_matrix(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    r"""Give the distance of each embedding from each other one, or from each of a second set.

    $$d_{ij} = \lVert x_i - y_j \rVert_2$$

    Neighbours keep their digits however far from the origin they lie, and vectors of any length
    neither overflow nor vanish: it is computed in float64. The gradient at distance 0 is 0.

    Args:
        embeddings: the rows.
        others: the columns; the embeddings themselves unless given.

    Shape:
        (B, D), (G, D) → (B, G), float32 at least

    Raises:
        ValueError: a set is not 2-dimensional, or their D differ.

    >>> euclidean_distance_matrix(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    expect_two_sets("euclidean_distance_matrix", embeddings, others)
    left = right = _Split.of(embeddings)
    same_set = others is None or others is embeddings
    if others is not None and not same_set:
        right = _Split.of(others)
    # |x|² + |y|² − 2xy, of the coarse parts without any rounding, then what the fine parts add:
    # done at once, the difference of two nearby vectors far from 0 would drown in rounding
    coarse = left.coarse_square.unsqueeze(1) + right.coarse_square
    fine = left.fine_square.unsqueeze(1) + right.fine_square
    coarse = coarse - 2 * left.coarse @ right.coarse.T
    fine = fine - 2 * (left.coarse @ right.fine.T + left.fine @ right.whole.T)
    squares = coarse + fine
    apart = squares > 0
    if same_set:
        apart = apart & ~torch.eye(squares.shape[0], dtype=torch.bool, device=squares.device)
    distances = squares.masked_fill(~apart, 1).sqrt().masked_fill(~apart, 0)
    return distances.to(at_least_float32(embeddings).dtype)


def pair_masks(
    labels: Tensor, other_labels: Tensor | None = None, *, rows: slice | None = None
) -> tuple[Tensor, Tensor]:
    """Mark the pairs of one identity (positives) and of two (negatives).

    Within one set, no anchor is its own positive; against a second set every pair counts.

    Args:
        labels: identities of the anchors.
        other_labels: identities of a second set, compared with instead.
        rows: the anchors to mark the pairs of; all unless given.

    Shape:
        (B,), (G,) → positives (B, G) and negatives (B, G) of bool

    Raises:
        ValueError: labels are not 1-dimensional.

    >>> positives, negatives = pair_masks(torch.tensor([7, 7, 8]))
    >>> positives.int()
    tensor([[0, 1, 0],
            [1, 0, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    expect_shape("pair_masks", "labels", labels, "B")
    columns = labels if other_labels is None else other_labels
    expect_shape("pair_masks", "other_labels", columns, "G")
    anchors = labels if rows is None else labels[rows]
    positives = anchors.unsqueeze(1) == columns
    negatives = ~positives
    if other_labels is None:
        positives.diagonal(0 if rows is None else rows.start or 0).fill_(False)
    return positives, negatives


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Give (…, D) unit vectors and (…, 1) lengths in float64; a zero vector stays, length inf.

    The squares of 1e20 and 1e-20 are numbers like any others there.
    """
    wide = vectors.double()
    lengths = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    lengths = lengths.masked_fill(lengths < SHORTEST, torch.inf)
    return wide / lengths, lengths


class _Split(NamedTuple):
    """Vectors in float64 as a coarse part, whose products are exact, and the fine rest."""

    whole: Tensor
    coarse: Tensor
    fine: Tensor
    coarse_square: Tensor
    fine_square: Tensor  # |whole|² − |coarse|²

    @classmethod
    def of(cls, vectors: Tensor) -> "_Split":
        whole = vectors.double()
        bits = (49 - whole.shape[1].bit_length()) // 2  # D products of 2·bits each fit in 53
        largest = whole.detach().abs().amax(1, keepdim=True)
        anchor = largest * 2.0 ** (52 - bits)  # adding it rounds off whatever is finer
        coarse = (whole.detach() + anchor) - anchor
        fine = whole - coarse
        return cls(whole, coarse, fine, coarse.square().sum(1), (fine * (2 * coarse + fine)).sum(1))


def expect_two_sets(caller: str, embeddings: Tensor, others: Tensor | None) -> None:
    """Raise unless both sets are matrices of as many columns."""
    expect_shape(caller, "embeddings", embeddings, "B D")
    if others is not None and (others.dim() != 2 or others.shape[1] != embeddings.shape[1]):
        raise ValueError(
            f"{caller} expects a second set (G, {embeddings.shape[1]}) beside embeddings "
            f"{tuple(embeddings.shape)}, got {tuple(others.shape)}"
        )
