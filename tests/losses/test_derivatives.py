"""Derivatives of every order against loops in float64, and that they are finite where they are not
defined: at distance 0, for zero vectors, with nothing to compare."""

import pytest
import torch
from loops import naive_circle, naive_triplet
from torch import Tensor, nn

from reidblocks.losses import batch_hard_triplet_loss, circle_loss

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
GENTLE = {"gamma": 4.0}  # so that no softplus is flat


def circle(embeddings: Tensor) -> Tensor:
    return circle_loss(embeddings, LABELS, **GENTLE)


def triplet(embeddings: Tensor) -> Tensor:
    return batch_hard_triplet_loss(embeddings, LABELS, margin=None)


def cosine_triplet(embeddings: Tensor) -> Tensor:
    return batch_hard_triplet_loss(embeddings, LABELS, margin=None, distance="cosine")


def mean(losses: Tensor, counted: list[bool]) -> Tensor:
    return losses.sum() / sum(counted)


def circle_by_loops(embeddings: Tensor) -> Tensor:
    return mean(*naive_circle(embeddings, LABELS, **GENTLE))


def triplet_by_loops(embeddings: Tensor) -> Tensor:
    return mean(*naive_triplet(embeddings, LABELS, None))


def cosine_triplet_by_loops(embeddings: Tensor) -> Tensor:
    return mean(*naive_triplet(embeddings, LABELS, None, "cosine"))


PAIRS = pytest.mark.parametrize(
    ("loss", "loops"),
    [
        (circle, circle_by_loops),
        (triplet, triplet_by_loops),
        (cosine_triplet, cosine_triplet_by_loops),
    ],
    ids=["circle", "triplet", "cosine triplet"],
)


@PAIRS
def test_the_hessian_is_that_of_the_loops(loss, loops):
    embeddings = torch.randn(8, 3, dtype=torch.float64)
    expected = torch.autograd.functional.hessian(loops, embeddings)
    assert expected.any()
    found = torch.func.hessian(loss)(embeddings)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    found = torch.func.hessian(loss)(embeddings.float())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


@PAIRS
def test_the_gradient_of_a_gradient_penalty_is_that_of_the_loops(loss, loops):
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4, bias=False)).double()
    images = torch.randn(8, 6, dtype=torch.float64)
    found = []
    for each in (loss, loops):
        gradients = torch.autograd.grad(
            each(network(images)), list(network.parameters()), create_graph=True
        )
        penalty = sum(gradient.square().sum() for gradient in gradients)
        found.append(torch.autograd.grad(penalty, list(network.parameters())[:-1]))
    assert all(gradient.any() for gradient in found[1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)


@PAIRS
def test_slopes_forward_are_those_of_the_gradient(loss, loops):
    embeddings, direction = torch.randn(2, 8, 3, dtype=torch.float64)
    leaf = embeddings.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loops(leaf), leaf)
    _, slope = torch.func.jvp(loss, (embeddings,), (direction,))
    torch.testing.assert_close(slope, (gradient * direction).sum())


def of_second_set(loss, others: Tensor):
    second = {"other_embeddings": others, "other_labels": torch.arange(4)}
    return lambda embeddings, labels: loss(embeddings, labels, **second)


def duplicates() -> Tensor:
    return torch.randn(8, 5)[[0, 0, 2, 3, 0, 5, 6, 7]]


def with_a_zero() -> Tensor:
    embeddings = torch.randn(8, 5)
    embeddings[2] = 0
    return embeddings


