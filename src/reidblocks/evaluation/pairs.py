"""Distances of all pairs of a query and a gallery image, a block of rows at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks.evaluation.blocks import row_blocks
from reidblocks.evaluation.protocol import Matching
from reidblocks.evaluation.scores import Scorer

_TILE = 2048  # gallery images raised to float64 at a time
_CLOSE = 1e-5  # as a fraction of both images' lengths: nearer pairs' digits cancel in a product


class NearestNegatives(NamedTuple):
    """The nearest negative pairs, by distance, with the indices of both images."""

    distance: Tensor
    row: Tensor
    column: Tensor


def positive_distances(scorer: Scorer, matching: Matching) -> Tensor:
    """Return the distances (N,) of all positive pairs that the protocol counts, in float32."""
    found = [torch.empty(0, dtype=torch.float64, device=scorer.query.device)]
    for rows in torch.split(matching.valid_queries, 256):
        pairs = matching.pairs(rows)
        row, column = rows[pairs.row[pairs.valid]], pairs.column[pairs.valid]
        found.append(scorer.distances(row, scorer.exact(row, column)))
    return torch.cat(found).float()


def negative_blocks(scorer: Scorer, matching: Matching) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield query rows (R,) and their float32 distances (R, G), infinite but for negative pairs."""
    queries = matching.countable_queries
    blocks = row_blocks(queries, len(scorer.gallery), matching.num_same_id[queries])
    size = max(map(len, blocks)), len(scorer.gallery)
    buffer = torch.empty(size, dtype=torch.float32, device=queries.device)
    center = None if scorer.unit else scorer.gallery[:_TILE].double().mean(0)
    for rows in blocks:
        out = buffer[: len(rows)]
        x = scorer.points(scorer.query[rows], scorer.query_norms[rows], center)
        lengths = torch.linalg.vector_norm(x, dim=1)[:, None]
        for start in range(0, len(scorer.gallery), _TILE):
            tile = slice(start, start + _TILE)
            y = scorer.points(scorer.gallery[tile], scorer.gallery_norms[tile], center)
            product = x @ y.t()
            if scorer.unit:
                found = (1 - product).clamp_min_(0)
                close = found < _CLOSE
            else:
                squares = product.mul_(-2).add_((x * x).sum(1)[:, None]).add_((y * y).sum(1))
                found = squares.clamp_min_(0).sqrt_()
                close = found <= _CLOSE * (lengths + torch.linalg.vector_norm(y, dim=1))
            row, column = close.nonzero(as_tuple=True)
            pairs = rows[row], start + column  # as the positive pairs', so that equal ones tie
            found[row, column] = scorer.distances(pairs[0], scorer.exact(*pairs))
            out[:, tile] = found
        same = matching.pairs(rows)
        out[same.row, same.column] = torch.inf
        matching.fill_excluded(out, rows, torch.inf)
        yield rows, out


def nearest_of(first: NearestNegatives, second: NearestNegatives, most: int) -> NearestNegatives:
    """Return the ``most`` nearest pairs of both, in order."""
    joined = [torch.cat(both) for both in zip(first, second, strict=True)]
    order = joined[0].argsort(stable=True)[:most]
    return NearestNegatives(*(part[order] for part in joined))
