"""Are two images of one person? Error rates over all pairs, and the distance to decide at."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks._checks import expect_number, expect_whole
from reidblocks.evaluation._equality import ComparesContents
from reidblocks.evaluation.blocks import full_precision
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.pairs import (
    NearestNegatives,
    nearest_of,
    negative_blocks,
    positive_distances,
)
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.scores import Distance, Scorer


class Threshold(NamedTuple):
    """A distance threshold for "the same person", with its rates and interval.

    ``low`` and ``high`` are the ends of the distance's confidence interval; the rates are those
    of ``distance`` on the pairs at hand.
    """

    distance: float
    low: float
    high: float
    false_match_rate: float
    true_match_rate: float


@dataclass(frozen=True, eq=False)
class Verification(ComparesContents):
    """Error rates over all pairs of a query and a gallery image that the protocol counts.

    A pair of one person is positive, a pair of two people negative. At a threshold t, the FPR
    (also called the false-match rate) is the fraction of negative pairs at a distance of at most
    t, the TPR the fraction of positive pairs.

    Attributes:
        positive_distances: distances of all positive pairs, sorted (N,).
        negatives_within: number of negative pairs at most as far apart as each positive one (N,).
        num_negatives: number of all negative pairs.
        max_false_match_rate: the largest rate that a threshold can be asked for.
        num_self_matches: queries that are in the gallery themselves; an image and itself are no
            pair, and count for nothing.
    """

    positive_distances: Tensor
    negatives_within: Tensor
    num_negatives: int
    _nearest: NearestNegatives  # enough of them for thresholds up to the rate asked for
    max_false_match_rate: float
    num_self_matches: int
    _groups: "_Groups"

    def roc(self) -> tuple[Tensor, Tensor]:
        """Return FPR and TPR (N,) at each positive pair: the curve's upper left corners."""
        number = torch.searchsorted(self.positive_distances, self.positive_distances, right=True)
        return (
            self.negatives_within.double() / self.num_negatives,
            number.double() / len(self.positive_distances),
        )

    def tpr_at(self, fpr: float) -> float:
        """Return the maximum TPR with an FPR of at most ``fpr``; 0 if no threshold has one."""
        expect_number("tpr_at", fpr=fpr)
        if not 0 <= fpr <= 1:
            raise ValueError(f"tpr_at expects fpr between 0 and 1, got {fpr}")
        rates, tpr = self.roc()
        return float(tpr[rates <= fpr].max()) if bool((rates <= fpr).any()) else 0.0

    @property
    def equal_error_rate(self) -> float:
        """The minimum, over all thresholds, of the larger of FPR and 1 − TPR."""
        fpr, tpr = self.roc()
        return float(torch.maximum(fpr, 1 - tpr).min())

    def threshold_at(
        self,
        false_match_rate: float,
        *,
        confidence: float = 0.95,
        resamples: int = 200,
        seed: int = 0,
    ) -> Threshold:
        """Return the largest distance whose false-match rate is at most the one asked for.

        Its interval is bootstrapped over the identities of both images of a pair. Pairs are far
        from independent: an interval that treats them as independent would be much too narrow.

        Raises:
            ValueError: the rate is above max_false_match_rate or too small for so few pairs.
        """
        expect_number("threshold_at", false_match_rate=false_match_rate, confidence=confidence)
        resamples = expect_whole("threshold_at", "resamples", resamples)
        expect_whole("threshold_at", "seed", seed, None)
        if not 0 < false_match_rate <= self.max_false_match_rate:
            raise ValueError(
                f"threshold_at expects false_match_rate above 0 and at most "
                f"{self.max_false_match_rate}, got {false_match_rate}; give verify a larger "
                "max_false_match_rate for more"
            )
        if not 0 < confidence < 1:
            raise ValueError(f"threshold_at expects confidence between 0 and 1, got {confidence}")
        ones = torch.ones_like(self._nearest.distance, dtype=torch.long)
        distance = self._last_within(ones, false_match_rate * self.num_negatives)
        if distance is None:
            raise ValueError(
                f"threshold_at cannot reach a false-match rate of {false_match_rate}: the nearest "
                f"of {self.num_negatives} negative pairs exceed it already; it takes about "
                f"{10 / false_match_rate:.0f} pairs to tell"
            )
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn: list[float] = []
        while len(drawn) < resamples:
            weights, total = self._groups.resample(self._nearest, generator)
            if total == 0:  # one identity alone was drawn
                continue
            found = self._last_within(weights, false_match_rate * total)
            drawn.append(float(self._nearest.distance[0]) if found is None else found)
        ends = ((1 - confidence) / 2, (1 + confidence) / 2)
        thresholds, quantiles = (
            torch.tensor(numbers, dtype=torch.float64, device="cpu") for numbers in (drawn, ends)
        )
        low, high = torch.quantile(thresholds, quantiles).tolist()
        within = int((self._nearest.distance <= distance).sum())
        true_rate = float((self.positive_distances <= distance).double().mean())
        return Threshold(distance, low, high, within / self.num_negatives, true_rate)

    def _last_within(self, weights: Tensor, allowed: float) -> float | None:
        """Return the largest distance within which the negative pairs weigh at most ``allowed``.

        It lies right below the first pair that is too many; none if that is the nearest.
        """
        distance = self._nearest.distance
        fits = int((weights.cumsum(0).double() <= allowed * (1 + 1e-12)).sum())
        if fits == len(distance):
            return float(distance[-1])
        if distance[fits] == distance[0]:
            return None
        return float(torch.nextafter(distance[fits], distance[0]))


