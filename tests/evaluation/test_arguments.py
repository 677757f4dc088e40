"""What is no Features, Protocol, KReciprocal, Evaluation or whole number is refused by name."""

import numpy as np
import pytest
import torch

from reidblocks.evaluation import (
    Features,
    KReciprocal,
    compare,
    confidence_intervals,
    evaluate,
    expand_queries,
    rerank,
    top_matches,
    verify,
)

VALUES = torch.tensor([[1.0, 0.0, 0.1], [0.0, 1.0, 0.3], [0.5, 0.0, 1.0]])
QUERY = Features(VALUES, [0, 1, 2])
GALLERY = Features(VALUES + 0.1, [0, 1, 2])
SIDES = [evaluate, expand_queries, rerank, top_matches, verify]


@pytest.mark.parametrize("function", SIDES, ids=lambda function: function.__name__)
def test_sides_are_features_on_one_device(function):
    name = function.__name__
    with pytest.raises(TypeError, match=rf"{name} expects query as Features, got Tensor; give F"):
        function(QUERY.values, GALLERY)
    with pytest.raises(TypeError, match=f"{name} expects gallery as Features, got ndarray"):
        function(QUERY, np.eye(3))
    with pytest.raises(ValueError, match=f"{name} expects query .* one device, got cpu and meta"):
        function(QUERY, GALLERY.to("meta"))


@pytest.mark.parametrize("function", [evaluate, top_matches, verify])
@pytest.mark.parametrize("given", ["market", None, dict])
def test_a_protocol_is_a_protocol(function, given):
    with pytest.raises(TypeError, match=r"as a Protocol, such as Protocol\(\), MARKET1501"):
        function(QUERY, GALLERY, protocol=given)


@pytest.mark.parametrize("given", [True, "k-reciprocal", KReciprocal])
def test_reranking_is_its_settings(given):
    for function in (evaluate, top_matches):
        message = f"{function.__name__} expects reranking as KReciprocal\\(\\) or None, got"
        with pytest.raises(TypeError, match=message):
            function(QUERY, GALLERY, reranking=given)
    with pytest.raises(TypeError, match="rerank expects reranking as KReciprocal"):
        rerank(QUERY, GALLERY, given)
    with pytest.raises(TypeError, match="rerank expects how as KReciprocal"):
        rerank(QUERY, GALLERY, None)


def calls(number):
    result = evaluate(QUERY, GALLERY)
    pairs = verify(QUERY, GALLERY, max_false_match_rate=0.5)
    return {
        "evaluate expects max_rank": lambda: evaluate(QUERY, GALLERY, max_rank=number),
        "top_matches expects k": lambda: top_matches(QUERY, GALLERY, number),
        "expand_queries expects k": lambda: expand_queries(QUERY, GALLERY, number),
        "KReciprocal expects k1": lambda: KReciprocal(number),
        "KReciprocal expects k2": lambda: KReciprocal(k2=number),
        "confidence_intervals expects resamples": lambda: confidence_intervals(
            result, resamples=number
        ),
        "compare expects resamples": lambda: compare(result, result, resamples=number),
        "threshold_at expects resamples": lambda: pairs.threshold_at(0.5, resamples=number),
        "rank expects k": lambda: result.rank(number),
        "worst expects k": lambda: result.worst(number),
        "matched_within expects k": lambda: result.matched_within(number),
    }


@pytest.mark.parametrize("name", calls(1))
def test_numbers_of_things_are_whole(name):
    for number in (10.0, "10", None, True):
        with pytest.raises(TypeError, match=f"{name} as a whole number, got {number!r}"):
            calls(number)[name]()
    calls(np.int64(1))[name]()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expand_queries(QUERY, GALLERY, alpha="1"), "alpha as a number, got '1'"),
        (lambda: KReciprocal(lambda_value=None), "lambda_value as a number, got None"),
        (lambda: verify(QUERY, GALLERY, max_false_match_rate="1%"), "max_false_match_rate as a n"),
        (
            lambda: confidence_intervals(evaluate(QUERY, GALLERY), confidence="95%"),
            "confidence as a number, got '95%'",
        ),
        (lambda: confidence_intervals({"mAP": 1}), "evaluation as an Evaluation, which evaluate r"),
        (lambda: compare(evaluate(QUERY, GALLERY), 0.5), "second as an Evaluation.*got float"),
        (lambda: verify(QUERY, GALLERY).tpr_at("1%"), "fpr as a number, got '1%'"),
        (lambda: verify(QUERY, GALLERY).threshold_at(None), "false_match_rate as a number, got N"),
    ],
)
def test_other_arguments_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_results_of_the_same_contents_are_equal():
    side = Features(torch.randn(9, 4), torch.arange(9) % 4)
    ids = torch.tensor([9, *range(8)]) % 5  # the first is dropped: NaN
    query = Features(torch.randn(9, 4), ids)
    for function in (evaluate, verify):
        assert function(query, side) == function(query, side)
        assert function(query, side) != function(query[range(8)], side)
        assert function(query, side) != "another"
