"""Ragged rows in flat tensors: the places of many spans, one after the other."""

import torch
from torch import Tensor


def spread(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return (owner, place) of every element of the spans first[i] … first[i] + count[i] − 1.

    >>> spread(torch.tensor([7, 3]), torch.tensor([2, 1]))
    (tensor([0, 0, 1]), tensor([7, 8, 3]))
    """
    owner = torch.repeat_interleave(count)
    place = torch.arange(len(owner), device=owner.device)
    return owner, place + (first - count.cumsum(0) + count)[owner]


class Index:
    """Finds the gallery columns that hold a value, in gallery order."""

    def __init__(self, values: Tensor) -> None:
        self.sorted, self.columns = torch.sort(values, stable=True)

    def _span(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.searchsorted(self.sorted, wanted)
        return first, torch.searchsorted(self.sorted, wanted, right=True) - first

    def counts(self, wanted: Tensor) -> Tensor:
        return self._span(wanted)[1]

    def lookup(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return (index into ``wanted``, gallery column) of every hit."""
        row, place = spread(*self._span(wanted))
        return row, self.columns[place]


class SharedLabels:
    """The pairs of a query and a gallery image whose labels are equal; −1 equals none."""

    def __init__(self, query: Tensor, gallery: Tensor) -> None:
        self.query, self.gallery = query, gallery
        self._index = Index(gallery)

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (index into ``rows``, gallery column) of every such pair of these query rows."""
        labels = self.query[rows]
        known = (labels != -1).nonzero().squeeze(1)
        row, column = self._index.lookup(labels[known])
        return known[row], column

    def holds(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return (N,), true where the pair (rows[i], columns[i]) is one."""
        labels = self.query[rows]
        return (labels == self.gallery[columns]) & (labels != -1)
