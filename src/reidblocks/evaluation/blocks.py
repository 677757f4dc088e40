"""Scores of all queries against the whole gallery, a block of rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from reidblocks._vectors import full_precision as full_products

_BLOCK_BYTES = 64 * 2**20  # of scores held at a time
_LARGE_BLOCK_BYTES = 250 * 2**20  # where that would be too few rows for a quick product
_FEW_ROWS = 128


class Scores(Protocol):
    """What ranks a gallery, the larger the nearer: ``Scorer``, or ``RerankedScorer`` on it."""

    @property
    def num_columns(self) -> int:
        """Size of the gallery."""

    @property
    def margin(self) -> float:
        """How far from its float32 score a pair's rival must be for a sure order."""

    def block(self, rows: Tensor, out: Tensor) -> Tensor:
        """Return float32 scores (R, G) of these query rows, written into ``out``."""

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return float64 scores (N,) of pairs, which do not depend on an image's place."""

    def distances(self, rows: Tensor, exact: Tensor) -> Tensor:
        """Return distances (N,) that belong to exact scores of these query rows."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32, bfloat16 products, autocast and gradients away from scores.

    A decorator too.
    """
    with (
        full_products(),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


def row_blocks(rows: Tensor, num_columns: int, pairs_per_row: Tensor) -> tuple[Tensor, ...]:
    """Split query rows so that a block's scores and pairs stay within the memory allowed."""
    limit = max(_BLOCK_BYTES, min(_LARGE_BLOCK_BYTES, _FEW_ROWS * 4 * num_columns))
    cost = 4 * num_columns + 64 * pairs_per_row
    block = cost.cumsum(0).sub_(1).div_(limit, rounding_mode="floor")
    return torch.split(rows, torch.unique_consecutive(block, return_counts=True)[1].tolist())


def score_blocks(
    scorer: Scores, rows: Tensor, pairs_per_row: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield query rows and their float32 scores, in a buffer that the next block overwrites."""
    blocks = row_blocks(rows, scorer.num_columns, pairs_per_row)
    size = max(map(len, blocks)), scorer.num_columns
    buffer = torch.empty(size, dtype=torch.float32, device=rows.device)
    for block in blocks:
        yield block, scorer.block(block, buffer[: len(block)])
