"""CUHK03's single-shot rule: rankings that hold one image of each identity, drawn at random.

Other toolboxes draw a hundred times and average, so that their results change with the seed. The
expectation over all draws can be computed instead. Say the correct match drawn has, of identity k's
images, the fraction f_k before it. Then the draw of identity k is before it with chance f_k,
independently of the others, and the number before it follows a Poisson binomial distribution.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores
from reidblocks.evaluation.protocol import Matching


class Expected(NamedTuple):
    """Expectations for each query (Q,): of 1/rank, of the rank, of being within the first k."""

    inverse_rank: Tensor
    rank: Tensor
    matched: Tensor  # (Q, max_rank)


def expect_single_shot(scorer: Scores, matching: Matching, max_rank: int) -> Expected:
    """Average over the correct matches of each query, any of which may be the one drawn."""
    number = matching.num_positives
    size = len(number), max_rank + 2
    found = torch.full(size, torch.nan, dtype=torch.float64, device=number.device)
    step = max(1, 2**22 // scorer.num_columns)
    for rows in torch.split(matching.valid_queries, step):
        row, shares = _shares_before(scorer, matching, rows)
        inverse, rank = _mean_inverse_rank(shares), 1 + shares.sum(1)
        values = torch.cat([inverse[:, None], rank[:, None], _chance_within(shares, max_rank)], 1)
        sums = values.new_zeros(len(rows), max_rank + 2).index_add(0, row, values)
        found[rows] = sums / number[rows, None]
    return Expected(found[:, 0], found[:, 1], found[:, 2:])


def _shares_before(scorer: Scores, matching: Matching, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return each correct match's query (N,), and the fractions of identities before it (N, K)."""
    num_columns = scorer.num_columns
    every = torch.arange(num_columns, device=rows.device)
    scores = scorer.exact(rows.repeat_interleave(num_columns), every.repeat(len(rows)))
    scores = scores.view(len(rows), num_columns)
    pairs = matching.pairs(rows)
    counts = torch.ones_like(scores)
    counts[pairs.row, pairs.column] = 0
    group = matching.groups()[1].to(rows.device)
    matching.fill_excluded(counts, rows, 0)
    group = group.clamp_min(0)
    row, column = pairs.row[pairs.valid], pairs.column[pairs.valid]
    shares = []
    for i, j in zip(torch.split(row, 64), torch.split(column, 64), strict=True):
        mine = scores[i, j][:, None]
        before = (scores[i] > mine) | ((scores[i] == mine) & (every < j[:, None]))
        wrong = counts[i]
        sums = wrong.new_zeros(2, len(i), int(group.max()) + 1)
        sums.index_add_(2, group, torch.stack([wrong * before, wrong]))
        shares.append(sums[0] / sums[1].clamp_min(1))
    return row, torch.cat(shares)


def _chance_within(shares: Tensor, max_rank: int) -> Tensor:
    """Return the chance (N, max_rank) that fewer than k images are before, for k from 1."""
    within = shares.new_ones(len(shares), max_rank)  # of no images, none stands before
    for share in shares.T[:, :, None]:
        after = within * (1 - share)
        after[:, 1:] += within[:, :-1] * share
        within = after
    return within


def _mean_inverse_rank(shares: Tensor) -> Tensor:
    r"""Return E[1/(1+X)] (N,), which is $\int_0^1 E[z^X] dz$, the integral of a polynomial."""
    nodes, weights = np.polynomial.legendre.leggauss(shares.shape[1] // 2 + 1)
    total = shares.new_zeros(len(shares))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += weight * torch.prod(1 - shares * (1 - float(node)), dim=1)
    return total
