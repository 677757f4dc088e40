"""What losses over anchors share: what they ask of their input, and how they are reduced."""

from typing import Literal

from torch import Tensor

from reidblocks._checks import at_least_float32, expect_shape
from reidblocks.losses.pairs import expect_two_sets

Reduction = Literal["mean", "sum", "none"]


def expect_reduction(caller: str, reduction: str) -> None:
    """Raise unless ``reduction`` is one of torch's three."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{caller} expects reduction 'mean', 'sum' or 'none', got {reduction!r}")


def expect_anchors(
    caller: str,
    embeddings: Tensor,
    labels: Tensor,
    other_embeddings: Tensor | None,
    other_labels: Tensor | None,
    matrix_name: str,
    matrix: Tensor | None,
) -> None:
    """Raise unless anchors, what they are compared with and the labels of both fit together."""
    expect_two_sets(caller, embeddings, other_embeddings)
    if matrix is not None and other_embeddings is not None:
        raise ValueError(
            f"{caller} expects {matrix_name} or other_embeddings to compute them from, got both"
        )
    second_set = other_embeddings is not None or (matrix is not None and other_labels is not None)
    if second_set != (other_labels is not None):
        missing = "other_labels" if second_set else f"other_embeddings (or {matrix_name})"
        raise ValueError(f"{caller} expects {missing} too when a second set is given, got None")
    expect_labels(caller, "labels", labels, embeddings)
    columns = labels if other_labels is None else other_labels
    if other_embeddings is not None:
        expect_labels(caller, "other_labels", columns, other_embeddings)
    expected = (embeddings.shape[0], columns.shape[0])
    if matrix is not None and matrix.shape != expected:
        raise ValueError(f"{caller} expects {matrix_name} {expected}, got {tuple(matrix.shape)}")


def reduce_losses(losses: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (B,) losses, 0 wherever not ``counted``; the mean of none is 0 and keeps the graph."""
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / counted.sum().clamp_min(1)


def zero_losses(source: Tensor) -> Tensor:
    """Give the (B,) losses of anchors with nothing to be compared with, in the source's graph."""
    return at_least_float32(source)[:, :0].sum(1)


def expect_labels(caller: str, name: str, labels: Tensor, embeddings: Tensor) -> None:
    """Raise unless there is one label for each embedding."""
    expect_shape(caller, name, labels, "B")
    if labels.shape[0] != embeddings.shape[0]:
        raise ValueError(
            f"{caller} expects one of {name} for each of {embeddings.shape[0]} embeddings, "
            f"got {labels.shape[0]}"
        )
