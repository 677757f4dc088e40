"""Circle loss against loops written from Eq. 5 in float64, and where single precision is tried."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loops import naive_circle
from torch import Tensor

from reidblocks.losses import (
    CircleLoss,
    circle_loss,
    circle_loss_from_similarities,
    cosine_similarity_matrix,
    pair_masks,
)
from reidblocks.testing import check_loss, embeddings_and_labels

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])


def expect_naive(embeddings, labels, tolerance=1e-5, others=None, other_labels=None, **options):
    """Compare value and gradients, each way of reduction and of computing it."""
    sets = [embeddings] if others is None else [embeddings, others]
    exact_sets = [each.double().requires_grad_() for each in sets]
    losses, counted = naive_circle(
        exact_sets[0],
        labels,
        others=None if others is None else exact_sets[1],
        other_labels=other_labels,
        **options,
    )
    mean = losses.sum() / max(sum(counted), 1)
    exact_gradients = torch.autograd.grad(mean, exact_sets)
    for way in ("mean", "matrix", "none", "chunks"):
        inputs = [each.clone().requires_grad_() for each in sets]
        if way == "matrix":
            matrix = cosine_similarity_matrix(*inputs)
            loss = circle_loss_from_similarities(
                matrix, *pair_masks(labels, other_labels), **options
            )
        else:
            how = {"chunk_size": 3} if way == "chunks" else {"reduction": way}
            if others is not None:
                how |= {"other_embeddings": inputs[1], "other_labels": other_labels}
            loss = circle_loss(inputs[0], labels, **how, **options)
        if way == "none":
            torch.testing.assert_close(
                loss.double(), losses.detach(), rtol=tolerance, atol=tolerance
            )
            loss = loss.sum() / max(sum(counted), 1)
        torch.testing.assert_close(loss.double(), mean.detach(), rtol=tolerance, atol=tolerance)
        for ours, exact in zip(torch.autograd.grad(loss, inputs), exact_gradients, strict=True):
            assert ours.isfinite().all()
            # in half precision the gradient is rounded to it, and that is all; where it vanishes
            # (all on a line), what is left is the rounding of D products with slopes that add up
            # to at most 2γ(2 + m), over the length
            rounding = 10 * tolerance + torch.finfo(ours.dtype).eps
            allowed = rounding * exact.abs().max().item() + torch.finfo(ours.dtype).tiny
            lengths = torch.cat(sets).double().norm(dim=1)
            if lengths.any():
                slopes = 2 * options.get("gamma", 64.0) * (2 + options.get("margin", 0.35))
                products = inputs[0].shape[-1] * torch.finfo(torch.float32).eps
                allowed += slopes * products / lengths[lengths > 0].min().item()
            torch.testing.assert_close(ours.double(), exact, rtol=0, atol=allowed)


def test_a_value_worked_out_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    # m = 0.25, γ = 2. Anchor 0: s_p = 0.6, α_p = 0.65, s_n = 0, α_n = 0.25
    first = 2 * 0.25 * (0 - 0.25) - 2 * 0.65 * (0.6 - 0.75)
    # anchor 1: s_p = 0.6 again, s_n = 0.8, α_n = 1.05; anchor 2 has no positive
    second = 2 * 1.05 * (0.8 - 0.25) - 2 * 0.65 * (0.6 - 0.75)
    expected = [math.log(1 + math.exp(first)), math.log(1 + math.exp(second)), 0.0]
    losses = circle_loss(
        embeddings, torch.tensor([4, 4, 9]), margin=0.25, gamma=2.0, reduction="none"
    )
    torch.testing.assert_close(losses, torch.tensor(expected))
    for reduction, value in (("mean", sum(expected) / 2), ("sum", sum(expected))):
        loss = CircleLoss(0.25, 2.0, reduction)(embeddings, torch.tensor([4, 4, 9]))
        torch.testing.assert_close(loss, torch.tensor(value))


@given(embeddings_and_labels(), st.sampled_from([1.0, 64.0, 512.0]), st.floats(0.0, 0.6))
def test_is_the_loop_of_the_equation(batch, gamma, margin):
    # float32 holds a cosine to 1e-7, and γ with two factors of up to 2 enlarges that
    expect_naive(*batch, tolerance=1e-5 + 1e-6 * gamma, gamma=gamma, margin=margin)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [64.0, 512.0])
@pytest.mark.parametrize("spread", [0.02, 1.0, 100.0])
def test_every_precision_is_accurate_at_large_gamma(dtype, gamma, spread):
    centers = torch.randn(4, 16)[LABELS]
    embeddings = (centers + spread * torch.randn(8, 16)).to(dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 3e-6 * gamma
    expect_naive(embeddings, LABELS, tolerance=tolerance, gamma=gamma)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_second_set_is_compared_with_pair_by_pair(dtype):
    embeddings, others = torch.randn(5, 8, dtype=dtype), torch.randn(7, 8, dtype=dtype)
    labels, other_labels = torch.tensor([0, 0, 1, 2, 9]), torch.tensor([0, 1, 1, 2, 3, 3, 0])
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    expect_naive(embeddings, labels, tolerance, others, other_labels)


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_a_second_set_may_have_another_precision(dtypes):
    anchors, others = (
        torch.randn(8, 6, generator=torch.Generator().manual_seed(n)) for n in (0, 1)
    )
    second = {"other_embeddings": others.to(dtypes[1]), "other_labels": LABELS}
    loss = circle_loss(anchors.to(dtypes[0]), LABELS, **second)
    same = circle_loss(anchors, LABELS, other_embeddings=others, other_labels=LABELS)
    assert loss.dtype == dtypes[0]
    torch.testing.assert_close(loss.float(), same)


def test_the_embeddings_as_second_set_are_the_first_and_a_copy_is_not():
    embeddings, labels = torch.randn(8, 4), LABELS
    alone = circle_loss(embeddings, labels)
    same = circle_loss(embeddings, labels, other_embeddings=embeddings, other_labels=labels)
    copy = circle_loss(embeddings, labels, other_embeddings=embeddings.clone(), other_labels=labels)
    assert torch.equal(same, alone)
    assert not torch.isclose(copy, alone)  # each anchor has its copy for a positive


@pytest.mark.parametrize("loss", [CircleLoss(), CircleLoss(gamma=512.0, reduction="sum")])
def test_keeps_the_contract(loss):
    embeddings = torch.randn(12, 16)
    check_loss(loss, embeddings, torch.arange(12) // 3, exact_gradient=False)  # α is constant


def test_each_anchor_keeps_the_contract():
    def each(embeddings: Tensor, labels: Tensor) -> Tensor:
        return circle_loss(embeddings, labels, reduction="none").sum()

    check_loss(each, torch.randn(12, 16), torch.arange(12) // 3, exact_gradient=False)


def test_a_second_set_compiles():
    embeddings, others = torch.randn(6, 8), torch.randn(5, 8)
    labels, other_labels = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 2, 2, 0])
    second = {"other_embeddings": others, "other_labels": other_labels}
    compiled = torch.compile(circle_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(embeddings, labels, **second), circle_loss(embeddings, labels, **second)
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_leading_dimensions_are_features_of_one_batch(reduction):
    embeddings, others = torch.randn(2, 3, 8, 5), torch.randn(2, 3, 4, 5)
    other_labels = torch.tensor([0, 1, 1, 7])
    for second in ({}, {"other_embeddings": others, "other_labels": other_labels}):
        found = circle_loss(embeddings, LABELS, reduction=reduction, **second)
        for i in range(2):
            for j in range(3):
                one = {"other_embeddings": others[i, j]} if second else {}
                alone = circle_loss(embeddings[i, j], LABELS, reduction=reduction, **(second | one))
                torch.testing.assert_close(found[i, j], alone)


def test_lengths_of_vectors_do_not_count():
    embeddings = torch.randn(8, 16)
    lengths = torch.tensor([1e20, 1e-20, 1.0, 1e30, 1e-25, 3.0, 1e-20, 1e20])[:, None]
    torch.testing.assert_close(
        circle_loss(embeddings * lengths, LABELS), circle_loss(embeddings, LABELS)
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "labels", [[], [1], [1, 1, 1], [1, 2, 3]], ids=["none", "one", "one identity", "no pairs"]
)
def test_nothing_to_compare_gives_a_zero_with_a_graph(labels, reduction):
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    loss = circle_loss(embeddings, torch.tensor(labels, dtype=torch.int64), reduction=reduction)
    assert loss.shape == (embeddings.shape[:1] if reduction == "none" else ())
    assert not loss.any()
    loss.sum().backward()
    assert not embeddings.grad.any()


def test_an_empty_second_set_gives_a_zero_with_a_graph():
    embeddings = torch.randn(8, 4, requires_grad=True)
    nobody = torch.empty(0, dtype=torch.int64)
    second = {"other_embeddings": torch.empty(0, 4), "other_labels": nobody}
    loss = circle_loss(embeddings, LABELS, **second)
    loss.backward()
    assert loss == 0
    assert not embeddings.grad.any()
    masks = pair_masks(LABELS, nobody)
    assert circle_loss_from_similarities(torch.empty(8, 0), *masks) == 0


def test_a_zero_vector_gets_no_gradient_and_leaves_that_of_the_others():
    embeddings = torch.randn(8, 4)
    embeddings[2] = 0
    embeddings.requires_grad_()
    circle_loss(embeddings, LABELS).backward()
    assert not embeddings.grad[2].any()
    assert 0 < embeddings.grad.abs().max() < 100


def test_not_a_number_is_not_hidden():
    embeddings = torch.randn(8, 4)
    embeddings[0, 0] = math.nan
    assert circle_loss(embeddings, LABELS).isnan()


def test_autocast_changes_nothing():
    found = []
    for enabled in (False, True):
        embeddings = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
        embeddings.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = (
                circle_loss(embeddings, LABELS)
                + circle_loss(embeddings, LABELS, reduction="none").sum()
            )
        loss.backward()
        found.append((loss.detach(), embeddings.grad))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "circle_loss expects gamma above 0, got 0.0"),
        ({"reduction": "max"}, "expects reduction 'mean', 'sum' or 'none', got 'max'"),
        ({"embeddings": torch.ones(8)}, r"expects embeddings \(..., B, D\), got \(8,\)"),
        ({"labels": LABELS[:, None]}, r"circle_loss expects labels \(B\), got \(8, 1\)"),
        ({"labels": LABELS[:7]}, "expects one of labels for each of 8 embeddings, got 7"),
        ({"other_embeddings": torch.ones(3, 2)}, "expects other_labels too when a second set"),
        ({"other_labels": LABELS}, "expects other_embeddings too when a second set"),
        (
            {"other_embeddings": torch.ones(3, 5), "other_labels": LABELS[:3]},
            r"circle_loss expects other_embeddings \(3, 2\), got \(3, 5\)",
        ),
        (
            {"other_embeddings": torch.ones(3, 2), "other_labels": LABELS},
            "expects one of other_labels for each of 3 embeddings, got 8",
        ),
        ({"chunk_size": 0}, "expects chunk_size of at least 1, got 0"),
    ],
)
def test_errors(options, message):
    arguments = {"embeddings": torch.ones(8, 2), "labels": LABELS} | options
    with pytest.raises(ValueError, match=message):
        circle_loss(arguments.pop("embeddings"), arguments.pop("labels"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(8), None, None), r"expects similarities \(..., B, G\), got \(8,\)"),
        (
            (torch.ones(8, 3), *pair_masks(LABELS)),
            r"expects positives \(8, 3\) of torch.bool, as pair_masks gives them, got \(8, 8\)",
        ),
        (
            (torch.ones(8, 8), pair_masks(LABELS)[0], torch.ones(8, 8)),
            r"expects negatives .* got \(8, 8\) of torch.float32",
        ),
    ],
)
def test_errors_of_a_given_matrix(arguments, message):
    with pytest.raises(ValueError, match=f"circle_loss_from_similarities {message}"):
        circle_loss_from_similarities(*arguments)


def test_chunks_hold_no_more_than_they_should(watch):
    embeddings, labels = torch.randn(600, 4, requires_grad=True), torch.arange(600) // 4
    with watch() as largest:
        circle_loss(embeddings, labels, chunk_size=20).backward()
    assert largest.numel <= 20 * 600


def test_chunks_are_refused_by_name_where_nothing_can_be_computed_again():
    embeddings = torch.randn(8, 4)

    def loss(embeddings: Tensor) -> Tensor:
        return circle_loss(embeddings, LABELS, chunk_size=3)

    for transform in (
        lambda: torch.func.grad(loss)(embeddings),
        lambda: torch.func.vmap(loss)(embeddings.unsqueeze(0)),
        lambda: torch.func.jvp(loss, (embeddings,), (embeddings,)),
    ):
        with pytest.raises(RuntimeError, match=r"chunk_size=None under torch.func.*got 3"):
            transform()


def test_a_pair_that_is_neither_does_not_count():
    similarities = torch.tensor([[0.9, 0.4, 0.8]])
    positives, negatives = (
        torch.tensor([[True, False, False]]),
        torch.tensor([[False, True, False]]),
    )
    found = circle_loss_from_similarities(similarities, positives, negatives)
    without = circle_loss_from_similarities(similarities[:, :2], positives[:, :2], negatives[:, :2])
    torch.testing.assert_close(found, without)


def test_module_errors_and_repr():
    with pytest.raises(ValueError, match="CircleLoss expects gamma above 0, got -1"):
        CircleLoss(gamma=-1)
    with pytest.raises(ValueError, match="CircleLoss expects reduction"):
        CircleLoss(reduction="max")
    assert repr(CircleLoss()) == "CircleLoss(margin=0.35, gamma=64.0, reduction='mean')"
