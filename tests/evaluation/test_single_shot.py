import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import (
    CUHK03_SINGLE_SHOT,
    Features,
    Protocol,
    compare,
    confidence_intervals,
    evaluate,
)


def every_draw(ids):
    """All the ways to draw one image of each identity, as index lists."""
    groups = [[j for j, other in enumerate(ids) if other == one] for one in sorted(set(ids))]
    return itertools.product(*groups)


def naive_single_shot(query, gallery, ranking, max_rank):
    """Mean over all draws, each of the images that are left to the query."""
    each = []
    for x, x_id, camera in zip(
        query.values.tolist(), query.ids.tolist(), query.cameras.tolist(), strict=True
    ):
        order = ranking(x, gallery.values.tolist(), "cosine")
        left = [
            j
            for j in order
            if gallery.ids[j] != -1 and (gallery.ids[j] != x_id or gallery.cameras[j] != camera)
        ]
        ids = [int(gallery.ids[j]) for j in left]
        if x_id == -1 or x_id not in ids:
            each.append(None)
            continue
        ranks = []
        for draw in every_draw(ids):
            kept = [ids[place] for place in sorted(draw)]
            ranks.append(kept.index(x_id) + 1)
        mean = sum(1 / rank for rank in ranks) / len(ranks)
        within = [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, max_rank + 1)]
        each.append((mean, sum(ranks) / len(ranks), within))
    return each


@given(seed=st.integers(0, 10_000))
def test_equals_the_mean_over_all_draws(ranking, seed):
    torch.manual_seed(seed)
    values = torch.randint(-2, 3, (15, 2)).float()
    values[(values == 0).all(1)] = 1
    ids, cameras = torch.randint(-1, 5, (15,)), torch.randint(0, 2, (15,))
    query = Features(values[:3], ids[:3], cameras[:3])
    gallery = Features(values[3:], ids[3:], cameras[3:])
    expected = naive_single_shot(query, gallery, ranking, max_rank=4)
    if not any(expected):
        with pytest.raises(ValueError, match="3 of 3 queries dropped"):
            evaluate(query, gallery, protocol=CUHK03_SINGLE_SHOT)
        return
    found = evaluate(query, gallery, protocol=CUHK03_SINGLE_SHOT, max_rank=4)
    for i, values in enumerate(expected):
        if values is None:
            assert math.isnan(found.average_precision[i])
        else:
            assert float(found.average_precision[i]) == pytest.approx(values[0])
            assert float(found.first_match_rank[i]) == pytest.approx(values[1])
            assert found.matched[i].tolist() == pytest.approx(values[2])
    kept = [values for values in expected if values]
    assert found.num_valid_queries == len(kept)
    assert found.mAP == pytest.approx(sum(v[0] for v in kept) / len(kept))
    for k in range(1, 5):
        assert found.rank(k) == pytest.approx(sum(v[2][k - 1] for v in kept) / len(kept))


def test_many_identities_equal_the_multi_shot_figures_of_a_single_shot_gallery():
    """One image of each identity: nothing is left to chance."""
    query = Features(torch.randn(5, 8), torch.arange(5))
    gallery = Features(torch.randn(700, 8), torch.arange(700))
    expected, found = (
        evaluate(query, gallery, protocol=protocol, max_rank=700)
        for protocol in (Protocol(), CUHK03_SINGLE_SHOT)
    )
    torch.testing.assert_close(found.average_precision, expected.average_precision)
    torch.testing.assert_close(found.first_match_rank, expected.first_match_rank)
    torch.testing.assert_close(found.cmc, expected.cmc)


def test_intervals_take_the_chances():
    query = Features(torch.randn(9, 4), torch.arange(9) % 3)
    gallery = Features(torch.randn(30, 4), torch.arange(30) % 3)
    found = evaluate(query, gallery, protocol=CUHK03_SINGLE_SHOT)
    intervals = confidence_intervals(found, resamples=50)
    assert intervals["rank-1"].value == pytest.approx(found.rank(1))
    assert 0 < intervals["rank-1"].value < 1
    assert intervals["rank-10"].value == pytest.approx(found.rank(10))


def test_ranks_beyond_max_rank_are_not_made_up():
    query = Features(torch.randn(9, 4), torch.arange(9) % 3)
    gallery = Features(torch.randn(60, 4), torch.arange(60) % 12)
    short, long = (
        evaluate(query, gallery, protocol=CUHK03_SINGLE_SHOT, max_rank=k) for k in (7, 50)
    )
    for k in (0, 8):
        with pytest.raises(ValueError, match=f"k between 1 and max_rank=7 .*, got {k}"):
            short.matched_within(k)
    known = ["mAP", "mINP", "rank-1", "rank-5"]
    assert list(confidence_intervals(short)) == known
    for pair in ((short, long), (long, short)):
        assert list(compare(*pair)) == known
    multi = evaluate(query, gallery, max_rank=7)  # here each query's own rank is known
    assert confidence_intervals(multi)["rank-10"].value == evaluate(query, gallery).rank(10)
