"""Batch-hard triplet loss against loops in float64, where those are at ease and where not."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loops import naive_triplet
from torch import Tensor

from reidblocks.losses import (
    BatchHardTriplet,
    batch_hard_triplet_loss,
    batch_hard_triplet_loss_from_distances,
    circle_loss,
    cosine_similarity_matrix,
    pair_masks,
)
from reidblocks.testing import check_loss, embeddings_and_labels

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])


def rounding(embeddings, others=None, distance="euclidean"):
    """Return what D rounded products leave of a distance as large as the largest here."""
    exact = embeddings.double()
    largest = torch.cdist(exact, exact if others is None else others.double()).max().item()
    largest = 2.0 if distance == "cosine" else largest
    return 2 * embeddings.shape[-1] * torch.finfo(torch.float32).eps * largest


def expect_naive(embeddings, labels, tolerance=1e-6, others=None, other_labels=None, **options):
    """Compare value and gradients, with pairs mined and with a matrix given."""
    sets = [embeddings] if others is None else [embeddings, others]
    exact_sets = [each.double().requires_grad_() for each in sets]
    losses, counted = naive_triplet(
        exact_sets[0],
        labels,
        others=None if others is None else exact_sets[1],
        other_labels=other_labels,
        **options,
    )
    mean = losses.sum() / max(sum(counted), 1)
    exact_gradients = torch.autograd.grad(mean, exact_sets)
    for chunk_size in (None, 3):
        inputs = [each.clone().requires_grad_() for each in sets]
        second = {"chunk_size": chunk_size}
        if others is not None:
            second |= {"other_embeddings": inputs[1], "other_labels": other_labels}
        each = batch_hard_triplet_loss(inputs[0], labels, reduction="none", **second, **options)
        scale = rounding(embeddings, others, options.get("distance")) + tolerance
        torch.testing.assert_close(each.double(), losses.detach(), rtol=tolerance, atol=scale)
        loss = batch_hard_triplet_loss(inputs[0], labels, **second, **options)
        torch.testing.assert_close(loss.double(), mean.detach(), rtol=tolerance, atol=scale)
        for ours, exact in zip(torch.autograd.grad(loss, inputs), exact_gradients, strict=True):
            allowed = (10 * tolerance + torch.finfo(ours.dtype).eps) * exact.abs().max().item()
            torch.testing.assert_close(ours.double(), exact, rtol=0, atol=allowed)


def test_a_value_worked_out_by_hand():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    labels = torch.tensor([7, 7, 9, 8])
    # anchor 0: 5 − 1; anchor 1: 5 − √18; anchors 2 and 3 have no positive
    gaps = [4.0, 5 - 18**0.5]
    for margin, expected in (
        (0.5, [4.5, 0.5 + gaps[1], 0, 0]),
        (-2.0, [2.0, 0, 0, 0]),
        (None, [math.log(1 + math.exp(gap)) for gap in gaps] + [0, 0]),
    ):
        losses = batch_hard_triplet_loss(embeddings, labels, margin=margin, reduction="none")
        torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float32))
        for reduction, value in (("mean", sum(expected) / 2), ("sum", sum(expected))):
            loss = BatchHardTriplet(margin, reduction=reduction)(embeddings, labels)
            torch.testing.assert_close(loss, torch.tensor(value))


@given(
    embeddings_and_labels(),
    st.sampled_from([None, 0.0, 0.3]),
    st.sampled_from(["euclidean", "cosine"]),
)
def test_is_the_loop_of_the_equation(batch, margin, distance):
    embeddings, labels = batch
    losses, _ = naive_triplet(embeddings.double(), labels, margin, distance)
    found = batch_hard_triplet_loss(
        embeddings, labels, margin=margin, distance=distance, reduction="none"
    )
    allowed = 1e-6 + rounding(embeddings, distance=distance)
    torch.testing.assert_close(found.double(), losses, rtol=1e-6, atol=allowed)


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_every_precision_is_accurate(dtype, distance, margin, scale):
    embeddings = (scale * torch.randn(8, 16)).to(dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-6
    expect_naive(embeddings, LABELS, tolerance, margin=margin, distance=distance)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_second_set_is_compared_with_pair_by_pair(distance):
    embeddings, others = torch.randn(5, 8), torch.randn(7, 8)
    labels, other_labels = torch.tensor([0, 0, 1, 2, 9]), torch.tensor([0, 1, 1, 2, 3, 3, 0])
    expect_naive(embeddings, labels, 1e-6, others, other_labels, distance=distance)
    others[2] = 0
    expect_naive(embeddings, labels, 1e-6, others, other_labels, distance=distance)


@pytest.mark.parametrize("scale", [1e20, 1e-20])
def test_any_scale_is_accurate(scale):
    expect_naive(scale * torch.randn(8, 16), LABELS, margin=0.0)


@pytest.mark.parametrize("dim", [4, 64, 512])
def test_a_tight_cluster_far_from_the_origin_is_accurate(dim):
    """|x|² + |y|² − 2xy of the vectors as they are would choose pairs by chance."""
    labels = torch.arange(24) // 2 % 3
    expect_naive(1000 + 1e-3 * torch.randn(24, dim), labels, margin=0.0)


@pytest.mark.parametrize(
    "loss",
    [
        BatchHardTriplet(),
        BatchHardTriplet(margin=None, reduction="sum"),
        BatchHardTriplet(0.3, distance="cosine"),
    ],
)
def test_keeps_the_contract(loss):
    check_loss(loss, torch.randn(12, 16), torch.arange(12) // 3)


@pytest.mark.parametrize("margin", [0.3, None])
def test_a_given_matrix_gives_the_loss_of_its_entries(margin):
    embeddings = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    given = batch_hard_triplet_loss_from_distances(
        1 - cosine_similarity_matrix(embeddings), *pair_masks(LABELS), margin=margin
    )
    mined = batch_hard_triplet_loss(embeddings, LABELS, distance="cosine", margin=margin)
    torch.testing.assert_close(given, mined)
    torch.testing.assert_close(
        torch.autograd.grad(given, embeddings), torch.autograd.grad(mined, embeddings)
    )


def test_a_given_matrix_may_be_empty_or_of_several_features():
    for rows, columns in ((0, 3), (3, 0)):
        distances = torch.rand(rows, columns, requires_grad=True)
        masks = [torch.zeros(rows, columns, dtype=torch.bool)] * 2
        loss = batch_hard_triplet_loss_from_distances(distances, *masks)
        loss.backward()
        assert loss == 0
    distances = torch.rand(2, 8, 8)
    found = batch_hard_triplet_loss_from_distances(distances, *pair_masks(LABELS))
    for one, each in zip(found, distances, strict=True):
        alone = batch_hard_triplet_loss_from_distances(each, *pair_masks(LABELS))
        torch.testing.assert_close(one, alone)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_leading_dimensions_are_features_of_one_batch(distance, reduction):
    scales = torch.tensor([1e-20, 1.0, 1e20])[:, None, None]  # of each feature its own
    embeddings, others = scales * torch.randn(2, 3, 8, 5), scales * torch.randn(2, 3, 4, 5)
    options = {"distance": distance, "reduction": reduction}
    for second in ({}, {"other_labels": torch.tensor([0, 1, 1, 7])}):
        given = {"other_embeddings": others} if second else {}
        found = batch_hard_triplet_loss(embeddings, LABELS, **options, **second, **given)
        for i in range(2):
            for j in range(3):
                given = {"other_embeddings": others[i, j]} if second else {}
                alone = batch_hard_triplet_loss(
                    embeddings[i, j], LABELS, **options, **second, **given
                )
                torch.testing.assert_close(found[i, j], alone)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_gradients_by_a_second_set_are_those_of_the_value(distance):
    embeddings = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    others = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    labels, other_labels = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 2, 2, 0])

    def loss(embeddings: Tensor, others: Tensor) -> Tensor:
        return batch_hard_triplet_loss(
            embeddings,
            labels,
            margin=None,
            distance=distance,
            other_embeddings=others,
            other_labels=other_labels,
        )

    assert torch.autograd.gradcheck(loss, (embeddings, others))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(compiled(embeddings, others), (embeddings, others)),
        torch.autograd.grad(loss(embeddings, others), (embeddings, others)),
    )


def test_the_embeddings_as_second_set_are_the_first_and_a_copy_is_not():
    embeddings = torch.randn(8, 4)
    alone = batch_hard_triplet_loss(embeddings, LABELS)
    same = {"other_embeddings": embeddings, "other_labels": LABELS}
    assert torch.equal(batch_hard_triplet_loss(embeddings, LABELS, **same), alone)
    copy = {"other_embeddings": embeddings.clone(), "other_labels": LABELS}
    with_copy = batch_hard_triplet_loss(embeddings, LABELS, reduction="none", **copy)
    assert batch_hard_triplet_loss(embeddings, LABELS, reduction="none")[7] == 0
    assert with_copy[7] == 0  # its copy is a positive at distance 0 and the nearest farther
    mean = batch_hard_triplet_loss(embeddings, LABELS, **copy)
    torch.testing.assert_close(with_copy.sum() / 8, mean)


def test_chunks_hold_no_more_than_they_should(watch):
    embeddings, labels = torch.randn(600, 4, requires_grad=True), torch.arange(600) // 4
    with watch() as largest:
        batch_hard_triplet_loss(embeddings, labels, chunk_size=20).backward()
    assert largest.numel <= 20 * 600


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    "labels", [[], [1], [1, 1, 1], [1, 2, 3]], ids=["none", "one", "one identity", "no pairs"]
)
def test_nothing_to_compare_gives_a_zero_with_a_graph(labels, distance, reduction):
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    labels = torch.tensor(labels, dtype=torch.int64)
    options = {"margin": 9.0, "reduction": reduction}
    loss = batch_hard_triplet_loss(embeddings, labels, distance=distance, **options)
    assert loss.shape == (embeddings.shape[:1] if reduction == "none" else ())
    assert not loss.any()
    (gradient,) = torch.autograd.grad(loss.sum(), embeddings)
    assert not gradient.any()


def test_an_empty_second_set_gives_a_zero_with_a_graph():
    embeddings = torch.randn(8, 4, requires_grad=True)
    second = {
        "other_embeddings": torch.empty(0, 4),
        "other_labels": torch.empty(0, dtype=torch.int64),
    }
    loss = batch_hard_triplet_loss(embeddings, LABELS, **second)
    loss.backward()
    assert loss == 0
    assert not embeddings.grad.any()


def test_duplicates_have_distance_0_and_no_gradient():
    embeddings = torch.randn(1, 4).repeat(4, 1).requires_grad_()
    loss = batch_hard_triplet_loss(embeddings, LABELS[2:6], margin=0.3)
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(0.3))
    assert not embeddings.grad.any()


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_not_a_number_is_not_hidden(distance):
    embeddings = torch.randn(8, 4)
    embeddings[0, 0] = math.nan
    assert batch_hard_triplet_loss(embeddings, LABELS, distance=distance).isnan()


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_row_that_is_not_finite_spoils_its_own_identity_alone(distance, wrong):
    labels = torch.arange(64) // 4
    embeddings = torch.randn(64, 128)
    embeddings[6, 3] = wrong
    losses = batch_hard_triplet_loss(embeddings, labels, distance=distance, reduction="none")
    assert not losses[6].isfinite()
    assert losses[labels != labels[6]].isfinite().all()
    without = labels != labels[6]  # and nobody else's nearest changes, but for those whose it was
    expected = batch_hard_triplet_loss(
        embeddings[without],
        labels[without],
        distance=distance,
        reduction="none",
        other_embeddings=embeddings[labels.new_tensor([n for n in range(64) if n != 6])],
        other_labels=labels[labels.new_tensor([n for n in range(64) if n != 6])],
    )
    torch.testing.assert_close(losses[without], expected)


def test_a_second_set_of_other_labels_is_one_though_it_is_the_same_tensor():
    embeddings, others = torch.randn(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])
    for loss in (batch_hard_triplet_loss, circle_loss):
        found = loss(embeddings, LABELS[:6], other_embeddings=embeddings, other_labels=others)
        expected = loss(
            embeddings, LABELS[:6], other_embeddings=embeddings.clone(), other_labels=others
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "manhattan"}, "expects distance 'euclidean' or 'cosine', got 'manhattan'"),
        ({"reduction": "max"}, "expects reduction 'mean', 'sum' or 'none', got 'max'"),
        ({"labels": LABELS[:7]}, "expects one of labels for each of 8 embeddings, got 7"),
        ({"other_embeddings": torch.ones(3, 2)}, "expects other_labels too when a second set"),
        ({"other_labels": LABELS}, "expects other_embeddings too when a second set"),
        ({"chunk_size": -1}, "expects chunk_size of at least 1, got -1"),
    ],
)
def test_errors(options, message):
    arguments = {"embeddings": torch.ones(8, 2), "labels": LABELS} | options
    with pytest.raises(ValueError, match=f"batch_hard_triplet_loss {message}"):
        batch_hard_triplet_loss(arguments.pop("embeddings"), arguments.pop("labels"), **arguments)


def test_errors_of_a_given_matrix():
    caller = "batch_hard_triplet_loss_from_distances"
    with pytest.raises(ValueError, match=rf"{caller} expects distances \(..., B, G\), got \(8,\)"):
        batch_hard_triplet_loss_from_distances(torch.ones(8), *pair_masks(LABELS))
    with pytest.raises(ValueError, match=rf"{caller} expects positives \(8, 3\) of torch.bool"):
        batch_hard_triplet_loss_from_distances(torch.ones(8, 3), *pair_masks(LABELS))
    with pytest.raises(TypeError, match=f"{caller} expects positives as a tensor, got NoneType"):
        batch_hard_triplet_loss_from_distances(torch.ones(8, 3), None, None)


@pytest.mark.parametrize("margin", [False, "", "0.3"])
def test_a_margin_that_is_no_number_is_refused_by_name(margin):
    with pytest.raises(TypeError, match="BatchHardTriplet expects margin as a number, got"):
        BatchHardTriplet(margin)
    with pytest.raises(TypeError, match="batch_hard_triplet_loss expects margin as a number, got"):
        batch_hard_triplet_loss(torch.ones(8, 2), LABELS, margin=margin)


def test_module_errors_and_repr():
    with pytest.raises(ValueError, match="BatchHardTriplet expects distance 'euclidean' or"):
        BatchHardTriplet(distance="manhattan")
    with pytest.raises(ValueError, match="BatchHardTriplet expects reduction"):
        BatchHardTriplet(reduction="max")
    expected = "BatchHardTriplet(margin=0.3, distance='euclidean', reduction='mean')"
    assert repr(BatchHardTriplet()) == expected
