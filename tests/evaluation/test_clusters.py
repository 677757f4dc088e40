"""Clusters, and how well they agree with identities, equal naive loops."""

import importlib
import math
import sys
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import (
    Features,
    KReciprocal,
    agglomerative_clusters,
    dbscan_clusters,
    evaluate_clusters,
    rerank,
)


def naive_metrics(clusters, ids):
    """B-cubed over images and pairwise over pairs, each compared one by one."""
    rows = [
        (cluster if cluster != -1 else ("alone", row), one)
        for row, (cluster, one) in enumerate(zip(clusters, ids, strict=True))
        if one != -1
    ]
    precisions, recalls = [], []
    for cluster, one in rows:
        together = sum(other == (cluster, one) for other in rows)
        precisions.append(together / sum(other[0] == cluster for other in rows))
        recalls.append(together / sum(other[1] == one for other in rows))
    pairs = list(combinations(rows, 2))
    found = [x for x in pairs if x[0][0] == x[1][0]]
    true = [x for x in pairs if x[0][1] == x[1][1]]
    right = [x for x in found if x[0][1] == x[1][1]]
    precision = len(right) / len(found) if found else 1
    recall = len(right) / len(true) if true else 1
    values = [math.fsum(precisions) / len(rows), math.fsum(recalls) / len(rows)]
    return [*values, f_of(*values), precision, recall, f_of(precision, recall)]


def f_of(precision, recall):
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


@given(
    labels=st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=14),
)
def test_metrics_equal_a_naive_loop(labels):
    clusters, ids = zip(*labels, strict=True)
    if set(ids) == {-1}:
        with pytest.raises(ValueError, match="an image of a known identity, got none"):
            evaluate_clusters(clusters, ids)
        return
    found = evaluate_clusters(clusters, torch.tensor(ids))
    assert list(found[:6]) == pytest.approx(naive_metrics(clusters, ids), abs=1e-12)
    assert found.num_identities == len({*ids} - {-1})


def test_metrics_worked_out_by_hand():
    """Clusters {a a b} and {b}: the two b are apart."""
    found = evaluate_clusters([0, 0, 0, 1], [5, 5, 6, 6])
    assert found.bcubed_precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4)
    assert found.bcubed_recall == pytest.approx((1 + 1 + 1 / 2 + 1 / 2) / 4)
    assert (found.pairwise_precision, found.pairwise_recall) == (1 / 3, 1 / 2)
    assert found.pairwise_f == pytest.approx(0.4)
    assert (found.num_clusters, found.num_identities) == (2, 2)


def test_images_in_no_cluster_are_alone():
    found = evaluate_clusters([-1, -1, -1], [5, 5, 6])
    assert (found.num_clusters, found.pairwise_precision, found.pairwise_recall) == (3, 1, 0)
    assert found.pairwise_f == 0
    assert evaluate_clusters([-1, -1], [1, 2])[3:6] == (1, 1, 1)  # no pair, none wrong


def test_what_is_no_label_is_refused():
    with pytest.raises(ValueError, match=r"clusters \(3,\), one for each"):
        evaluate_clusters([0, 1], [1, 2, 3])
    with pytest.raises(TypeError, match=r"clusters as whole numbers, got 0\.5"):
        evaluate_clusters([0.5, 1], [1, 2])
    with pytest.raises(TypeError, match="ids as whole numbers, got 3"):
        evaluate_clusters([0], 3)


def jaccard(values, k1, k2):
    """The distances as a matrix of float64, the same in both directions."""
    side = Features(values, torch.zeros(len(values)).long())
    away = rerank(side, side, KReciprocal(k1, k2, 0.0), distance="euclidean").double()
    return torch.minimum(away, away.T).fill_diagonal_(0).tolist()


def naive_dbscan(away, eps, min_samples):
    near = [[j for j, d in enumerate(row) if d <= eps] for row in away]
    labels = [-1] * len(away)
    for start, mates in enumerate(near):
        if labels[start] != -1 or len(mates) < min_samples:
            continue
        number, open_rows = max(labels) + 1, [start]
        labels[start] = number
        while open_rows:
            row = open_rows.pop()
            if len(near[row]) < min_samples:
                continue
            for j in near[row]:
                if labels[j] == -1:
                    labels[j] = number
                    open_rows.append(j)
    return labels


def naive_linkage(away, threshold, number):
    clusters = [[row] for row in range(len(away))]
    while len(clusters) > (number or 1):
        best = min(
            (sum(away[i][j] for i in x for j in y) / (len(x) * len(y)), a, b)
            for (a, x), (b, y) in combinations(enumerate(clusters), 2)
        )
        if threshold is not None and best[0] >= threshold:
            break
        clusters[best[1]] += clusters.pop(best[2])
    return clusters


def numbered(labels):
    numbers = {-1: -1}
    return [numbers.setdefault(label, len(numbers) - 1) for label in labels]


