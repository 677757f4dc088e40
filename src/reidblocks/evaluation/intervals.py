"""How sure the metrics are: bootstrap over identities, and two models on the same queries."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks._checks import expect_number, expect_whole
from reidblocks.evaluation.metrics import Evaluation


class Interval(NamedTuple):
    """A metric with the ends of its confidence interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much better the second model is, with the ends of an interval and a p-value."""

    value: float
    low: float
    high: float
    p_value: float


def confidence_intervals(
    evaluation: Evaluation, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap mAP, mINP and rank-1, 5, 10 over the identities of the queries.

    Queries of one identity succeed and fail together: identities are drawn with replacement, each
    with all its queries, not single queries. The interval is between percentiles of the resamples.
    For a single-shot protocol, ranks beyond its max_rank are omitted.

    Args:
        evaluation: what evaluate returned.
        confidence: fraction of such intervals that would contain the true value.
        resamples: how often identities are drawn.
        seed: the same seed gives the same interval.

    Returns:
        For each metric its ``value``, and ``low`` and ``high``, the ends of its interval.

    Raises:
        ValueError: confidence is not between 0 and 1; resamples is below 1; the valid queries are
            all of one identity, which says nothing of how the metrics vary.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
    """
    resamples = _check("confidence_intervals", confidence, resamples, seed, evaluation=evaluation)
    names, (values,) = _metrics(evaluation)
    ids = evaluation.query_ids[evaluation.valid]
    sums, counts = _by_identity("confidence_intervals", values, ids)
    means = _resampled_means(sums, counts, resamples, seed)
    low, high = _percentiles(means, confidence)
    return {
        name: Interval(*ends)
        for name, *ends in zip(names, values.mean(0).tolist(), low, high, strict=True)
    }


def compare(
    first: Evaluation,
    second: Evaluation,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Test whether the second of two models is better, paired over the same queries.

    The interval of each difference is bootstrapped over identities. The p-value is that of a
    permutation test: if the models were equal, the sign of each identity's difference would be
    random. It is the fraction of random signs that give a difference at least as large.

    Equal protocols are checked as far as possible: both dropped the same queries, both are
    single-shot or neither is, and as many queries were in the gallery themselves. It is not checked
    whether the galleries and the excluded images were the same.

    Args:
        first, second: evaluations of the same queries by the same protocol.
        confidence, resamples, seed: as in ``confidence_intervals``.

    Returns:
        For each metric the ``value`` of second − first, ``low`` and ``high``, the ends of its
        interval, and the ``p_value``.

    Raises:
        ValueError: the queries or, as far as can be told, the protocols differ; otherwise as
            ``confidence_intervals``.
        TypeError: one is no ``Evaluation``.
    """
    resamples = _check("compare", confidence, resamples, seed, first=first, second=second)
    same = torch.equal(first.query_ids, second.query_ids)
    selves = first.report.num_self_matches, second.report.num_self_matches
    if same and selves[0] != selves[1]:
        raise ValueError(
            "compare expects two evaluations that excluded the same queries from their own "
            f"rankings, got {selves[0]} and {selves[1]} that are in the gallery themselves; give "
            "Features paths for both, or for neither"
        )
    if not same or not torch.equal(first.valid, second.valid):
        raise ValueError("compare expects two evaluations of the same queries, in the same order")
    if (first.matched is None) != (second.matched is None):
        raise ValueError(
            "compare expects two evaluations by the same protocol, got a single-shot one, of "
            "expected ranks, and one of whole ranks; evaluate both features by one protocol"
        )
    names, (before, after) = _metrics(first, second)
    values = after - before
    sums, counts = _by_identity("compare", values, first.query_ids[first.valid])
    low, high = _percentiles(_resampled_means(sums, counts, resamples, seed), confidence)
    signs = _drawn(2, resamples, sums, seed).double() * 2 - 1
    by_chance = (signs @ sums).abs() >= sums.sum(0).abs() * (1 - 1e-9)
    p_values = (1 + by_chance.sum(0)).double() / (1 + resamples)
    return {
        name: Difference(*ends)
        for name, *ends in zip(
            names, values.mean(0).tolist(), low, high, p_values.tolist(), strict=True
        )
    }


def _metrics(*evaluations: Evaluation) -> tuple[list[str], list[Tensor]]:
    """Return the metrics' names, and the values (V, M) of each evaluation's valid queries."""
    known = min((len(each.cmc) for each in evaluations if each.matched is not None), default=10)
    ranks = [k for k in (1, 5, 10) if k <= known]
    metrics = []
    for each in evaluations:
        columns = [each.average_precision[each.valid], each.inverse_negative_penalty[each.valid]]
        columns += [each.matched_within(k) for k in ranks]
        metrics.append(torch.stack(columns, dim=1))
    return ["mAP", "mINP", *(f"rank-{k}" for k in ranks)], metrics


def _by_identity(caller: str, values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the queries' values (I, M), and count the queries (I,), for each identity."""
    _, group, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise ValueError(
            f"{caller} expects valid queries of at least two identities, got {len(ids)} of one; "
            "an interval over identities needs more people"
        )
    sums = values.new_zeros(len(counts), values.shape[1]).index_add(0, group, values)
    return sums, counts.double()


def _resampled_means(sums: Tensor, counts: Tensor, resamples: int, seed: int) -> Tensor:
    drawn = _drawn(len(sums), resamples, sums, seed)
    times = torch.zeros_like(drawn, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(times))
    return (times @ sums) / (times @ counts)[:, None]


def _drawn(below: int, resamples: int, sums: Tensor, seed: int) -> Tensor:
    """Draw integers (resamples, I), the same for a seed whatever the device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    size = resamples, len(sums)
    return torch.randint(below, size, generator=generator, device="cpu").to(sums.device)


def _percentiles(means: Tensor, confidence: float) -> tuple[list[float], list[float]]:
    ends = means.new_tensor([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = torch.quantile(means, ends, dim=0).tolist()
    return low, high


def _check(
    caller: str, confidence: float, resamples: int, seed: int, **evaluations: Evaluation
) -> int:
    for name, given in evaluations.items():
        if not isinstance(given, Evaluation):
            raise TypeError(
                f"{caller} expects {name} as an Evaluation, which evaluate returns, got "
                f"{type(given).__name__}"
            )
    expect_number(caller, confidence=confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"{caller} expects confidence between 0 and 1, got {confidence}")
    expect_whole(caller, "seed", seed, None)
    return expect_whole(caller, "resamples", resamples)
