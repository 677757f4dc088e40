"""Unit vectors in float32 that keep the digits of their differences, and their gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import unit_vectors


class Directions(NamedTuple):
    """Unit vectors as offsets from a common centre, so that float32 holds their differences."""

    offsets: Tensor  # (B, D), unit vector − centre, in the precision of the embeddings
    shift: Tensor  # (B,), what the centre adds to each cosine
    centre: Tensor  # (D,) of float64
    lengths: Tensor  # (B, 1) of float64, infinite for a zero vector

    @classmethod
    def of(cls, vectors: Tensor, centre: Tensor | None = None) -> "Directions":
        """Split unit vectors into a centre (about their mean unless given) and offsets from it."""
        offsets = torch.empty_like(vectors, memory_format=torch.contiguous_format)
        shifts, all_lengths = [], []
        # all in float64 would be the largest tensor
        for rows in row_slices(vectors, vectors.shape[1]):
            unit, lengths = unit_vectors(vectors[rows])
            if centre is None:
                centre = unit.mean(0)  # some of them will do
            torch.sub(unit, centre, out=offsets[rows])
            shifts.append(unit @ centre)
            all_lengths.append(lengths)
        assert centre is not None
        shift = (torch.cat(shifts) - centre @ centre / 2).to(vectors.dtype)
        return cls(offsets, shift, centre, torch.cat(all_lengths))

    def rows(self, rows: slice) -> "Directions":
        return Directions(self.offsets[rows], self.shift[rows], self.centre, self.lengths[rows])

    def cosines(self, others: "Directions") -> Tensor:
        """(c + e) · (c + f) = e · f + shift + shift, for all pairs; takes no autocast."""
        products = torch.addmm(others.shift, self.offsets, others.offsets.T)
        return products.add_(self.shift.unsqueeze(1))


class DirectionsGradient:
    """The gradient by a set of directions, gathered block by block, then by the vectors."""

    def __init__(self, directions: Directions) -> None:
        self.directions = directions
        self.by_offsets = torch.zeros_like(directions.offsets)
        self.by_shift = torch.zeros_like(directions.shift)

    def add(self, rows: slice, slopes: Tensor, others: Directions) -> None:
        self.by_offsets[rows].addmm_(slopes, others.offsets)
        self.by_shift[rows] += slopes.sum(1)

    def of_vectors(self, count: Tensor) -> Tensor:
        """Back through x / |x|: what points along a vector is lost, the rest shrinks with |x|."""
        for rows in row_slices(self.by_offsets, self.by_offsets.shape[1]):
            part = self.directions.rows(rows)
            unit = part.offsets + part.centre
            gradient = self.by_offsets[rows] + self.by_shift[rows, None] * part.centre
            gradient -= unit * (unit * gradient).sum(1, keepdim=True)
            self.by_offsets[rows] = gradient / (part.lengths * count)
        return self.by_offsets
