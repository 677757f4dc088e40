"""k-reciprocal re-ranking: images are alike if they are each other's neighbors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks._checks import expect_number, expect_whole
from reidblocks.evaluation._arguments import expect_sides
from reidblocks.evaluation.blocks import Scores, full_precision, score_blocks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.neighbors import best_of_rows, lowest_of_rows
from reidblocks.evaluation.scores import Distance, Scorer
from reidblocks.evaluation.self_matches import self_matches
from reidblocks.evaluation.sparse import SparseRows

_CHUNK = 1024  # images whose neighbors' neighbors are looked at together


@dataclass(frozen=True)
class KReciprocal:
    r"""The settings of k-reciprocal re-ranking: the distance mixed with a Jaccard distance.

    $$d^* = (1 - \lambda)\, d_J + \lambda\, d^2 / \max d^2$$

    The neighborhood of an image p holds its k1 nearest other images that have p among theirs, and
    those of such an image's own neighborhood (of k1/2) where two thirds of it are in p's. Its
    members weigh exp(−d²/max d²); the weights are averaged over the k2 nearest images; and the
    Jaccard distance of two images is 1 − Σ min / Σ max of their weights.

    Where the paper and the programs in use differ, this follows the authors' program, since the
    published results come from it: d² is divided by its maximum in p's own row; among the
    k1 an image does not count itself (a program that counts it does what k1 − 1 does here), among
    the k2 it does; and k1/2 is rounded to the even number at a half.

    Args:
        k1: size of a neighborhood.
        k2: how many images' weights are averaged, the image itself being the first; 1 for none.
        lambda_value: weight λ of the original distance, from 0 to 1.

    Raises:
        ValueError: k1 or k2 is below 1, or λ is not from 0 to 1.
        TypeError: k1 or k2 is not an integer, or λ no number.

    Source: Zhong et al., CVPR 2017, arXiv 1701.08398.
    """

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    def __post_init__(self) -> None:
        expect_whole("KReciprocal", "k1", self.k1)
        expect_whole("KReciprocal", "k2", self.k2)
        expect_number("KReciprocal", lambda_value=self.lambda_value)
        if not 0 <= self.lambda_value <= 1:
            raise ValueError(
                f"KReciprocal expects lambda_value from 0 to 1, got {self.lambda_value}"
            )


STANDARD = KReciprocal()


class RerankedScorer:
    """Scores as ``Scorer`` gives them, for the re-ranked distance.

    All images of both sides take part in the neighborhoods, one that is on both sides once. What
    is kept are neighbor lists and the pairs of a query and a gallery image whose neighborhoods
    meet, never a matrix.
    """

    def __init__(self, query: Features, gallery: Features, base: Scorer, how: KReciprocal) -> None:
        self.base, self.how = base, how
        alone, place = _places(query, gallery)
        every = torch.cat([query.values[alone], gallery.values])
        images = Scorer("re-ranking", every, every, base.distance)
        neighbors, maximum = _nearest(images, max(how.k1 + 1, how.k2))
        weights = _average(_weights(images, neighbors, maximum, how.k1), neighbors[:, : how.k2])
        self.maximum = maximum[place]
        self.overlap = _overlaps(weights, place, len(alone))
        lengths = base.lengths * base.scale if base.as_points else torch.ones_like(base.lengths)
        self.weight = 2 * how.lambda_value * lengths * base.scale / self.maximum

    @property
    def num_columns(self) -> int:
        return self.base.num_columns

    @property
    def margin(self) -> float:
        return self.base.margin * float(self.weight.max()) + 2.0**-20

    def block(self, rows: Tensor, out: Tensor) -> Tensor:
        """Return float32 scores (R, G), written into ``out``."""
        if self.base.collapsed:
            out.zero_()
        else:
            self.base.block(rows, out).mul_(self.weight[rows, None].float())
        owner, column, value = self.overlap.take(rows)
        out[owner, column] += (value * (1 - self.how.lambda_value)).float()
        return out

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return float64 scores (N,) of pairs: 1 − λ less the re-ranked distance."""
        weight = self.how.lambda_value
        overlap = (1 - weight) * self.overlap.at(rows, columns)
        if weight == 0:
            return overlap
        return overlap - weight * self.base.squares(rows, columns) / self.maximum[rows]

    def distances(self, rows: Tensor, exact: Tensor) -> Tensor:
        """Return the re-ranked distances (N,) that belong to exact scores."""
        return 1 - self.how.lambda_value - exact


