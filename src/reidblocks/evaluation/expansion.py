"""Query expansion: search again with the mean of a query and what it found."""

from dataclasses import replace

import torch

from reidblocks._checks import at_least_float32, expect_number, expect_whole
from reidblocks.evaluation._arguments import expect_sides
from reidblocks.evaluation.blocks import full_precision, score_blocks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.neighbors import best_of_rows
from reidblocks.evaluation.scores import Scorer
from reidblocks.evaluation.self_matches import self_matches

_ROUNDING = 1e-6  # a sum of unit vectors that is shorter has no direction of its own


@full_precision()
def expand_queries(
    query: Features, gallery: Features, k: int = 5, *, alpha: float = 0.0
) -> Features:
    r"""Replace each query by the mean of itself and its k nearest gallery images.

    $$q' = \hat q + \sum_{i=1}^{k} \max(0, \hat q \cdot \hat g_i)^\alpha \, \hat g_i$$

    α = 0 is the plain mean; a larger α trusts the farther images less. All vectors are
    L2-normalized first, and so is the result: compare them by the cosine. No labels are used.
    With ``query`` and ``gallery`` the same it smooths the gallery. A query that is itself in the
    gallery (see ``evaluate``) is none of its own neighbors. Give paths to evaluate the result
    against the same gallery: it is another object, known by them alone.

    Args:
        query, gallery: the features of both sides.
        k: number of gallery images.
        alpha: from 0 on.

    Raises:
        ValueError: k is below 1, alpha below 0; a query and its neighbors cancel each other,
            which they cannot where alpha is above 0; bad features, as for ``evaluate``.
        TypeError: k is not an integer, alpha no number, or a side no ``Features``.

    Source: Chum et al., ICCV 2007; α: Radenović et al., arXiv 1711.02512.

    >>> query, gallery = (Features(torch.rand(n, 8), torch.arange(n)) for n in (2, 9))
    >>> expand_queries(query, gallery, k=3).values.shape
    torch.Size([2, 8])
    """
    expect_sides("expand_queries", query, gallery)
    k = expect_whole("expand_queries", "k", k)
    expect_number("expand_queries", alpha=alpha)
    if not alpha >= 0:
        raise ValueError(f"expand_queries expects alpha from 0 on, got {alpha}")
    scorer = Scorer("expand_queries", query.values, gallery.values, "cosine")
    every = torch.arange(len(query), device=query.ids.device)
    selves = self_matches(query, gallery)
    expanded = torch.empty_like(at_least_float32(query.values))
    lost: list[int] = []
    for rows, scores in score_blocks(scorer, every, torch.zeros_like(every)):
        if selves is not None:
            scores[selves.pairs(rows)] = -torch.inf
        row, column = best_of_rows(scorer, rows, scores, k)
        exact = scorer.exact(rows[row], column)
        cosine = (1 - scorer.distances(rows[row], exact)).clamp_min(0)
        found = scorer.points(gallery.values[column], scorer.gallery_norms[column])
        total = scorer.points(query.values[rows], scorer.query_norms[rows])
        total.index_add_(0, row, found * cosine.pow(alpha)[:, None])
        norms = torch.linalg.vector_norm(total, dim=1)
        lost += rows[norms < _ROUNDING].tolist()
        expanded[rows] = (total / norms[:, None]).to(expanded.dtype)
    if lost:
        raise ValueError(
            "expand_queries expects queries that their neighbors do not cancel, got "
            f"{len(lost)} whose mean is zero, first in row {lost[0]}; an alpha above 0 gives "
            "images on the other side no weight"
        )
    return replace(query, values=expanded)