class _Groups(NamedTuple):
    """Which identity each image belongs to, numbered over both sides; −1 for junk."""

    query: Tensor
    gallery: Tensor
    num_negatives: int

    def resample(
        self, nearest: NearestNegatives, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """Draw identities with replacement; weigh the nearest negative pairs, and all of them."""
        number = int(torch.cat([self.query, self.gallery]).max()) + 1
        drawn = torch.randint(0, number, (number,), generator=generator, device="cpu")
        drawings = torch.bincount(drawn, minlength=number)
        times = drawings.double()
        queries, images = (
            torch.bincount(side[side >= 0], minlength=number).double()
            for side in (self.query, self.gallery)
        )
        per_pair = self.num_negatives / float(queries.sum() * images.sum() - queries @ images)
        every = (times @ queries) * (times @ images) - (times * queries) @ (times * images)
        weights = drawings[self.query[nearest.row]] * drawings[self.gallery[nearest.column]]
        return weights, per_pair * float(every)


@full_precision()
def verify(
    query: Features,
    gallery: Features,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    max_false_match_rate: float = 0.01,
) -> Verification:
    """Measure how well one distance separates positive from negative pairs.

    An image and itself are not a pair: see ``evaluate`` on queries that are in the gallery.

    Args:
        query, gallery: the features of both sides.
        protocol: which pairs count; queries and gallery images of junk identities do not.
        distance: "cosine" or "euclidean".
        max_false_match_rate: the largest rate for which a threshold will be asked; three times
            this fraction of the negative pairs is kept.

    Raises:
        ValueError: there is no positive or no negative pair; bad input, as for ``evaluate``.
        TypeError: likewise.

    >>> query = Features(torch.tensor([[0.0], [9.0]]), ids=[1, 2])
    >>> gallery = Features(torch.tensor([[1.0], [6.0]]), ids=[1, 2])
    >>> result = verify(query, gallery, distance="euclidean", max_false_match_rate=0.5)
    >>> result.positive_distances.tolist(), result.tpr_at(0), result.equal_error_rate
    ([1.0, 3.0], 1.0, 0.0)
    """
    expect_number("verify", max_false_match_rate=max_false_match_rate)
    if not 0 < max_false_match_rate <= 1:
        raise ValueError(
            f"verify expects max_false_match_rate above 0 and at most 1, got {max_false_match_rate}"
        )
    matching = Matching("verify", protocol, query, gallery)
    scorer = Scorer("verify", query.values, gallery.values, distance)
    if not len(matching.valid_queries):
        raise ValueError(f"verify has no positive pair: {matching.report()}")
    positives = positive_distances(scorer, matching).sort().values.cpu()
    within, total = torch.zeros_like(positives, dtype=torch.long), 0
    kept = min(1.0, 3 * max_false_match_rate)
    most = int(kept * len(matching.countable_queries) * len(gallery)) + 10
    nearest = NearestNegatives(positives[:0], within[:0], within[:0])
    for rows, block in negative_blocks(scorer, matching):
        ordered = block.flatten().sort()
        count = int(ordered.values.isfinite().sum())
        total += count
        values = ordered.values[:count].cpu()
        within += torch.searchsorted(values, positives, right=True)
        place = ordered.indices[: min(count, most)]
        found = NearestNegatives(
            values[:most],
            rows[place.div(len(gallery), rounding_mode="floor")].cpu(),
            place.remainder(len(gallery)).cpu(),
        )
        nearest = nearest_of(nearest, found, most)
    if total == 0:
        raise ValueError("verify has no negative pair: every pair that counts is of one person")
    groups = _Groups(*matching.groups(), total)
    num_selves = matching.report().num_self_matches
    return Verification(positives, within, total, nearest, max_false_match_rate, num_selves, groups)