def make_scorer(
    caller: str,
    query: Features,
    gallery: Features,
    distance: Distance,
    reranking: KReciprocal | None,
) -> Scores:
    """Return the scorer of a distance, re-ranked if asked for."""
    if not isinstance(reranking, KReciprocal | None):
        raise TypeError(
            f"{caller} expects reranking as KReciprocal() or None, got {reranking!r:.80}"
        )
    base = Scorer(caller, query.values, gallery.values, distance)
    return base if reranking is None else RerankedScorer(query, gallery, base, reranking)


@full_precision()
def rerank(
    query: Features,
    gallery: Features,
    how: KReciprocal = STANDARD,
    *,
    distance: Distance = "cosine",
) -> Tensor:
    """Return re-ranked distances (Q, G) in float32; ``evaluate`` needs no matrix.

    A query that is itself in the gallery keeps its column, but takes part in the neighborhoods
    once (where both have the same values).

    >>> images = Features(torch.rand(30, 8), torch.arange(30))
    >>> rerank(images[[0, 1, 2, 3]], images).shape
    torch.Size([4, 30])
    """
    expect_sides("rerank", query, gallery)
    if how is None:
        raise TypeError("rerank expects how as KReciprocal(), got None")
    scorer = make_scorer("rerank", query, gallery, distance, how)
    every = torch.arange(len(query), device=query.ids.device)
    distances = query.values.new_empty((len(query), len(gallery)), dtype=torch.float32)
    for rows, scores in score_blocks(scorer, every, torch.zeros_like(every)):
        exact = scorer.exact(rows, torch.zeros_like(rows))  # scores lack what a row has in common
        offset = scorer.distances(rows, exact) + scores[:, 0]
        distances[rows] = (offset[:, None] - scores).float()
    return distances


def _places(query: Features, gallery: Features) -> tuple[Tensor, Tensor]:
    """Return the queries (N,) not in the gallery, and each query's place (Q,) among all."""
    every = torch.arange(len(query), device=query.ids.device)
    selves = self_matches(query, gallery)
    if selves is None:
        return every, every
    row, column = selves.pairs(every)
    same = (query.values[row] == gallery.values[column]).all(1)
    row, column = row[same], column[same]
    place = torch.full_like(every, -1).index_put((row,), column)
    alone = (place < 0).nonzero().squeeze(1)
    place += len(alone)
    place[alone] = torch.arange(len(alone), device=every.device)
    return alone, place


def _nearest(images: Scorer, k: int) -> tuple[Tensor, Tensor]:
    """Return each image's k nearest (N, k), itself included, and its maximum squared distance."""
    every = torch.arange(images.num_columns, device=images.query.device)
    k = min(k, len(every))
    neighbors, farthest = every.new_empty(len(every), k), torch.empty_like(every)
    for rows, scores in score_blocks(images, every, torch.zeros_like(every)):
        neighbors[rows] = best_of_rows(images, rows, scores, k)[1].view(-1, k)
        farthest[rows] = lowest_of_rows(scores)
    maximum = images.squares(every, farthest)
    return neighbors, maximum.masked_fill_(maximum == 0, 1)  # where all images are equal


