"""What losses over anchors share: what they ask of their input, and how they are reduced."""

from typing import Literal

import torch
from torch import Tensor

from reidblocks._checks import expect_labels, expect_one_of, expect_shape

Reduction = Literal["mean", "sum", "none"]


def expect_reduction(caller: str, reduction: str) -> None:
    """Raise unless ``reduction`` is one of torch's three."""
    expect_one_of(caller, "reduction", reduction, "mean", "sum", "none")


def expect_anchors(
    caller: str,
    embeddings: Tensor,
    labels: Tensor,
    others: Tensor | None,
    other_labels: Tensor | None,
    chunk_size: int | None,
) -> None:
    """Raise unless anchors, what they are compared with and the labels of both fit together."""
    expect_shape(caller, "embeddings", embeddings, "... B D")
    expect_labels(caller, "labels", labels, embeddings.shape[-2])
    if others is not None and other_labels is not None:
        expect_same_size(caller, "other_embeddings", embeddings, others)
        expect_labels(caller, "other_labels", other_labels, others.shape[-2])
    elif (others is None) != (other_labels is None):
        missing = "other_embeddings" if others is None else "other_labels"
        raise ValueError(f"{caller} expects {missing} too when a second set is given, got None")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"{caller} expects chunk_size of at least 1 anchor, got {chunk_size}")


def expect_same_size(caller: str, name: str, embeddings: Tensor, others: Tensor) -> None:
    """Raise unless a second set differs from the first in its number of rows alone."""
    expect_shape(caller, name, others, "... G D")
    wanted = (*embeddings.shape[:-2], others.shape[-2], embeddings.shape[-1])
    if others.shape != wanted:
        raise ValueError(f"{caller} expects {name} {wanted}, got {tuple(others.shape)}")


def expect_matrix(
    caller: str, name: str, matrix: Tensor, positives: Tensor, negatives: Tensor
) -> None:
    """Raise unless either mask has a bool for each entry of the (..., B, G) matrix."""
    expect_shape(caller, name, matrix, "... B G")
    for mask_name, mask in (("positives", positives), ("negatives", negatives)):
        if mask.dtype != torch.bool or mask.shape != matrix.shape[-2:]:
            raise ValueError(
                f"{caller} expects {mask_name} {tuple(matrix.shape[-2:])} of bool, as pair_masks "
                f"gives them, got {tuple(mask.shape)} of {mask.dtype}"
            )


def reduce_losses(losses: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (..., B) losses, 0 where not ``counted`` (B,); the mean of none is 0, with a graph."""
    if reduction == "none":
        return losses
    total = losses.sum(-1)
    return total if reduction == "sum" else total / counted.sum().clamp_min(1)