def blobs(seed, people=4, images=5, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    middles = torch.randn(people, 6, generator=generator)
    noise = torch.randn(people * images, 6, generator=generator)
    values = middles.repeat_interleave(images, 0) + spread * noise
    return values[torch.randperm(len(values), generator=generator)]


@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.3, 1.0]),
    eps=st.sampled_from([0.2, 0.5, 0.9]),
    min_samples=st.integers(1, 5),
)
def test_dbscan_equals_a_naive_loop(seed, spread, eps, min_samples):
    values = blobs(seed, spread=spread)
    away = jaccard(values, 6, 3)
    if any(abs(d - eps) < 1e-6 for row in away for d in row):
        return  # float32's rounding decides
    found = dbscan_clusters(
        values, eps=eps, min_samples=min_samples, k1=6, k2=3, distance="euclidean"
    )
    expected = naive_dbscan(away, eps, min_samples)
    # an image between two clusters may be in either
    sure = [i for i, row in enumerate(away) if sum(d <= eps for d in row) >= min_samples]
    assert numbered([found[i].item() for i in sure]) == numbered([expected[i] for i in sure])
    assert [label == -1 for label in found.tolist()] == [label == -1 for label in expected]
    assert numbered(found.tolist()) == found.tolist()


@given(seed=st.integers(0, 1000), number=st.integers(1, 12))
def test_average_linkage_equals_a_naive_loop(seed, number):
    values = blobs(seed, people=3, images=4, spread=0.5)
    away = jaccard(values, 4, 2)
    expected = naive_linkage(away, None, number)
    settings = {"k1": 4, "k2": 2, "distance": "euclidean"}
    found = agglomerative_clusters(values, num_clusters=number, **settings).tolist()
    assert len(set(found)) == number
    assert numbered(found) == found
    heights = merge_heights(away)
    if number < 12 and heights[11 - number] < heights[12 - number] - 1e-6:  # no tie there
        assert {frozenset(cluster) for cluster in expected} == groups(found)
        middle = (heights[11 - number] + min(heights[12 - number], 1.5)) / 2
        cut = agglomerative_clusters(values, distance_threshold=middle, **settings).tolist()
        assert groups(cut) == groups(found)


def merge_heights(away):
    """At which distance the naive loop joins two clusters, join by join, and then none."""
    heights, clusters = [], [[row] for row in range(len(away))]
    while len(clusters) > 1:
        best = min(
            (sum(away[i][j] for i in x for j in y) / (len(x) * len(y)), a, b)
            for (a, x), (b, y) in combinations(enumerate(clusters), 2)
        )
        heights.append(best[0])
        clusters[best[1]] += clusters.pop(best[2])
    return [*heights, math.inf]


def groups(labels):
    return {frozenset(i for i, x in enumerate(labels) if x == label) for label in set(labels)}


def test_clusters_of_well_separated_people_are_the_people():
    ids = torch.arange(60) % 6
    middles = torch.eye(6)
    values = middles[ids] + 0.05 * torch.randn(60, 6)
    for found in (
        dbscan_clusters(values, k1=8, k2=3),
        agglomerative_clusters(values, num_clusters=6, k1=8, k2=3),
        agglomerative_clusters(values, distance_threshold=0.9, k1=8, k2=3),
    ):
        assert found.dtype == torch.long
        assert found.tolist() == ids.tolist()  # numbered by first image
        assert evaluate_clusters(found, ids)[:6] == (1,) * 6


def test_few_images_and_no_gradient():
    one = torch.randn(1, 4, requires_grad=True)
    assert dbscan_clusters(one).tolist() == [-1]
    assert dbscan_clusters(one, min_samples=1).tolist() == [0]
    assert agglomerative_clusters(one, num_clusters=1).tolist() == [0]
    same = torch.ones(5, 4)
    assert dbscan_clusters(same).tolist() == [0] * 5
    assert agglomerative_clusters(same, distance_threshold=0.5).tolist() == [0] * 5


X = torch.randn(6, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f(Features(X, range(6))), TypeError, "a tensor, got Features; give features.v"),
        (lambda f: f(X[0]), ValueError, r"embeddings \(N, D\)"),
        (
            lambda f: f(X.long()),
            TypeError,
            r"floating-point embeddings of 16 bits or more, got torch.int64; give",
        ),
        (lambda f: f(X * math.nan), ValueError, "finite"),
        (lambda f: f(X[:0]), ValueError, "at least one row"),
        (lambda f: f(X, k1=0), ValueError, "k1 of at least 1, got 0"),
    ],
)
def test_bad_embeddings_are_refused_by_name(call, error, message):
    for function in (
        dbscan_clusters,
        lambda *x, **more: agglomerative_clusters(*x, num_clusters=1, **more),
    ):
        with pytest.raises(error, match=message):
            call(function)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dbscan_clusters(X, eps=1), ValueError, "eps above 0 and below 1, the .*, got 1"),
        (lambda: dbscan_clusters(X, eps="0.5"), TypeError, "eps as a number, got '0.5'"),
        (lambda: dbscan_clusters(X, min_samples=0), ValueError, "min_samples of at least 1"),
        (lambda: agglomerative_clusters(X), ValueError, "and num_clusters, got neither"),
        (
            lambda: agglomerative_clusters(X, num_clusters=2, distance_threshold=0.5),
            ValueError,
            "and num_clusters, got both",
        ),
        (lambda: agglomerative_clusters(X, num_clusters=7), ValueError, "at most 6 clusters"),
        (lambda: agglomerative_clusters(X, num_clusters=1.5), TypeError, "as a whole number"),
        (
            lambda: agglomerative_clusters(X, distance_threshold=-1),
            ValueError,
            "distance_threshold from 0 on, got -1",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for function in (dbscan_clusters, agglomerative_clusters):
        message = rf"{function.__name__} needs scikit-learn: pip install 'reidblocks\[clustering\]"
        with pytest.raises(ImportError, match=message):
            function(X)
    assert importlib.import_module("reidblocks.evaluation")
