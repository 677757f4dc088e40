import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import MARKET1501, Features, Protocol, verify


def random_side(num, size=4, whole=True):
    values = torch.randint(-2, 3, (num, size)).float() if whole else torch.randn(num, size)
    values[(values == 0).all(1)] = 1
    return Features(values, torch.randint(-1, 4, (num,)), torch.randint(0, 2, (num,)))


def naive_pairs(query, gallery, distance, distractors=()):
    positives, negatives = [], []
    for x, x_id, x_camera in zip(query.values.double(), query.ids, query.cameras, strict=True):
        for y, y_id, y_camera in zip(
            gallery.values.double(), gallery.ids, gallery.cameras, strict=True
        ):
            if -1 in (x_id, y_id) or x_id in distractors:
                continue
            away = (x - y).norm() if distance == "euclidean" else 1 - x @ y / x.norm() / y.norm()
            away = round(float(away), 6)
            if x_id != y_id:
                negatives.append(away)
            elif x_camera != y_camera:
                positives.append(away)
    return positives, negatives


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(seed=st.integers(0, 10_000))
def test_rates_are_those_of_all_pairs(distance, seed):
    torch.manual_seed(seed)
    query, gallery = random_side(6), random_side(20)
    positives, negatives = naive_pairs(query, gallery, distance, distractors=(0,))
    settings = {"protocol": MARKET1501, "distance": distance, "max_false_match_rate": 1.0}
    if not positives or not negatives:
        with pytest.raises(ValueError, match=r"no (positive|negative) pair"):
            verify(query, gallery, **settings)
        return
    found = verify(query, gallery, **settings)
    assert found.positive_distances.tolist() == pytest.approx(sorted(positives), abs=2e-6)
    assert found.num_negatives == len(negatives)
    assert found._nearest.distance.tolist() == pytest.approx(sorted(negatives), abs=2e-6)

    def rates(threshold):
        return (
            sum(d <= threshold + 1e-6 for d in negatives) / len(negatives),
            sum(d <= threshold + 1e-6 for d in positives) / len(positives),
        )

    every = [rates(t) for t in (-1.0, *positives, *negatives)]
    fpr, tpr = found.roc()
    for corner, t in zip(
        zip(fpr.tolist(), tpr.tolist(), strict=True), sorted(positives), strict=True
    ):
        assert corner == pytest.approx(rates(t))
    assert found.equal_error_rate == pytest.approx(min(max(f, 1 - t) for f, t in every))
    for wanted in (0.0, 0.1, 0.35, 1.0):
        best = max(t for f, t in every if f <= wanted)
        assert found.tpr_at(wanted) == pytest.approx(best)
    for wanted in (0.1, 0.5, 1.0):
        allowed = [d for d in negatives if rates(d)[0] <= wanted + 1e-12]
        if not allowed:
            with pytest.raises(ValueError, match=r"cannot reach a false-match rate"):
                found.threshold_at(wanted, resamples=1)
            continue
        threshold = found.threshold_at(wanted, resamples=1)
        greatest = min((d for d in negatives if d > max(allowed) + 1e-6), default=None)
        if greatest is None:  # all fit
            assert threshold.distance == pytest.approx(max(allowed), abs=2e-6)
            expected = rates(max(allowed))
        else:  # right below the next
            assert threshold.distance == pytest.approx(greatest, abs=2e-6)
            expected = rates(greatest - 4e-6)
            if wanted < 1:
                assert threshold.true_match_rate == pytest.approx(found.tpr_at(wanted))
        assert threshold.false_match_rate == pytest.approx(expected[0])
        assert threshold.true_match_rate == pytest.approx(expected[1])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(seed=st.integers(0, 10_000), size=st.integers(2, 20))
def test_a_copy_of_another_person_ties_with_the_right_one(distance, seed, size):
    torch.manual_seed(seed)
    image, other = torch.randn(2, 1, size)
    gallery = torch.cat([image, image, other, other])
    for ids, rate in (([1, 2, 3, 1], 0.0), ([3, 2, 2, 1], 0.0)):
        found = verify(
            Features(image, [1]), Features(gallery, ids), distance=distance, max_false_match_rate=1
        )
        assert found.tpr_at(rate) == 0


def test_resamples_of_one_identity_alone_are_drawn_again():
    torch.manual_seed(0)
    query = Features(torch.randn(2, 4), [0, 1])
    gallery = Features(torch.randn(200, 4), torch.arange(200) % 2)
    found = verify(query, gallery, max_false_match_rate=0.1).threshold_at(0.1)
    assert found.low <= found.distance <= found.high < 1.0


