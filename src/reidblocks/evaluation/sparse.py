"""Sparse rows kept as flat tensors, for the neighbor lists of re-ranking."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks.evaluation._spans import spread


class SparseRows(NamedTuple):
    """A matrix by its entries, in order: an entry's key is row · width + column."""

    num_rows: int
    width: int
    key: Tensor
    value: Tensor

    @property
    def row(self) -> Tensor:
        return self.key.div(self.width, rounding_mode="floor")

    @property
    def column(self) -> Tensor:
        return self.key.remainder(self.width)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (index into ``rows``, column, value) of all entries of these rows."""
        first, end = torch.searchsorted(self.key, torch.stack([rows, rows + 1]) * self.width)
        owner, place = spread(first, end - first)
        return owner, self.key[place] - rows[owner] * self.width, self.value[place]

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the values (N,) at these places, 0 where there is no entry."""
        if not len(self.key):
            return self.value.new_zeros(len(rows))
        wanted = rows * self.width + columns
        place = torch.searchsorted(self.key, wanted).clamp_max_(len(self.key) - 1)
        return self.value[place] * (self.key[place] == wanted)

    def transposed(self) -> "SparseRows":
        """Return the transpose: columns as rows."""
        key, order = torch.sort(self.column * self.num_rows + self.row)
        return SparseRows(self.width, self.num_rows, key, self.value[order])
