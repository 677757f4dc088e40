import pytest
import torch

from reidblocks.evaluation import Evaluation, compare, confidence_intervals
from reidblocks.evaluation.report import DropReport


def evaluation(precision, ids, matched=None):
    precision = torch.as_tensor(precision, dtype=torch.float64)
    rank = torch.where(precision >= 0.5, 1.0, 7.0)
    return Evaluation(
        average_precision=precision,
        inverse_negative_penalty=precision / 2,
        first_match_rank=rank,
        matched=matched,
        cmc=torch.ones(10) if matched is None else matched.mean(0),
        query_ids=torch.as_tensor(ids),
        report=DropReport(len(ids), ()),
    )


def identities(num, generator, per_identity=5):
    """Queries of one identity share their luck: the mean of all is 0.5."""
    luck = torch.rand(num, generator=generator, dtype=torch.float64)
    return luck.repeat_interleave(per_identity), torch.arange(num).repeat_interleave(per_identity)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    generator = torch.Generator().manual_seed(3)
    held = single = 0
    for seed in range(150):
        values, ids = identities(40, generator)
        interval = confidence_intervals(evaluation(values, ids), resamples=300, seed=seed)["mAP"]
        held += interval.low <= 0.5 <= interval.high
        alone = evaluation(values, torch.arange(len(ids)))  # as if each query stood for itself
        interval = confidence_intervals(alone, resamples=300, seed=seed)["mAP"]
        single += interval.low <= 0.5 <= interval.high
    assert 0.88 <= held / 150 <= 0.99
    assert single / 150 < 0.8  # why identities are drawn and not queries


def test_equal_queries_have_an_interval_of_no_width():
    found = confidence_intervals(evaluation([0.25] * 12, torch.arange(12) // 3))
    assert found["mAP"] == pytest.approx((0.25, 0.25, 0.25))
    assert found["mINP"] == pytest.approx((0.125, 0.125, 0.125))
    assert found["rank-1"] == (0, 0, 0)
    assert found["rank-10"] == (1, 1, 1)


def test_two_identities_by_hand():
    """The resamples are 0 and 0 (mean 0), 0 and 1 (both orders), 1 and 1."""
    both = evaluation([0.0, 1.0, 1.0, 1.0], [0, 1, 1, 1])
    found = confidence_intervals(both, confidence=0.4, resamples=4000)["mAP"]
    assert found == pytest.approx((0.75, 0.75, 0.75))
    found = confidence_intervals(both, confidence=0.9, resamples=4000)["mAP"]
    assert found == pytest.approx((0.75, 0.0, 1.0))


def test_dropped_queries_count_for_nothing():
    values = [0.2, 0.4, 0.6]
    kept = confidence_intervals(evaluation(values, [1, 2, 3]))
    more = evaluation([0.2, torch.nan, 0.4, 0.6], [1, 9, 2, 3])
    assert confidence_intervals(more) == kept


def test_the_same_seed_gives_the_same_interval():
    values, ids = identities(10, torch.Generator().manual_seed(0))
    one = evaluation(values, ids)
    assert confidence_intervals(one, seed=4) == confidence_intervals(one, seed=4)
    assert confidence_intervals(one, seed=4) != confidence_intervals(one, seed=5)


def test_a_small_gain_on_every_identity_is_told_from_chance():
    """The two overlap widely when each is looked at alone; paired they do not."""
    values, ids = identities(30, torch.Generator().manual_seed(1))
    first, second = evaluation(values * 0.9, ids), evaluation(values * 0.9 + 0.01, ids)
    alone = confidence_intervals(first)["mAP"], confidence_intervals(second)["mAP"]
    assert alone[0].high > alone[1].low
    found = compare(first, second)["mAP"]
    assert found.value == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01)
    assert found.p_value < 0.001


def test_chance_gives_p_values_without_favor():
    generator = torch.Generator().manual_seed(2)
    p_values = []
    for seed in range(100):
        values, ids = identities(25, generator)
        other = identities(25, generator)[0]
        found = compare(evaluation(values, ids), evaluation(other, ids), resamples=200, seed=seed)
        p_values.append(found["mAP"].p_value)
    assert sum(p < 0.1 for p in p_values) <= 20
    assert 0.35 < sum(p_values) / 100 < 0.65


def test_swapping_the_models_turns_the_sign():
    values, ids = identities(12, torch.Generator().manual_seed(5))
    other = identities(12, torch.Generator().manual_seed(6))[0]
    models = evaluation(values, ids), evaluation(other, ids)
    there, back = compare(*models)["mAP"], compare(*reversed(models))["mAP"]
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value


def test_bad_input_is_refused_by_name():
    one = evaluation([0.5, 0.5], [1, 2])
    with pytest.raises(ValueError, match="confidence between 0 and 1, got 95"):
        confidence_intervals(one, confidence=95)
    with pytest.raises(ValueError, match="resamples of at least 1, got 0"):
        compare(one, one, resamples=0)
    with pytest.raises(ValueError, match="the same queries"):
        compare(one, evaluation([0.5, 0.5], [1, 3]))
    with pytest.raises(ValueError, match="the same queries"):
        compare(one, evaluation([torch.nan, 0.5], [1, 2]))
    single_shot = evaluation([0.5, 0.5], [1, 2], torch.ones(2, 10).double())
    for pair in ((one, single_shot), (single_shot, one)):
        with pytest.raises(ValueError, match="by the same protocol, got a single-shot one"):
            compare(*pair)


def test_queries_of_one_identity_have_no_interval():
    one = evaluation([0.2, 0.4, torch.nan], [3, 3, 4])
    with pytest.raises(ValueError, match="at least two identities, got 2 of one"):
        confidence_intervals(one)
    with pytest.raises(ValueError, match=r"compare expects .* two identities, got 2 of one"):
        compare(one, one)