def test_blocks_give_what_one_gives(monkeypatch):
    query, gallery = random_side(20, whole=False), random_side(50, whole=False)
    whole = verify(query, gallery, max_false_match_rate=0.1)
    for name in ("_BLOCK_BYTES", "_LARGE_BLOCK_BYTES"):
        monkeypatch.setattr(f"reidblocks.evaluation.blocks.{name}", 2000)
    monkeypatch.setattr("reidblocks.evaluation.pairs._TILE", 7)
    parts = verify(query, gallery, max_false_match_rate=0.1)
    assert torch.equal(whole.negatives_within, parts.negatives_within)
    assert all(map(torch.equal, whole._nearest, parts._nearest))


def test_far_and_tight_features_keep_their_distances():
    values = 1e4 + 1e-3 * torch.randn(40, 8, dtype=torch.float64)
    ids = torch.arange(40) % 8
    side = Features(values, ids), Features(values.flip(0), ids.flip(0))
    found = verify(*side, distance="euclidean", max_false_match_rate=1.0)
    expected = torch.cdist(values, values.flip(0), compute_mode="donot_use_mm_for_euclid_dist")[
        ids[:, None] != ids.flip(0)
    ]
    distance = found._nearest.distance
    # The values are rounded to 10⁴ · 2⁻⁵³ each, and a distance to its own dtype.
    torch.testing.assert_close(
        distance.double(),
        expected.sort().values,
        rtol=2 * torch.finfo(distance.dtype).eps,
        atol=8 * 1e4 * 2**-52,
    )


def test_a_pair_in_the_same_sequence_is_no_negative_pair():
    query = Features(torch.tensor([[0.0]]), [1], sequences=[5])
    gallery = Features(torch.tensor([[1.0], [2.0], [3.0]]), [1, 2, 3], sequences=[6, 5, 7])
    rule = Protocol(exclude_same_sequence=True)
    found = verify(query, gallery, protocol=rule, distance="euclidean")
    assert found._nearest.distance.tolist() == [3.0]


def test_the_interval_holds_the_true_threshold_as_often_as_it_says():
    """Points on a line, one place for each person: pairs of two people share a place each."""
    generator = torch.Generator().manual_seed(8)

    def line(num_people):
        place = torch.randn(num_people, 1, generator=generator).repeat_interleave(4, 0)
        place = place + 0.01 * torch.randn(place.shape, generator=generator)
        ids = torch.arange(num_people).repeat_interleave(4)
        return Features(place, ids, torch.arange(len(ids)) % 4)

    true = 2**0.5 * 0.06271  # a normal number is within ±0.06271 with chance 0.05
    held = 0
    for seed in range(60):
        side = line(60)
        result = verify(side, side, distance="euclidean", max_false_match_rate=0.05)
        found = result.threshold_at(0.05, seed=seed, resamples=100)
        held += found.low <= true <= found.high
    assert 0.85 <= held / 60 <= 1


def test_the_same_seed_gives_the_same_interval():
    torch.manual_seed(0)
    query = Features(torch.randn(40, 4), torch.arange(40) % 20)
    found = verify(query, query, max_false_match_rate=0.2)
    assert found.threshold_at(0.2, seed=1) == found.threshold_at(0.2, seed=1)
    assert found.threshold_at(0.2, seed=1)[1:3] != found.threshold_at(0.2, seed=2)[1:3]
    assert not math.isnan(found.threshold_at(0.2).low)


def test_bad_input_is_refused_by_name():
    side, other = (Features(torch.eye(3), [1, 2, 3]) for _ in range(2))
    with pytest.raises(ValueError, match=r"max_false_match_rate above 0.*got 0"):
        verify(side, side, max_false_match_rate=0)
    with pytest.raises(ValueError, match=r"no positive pair.*3 of 3 queries dropped"):
        verify(side, Features(torch.eye(3), [4, 5, 6]))
    with pytest.raises(ValueError, match="no negative pair"):
        verify(side[[0]], side[[0]])
    found = verify(side, other, max_false_match_rate=0.5)
    with pytest.raises(ValueError, match=r"at most 0.5, got 0.6; give verify a larger"):
        found.threshold_at(0.6)
    with pytest.raises(ValueError, match="confidence between 0 and 1"):
        found.threshold_at(0.5, confidence=95)
    with pytest.raises(ValueError, match="fpr between 0 and 1, got 2"):
        found.tpr_at(2)
    with pytest.raises(ValueError, match=r"cannot reach a false-match rate of 0.1: .* 100 pairs"):
        found.threshold_at(0.1)
