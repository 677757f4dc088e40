"""A loss over all cosines without ever holding all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reidblocks.losses.pairs import pair_masks, unit_vectors

BLOCK = 2**19  # pairs at a time: 2 MB of float32, which stay in the cache from step to step

# similarities, positives, negatives → losses (B,), their derivatives by each similarity, counted
Terms = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class CosineRows(torch.autograd.Function):
    """Mean (or sum) over anchors of a loss of their cosines, a block of anchors at a time.

    The gradient is found on the way forward: a block's cosines serve both and are gone before
    the next block's come.
    """

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        labels: Tensor,
        others: Tensor | None,
        other_labels: Tensor | None,
        terms: Terms,
        mean: bool,
    ) -> Tensor:
        left = right = _directions(embeddings)
        by_left = by_right = _Gradient(left)
        if others is not None:
            right = _directions(others, left.centre)
            by_right = _Gradient(right)
        total = left.shift.new_zeros(())
        count = left.shift.new_zeros(())
        for rows in row_slices(left.offsets.shape[0], right.offsets.shape[0]):
            anchors = left.rows(rows)
            masks = pair_masks(labels, other_labels, rows=rows)
            losses, slopes, counted = terms(anchors.cosines(right), *masks)
            total += losses.sum()
            count += counted.sum()
            if any(ctx.needs_input_grad):
                by_left.add(rows, slopes, right)
                by_right.add(slice(None), slopes.T, anchors)
        if not mean:
            count.fill_(1)
        count.clamp_(min=1)
        if any(ctx.needs_input_grad):
            sides = [by_left] if others is None else [by_left, by_right]
            ctx.save_for_backward(*(side.of_vectors(count) for side in sides))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_left, *by_right = ctx.saved_tensors
        by_others = by_right[0] * gradient if by_right else None
        return by_left * gradient, None, by_others, None, None, None


class _Directions(NamedTuple):
    """Unit vectors as offsets from a common centre, so that float32 holds their differences."""

    offsets: Tensor  # (B, D), unit vector − centre, in the precision of the embeddings
    shift: Tensor  # (B,), what the centre adds to each cosine
    centre: Tensor  # (D,) of float64
    lengths: Tensor  # (B, 1) of float64, infinite for a zero vector

    def rows(self, rows: slice) -> "_Directions":
        return _Directions(self.offsets[rows], self.shift[rows], self.centre, self.lengths[rows])

    def cosines(self, others: "_Directions") -> Tensor:
        """(c + e) · (c + f) = e · f + shift + shift, for all pairs; takes no autocast."""
        return torch.addmm(others.shift, self.offsets, others.offsets.T) + self.shift.unsqueeze(1)


def _directions(vectors: Tensor, centre: Tensor | None = None) -> _Directions:
    """Split unit vectors into a centre (the mean unless given) and offsets from it."""
    unit, lengths = unit_vectors(vectors)
    if centre is None:
        centre = unit.mean(0)
    shift = unit @ centre - centre @ centre / 2
    offsets = unit - centre
    return _Directions(offsets.to(vectors.dtype), shift.to(vectors.dtype), centre, lengths)


class _Gradient:
    """The gradient by a set of directions, gathered block by block, then by the vectors."""

    def __init__(self, directions: _Directions) -> None:
        self.directions = directions
        self.by_offsets = torch.zeros_like(directions.offsets)
        self.by_shift = torch.zeros_like(directions.shift)

    def add(self, rows: slice, slopes: Tensor, others: _Directions) -> None:
        self.by_offsets[rows].addmm_(slopes, others.offsets)
        self.by_shift[rows] += slopes.sum(1)

    def of_vectors(self, count: Tensor) -> Tensor:
        """Back through x / |x|: what points along a vector is lost, the rest shrinks with |x|."""
        for rows in row_slices(*self.by_offsets.shape):
            part = self.directions.rows(rows)
            unit = part.offsets + part.centre
            gradient = self.by_offsets[rows] + self.by_shift[rows, None] * part.centre
            gradient -= unit * (unit * gradient).sum(1, keepdim=True)
            self.by_offsets[rows] = gradient / (part.lengths * count)
        return self.by_offsets


def row_slices(num_rows: int, num_columns: int, at_most: int = BLOCK) -> list[slice]:
    """Cut rows so that a block of them holds about BLOCK pairs; compiled, all are one block."""
    if torch.compiler.is_compiling():  # which cannot loop over a size it does not know
        return [slice(0, num_rows)]
    step = min(max(1, BLOCK // max(1, num_columns)), at_most)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