def _reciprocal(neighbors: Tensor) -> Tensor:
    """Return (N, k), true where the neighbor has the image among its own."""
    found = torch.empty_like(neighbors, dtype=torch.bool)
    for rows in torch.split(torch.arange(len(neighbors), device=neighbors.device), _CHUNK):
        found[rows] = (neighbors[neighbors[rows]] == rows[:, None, None]).any(2)
    return found


def _weights(images: Scorer, neighbors: Tensor, maximum: Tensor, k1: int) -> SparseRows:
    """Weight each image's neighborhood by distance, each row summing to 1."""
    near, half = neighbors[:, : k1 + 1], neighbors[:, : round(k1 / 2) + 1]
    mutual, half_mutual = _reciprocal(near), _reciprocal(half)
    num_images, found = len(neighbors), []
    for rows in torch.split(torch.arange(num_images, device=near.device), _CHUNK):
        core = near[rows].masked_fill(~mutual[rows], -1)
        candidates = half[near[rows]]  # (R, k1 + 1, k1/2 + 1)
        theirs = half_mutual[near[rows]] & mutual[rows][:, :, None]
        shared = torch.zeros_like(theirs)
        for column in core.T:
            shared |= candidates == column[:, None, None]
        shared &= theirs
        agree = 3 * shared.sum(2) > 2 * theirs.sum(2)
        owner, candidate, place = (theirs & agree[:, :, None]).nonzero(as_tuple=True)
        own, own_place = mutual[rows].nonzero(as_tuple=True)
        row = rows[torch.cat([own, owner])]
        column = torch.cat([core[own, own_place], candidates[owner, candidate, place]])
        found.append(torch.unique(row * num_images + column))
    keys = torch.cat(found)
    row, column = keys.div(num_images, rounding_mode="floor"), keys.remainder(num_images)
    pairs, place = torch.unique(  # most neighbors are so of each other
        torch.minimum(row, column) * num_images + torch.maximum(row, column), return_inverse=True
    )
    squares = images.squares(pairs.div(num_images, rounding_mode="floor"), pairs % num_images)
    value = torch.exp(-squares[place] / maximum[row])
    total = value.new_zeros(num_images).index_add(0, row, value)
    return SparseRows(num_images, num_images, keys, value / total[row])


def _average(weights: SparseRows, neighbors: Tensor) -> SparseRows:
    """Return the mean of the weights of each image's nearest images."""
    num_images, k2 = neighbors.shape
    if k2 == 1:
        return weights
    keys, values = [], []
    for rows in torch.split(torch.arange(num_images, device=neighbors.device), _CHUNK):
        owner, column, value = weights.take(neighbors[rows].flatten())
        place = rows[owner.div(k2, rounding_mode="floor")] * num_images + column
        key, group = torch.unique(place, return_inverse=True)
        keys.append(key)
        values.append(value.new_zeros(len(key)).index_add(0, group, value) / k2)
    return SparseRows(num_images, num_images, torch.cat(keys), torch.cat(values))


def _overlaps(weights: SparseRows, place: Tensor, first: int) -> SparseRows:
    """Return Σ min / Σ max of the weights of every query and gallery image that share a neighbor.

    Query i is row place[i] of the weights; the gallery are the rows from ``first`` on.
    """
    num_images, num_queries = weights.num_rows, len(place)
    holders, width = weights.transposed(), num_images - first
    keys, values = [], []
    for rows in torch.split(torch.arange(num_queries, device=weights.key.device), 256):
        owner, member, mine = weights.take(place[rows])
        entry, image, theirs = holders.take(member)
        shared = mine.new_zeros(len(rows), num_images)
        at = owner[entry] * num_images + image
        shared.view(-1).index_add_(0, at, torch.minimum(mine[entry], theirs))
        shared = shared[:, first:]
        row, column = shared.nonzero(as_tuple=True)
        smaller = shared[row, column]
        keys.append(rows[row] * width + column)
        values.append(smaller / (2 - smaller))
    return SparseRows(num_queries, width, torch.cat(keys), torch.cat(values))