BATCHES = {
    "duplicates": (duplicates, LABELS),
    "a zero vector": (with_a_zero, LABELS),
    "zero vectors": (lambda: torch.zeros(8, 5), LABELS),
    "one vector everywhere": (lambda: torch.randn(1, 5).expand(8, 5).clone(), LABELS),
    "one identity": (lambda: torch.randn(8, 5), torch.zeros(8, dtype=torch.int64)),
    "all different": (lambda: torch.randn(8, 5), torch.arange(8)),
    "one image": (lambda: torch.randn(1, 5), LABELS[:1]),
    "no image": (lambda: torch.randn(0, 5), LABELS[:0]),
    "no dimension": (lambda: torch.randn(8, 0), LABELS),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("others", [None, "zero", "collapsed"])
@pytest.mark.parametrize("kind", ["circle", "triplet", "soft triplet", "cosine triplet"])
def test_second_derivatives_are_finite_where_none_is_defined(kind, others, batch):
    def loss(*inputs, **second):
        if kind == "circle":
            return circle_loss(*inputs, **second)
        distance = "cosine" if kind == "cosine triplet" else "euclidean"
        margin = None if kind == "soft triplet" else 0.3
        return batch_hard_triplet_loss(*inputs, margin=margin, distance=distance, **second)

    make, labels = BATCHES[batch]
    embeddings = make().requires_grad_()
    if others is not None:
        dim = embeddings.shape[1]
        loss = of_second_set(loss, torch.zeros(4, dim) if others == "zero" else torch.ones(4, dim))
    value = loss(embeddings, labels)
    (gradient,) = torch.autograd.grad(value, embeddings, create_graph=True)
    gradient.square().sum().backward()
    for each in (value, gradient, embeddings.grad):
        assert each.isfinite().all()


@pytest.mark.parametrize("loss", [circle, triplet, cosine_triplet])
def test_whole_numbers_are_embeddings_like_any_others(loss):
    embeddings = torch.randint(-5, 5, (8, 4))
    assert torch.equal(loss(embeddings), loss(embeddings.float()))
    assert loss(embeddings).dtype == torch.float32


@pytest.mark.parametrize("loss", [circle_loss, batch_hard_triplet_loss])
def test_labels_of_two_sets_may_be_of_two_integer_dtypes(loss):
    embeddings, others = torch.randn(8, 4), torch.randn(3, 4)
    values = []
    for dtypes in (
        (torch.int64, torch.int64),
        (torch.int16, torch.uint8),
        (torch.int8, torch.int32),
    ):
        labels, other_labels = LABELS.to(dtypes[0]), torch.tensor([0, 1, 3], dtype=dtypes[1])
        second = {"other_embeddings": others, "other_labels": other_labels}
        values.append(loss(embeddings, labels, **second))
    assert values[0] == values[1] == values[2]
    for wrong in (LABELS.float(), LABELS > 0):
        with pytest.raises(TypeError, match=rf"{loss.__name__} expects labels of an integer dtype"):
            loss(embeddings, wrong)


@pytest.mark.parametrize("loss", [circle, triplet, cosine_triplet])
@pytest.mark.parametrize("state", ["float64 by default", "deterministic", "inference", "TF32"])
def test_the_value_does_not_depend_on_settings(loss, state):
    embeddings = torch.randn(8, 16)
    expected = loss(embeddings)
    try:
        if state == "float64 by default":
            torch.set_default_dtype(torch.float64)
        elif state == "deterministic":
            torch.use_deterministic_algorithms(True)
        elif state == "TF32":
            torch.set_float32_matmul_precision("high")
        with torch.inference_mode(state == "inference"):
            found = loss(embeddings)
        if state == "deterministic":
            loss(embeddings.requires_grad_()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, expected)


ALARMS = {  # of what torch.use_deterministic_algorithms names, what refuses to run on CUDA
    *("median", "nanmedian", "kthvalue", "histc", "bincount", "cumsum", "put_", "resize_"),
    *("scatter_reduce", "grid_sampler_2d", "_ctc_loss", "nll_loss2d_forward"),
}


@pytest.mark.parametrize("loss", [circle, triplet, cosine_triplet])
def test_no_operator_is_refused_by_deterministic_algorithms_on_a_gpu(loss, watch):
    embeddings = torch.randn(8, 16, requires_grad=True)
    with watch() as watched:
        loss(embeddings).backward()
    assert watched.operators
    assert not ALARMS & set(watched.operators)


@pytest.mark.parametrize("loss", [circle, triplet, cosine_triplet])
def test_five_features_call_hardly_more_operators_than_one(loss, watch):
    counts = []
    for shape in ((8, 16), (5, 8, 16)):
        embeddings = torch.randn(shape, requires_grad=True)
        with watch() as watched:
            loss(embeddings).sum().backward()
        counts.append(len(watched.operators))
    assert counts[1] < 1.5 * counts[0]
