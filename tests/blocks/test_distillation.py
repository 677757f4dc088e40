import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.blocks import MutualDistiller, mutual_distillation_loss
from reidblocks.testing import embeddings_and_labels


def cosine(one: Tensor, other: Tensor) -> float:
    """In float64, and 0 for a zero vector."""
    one, other = one.detach().double(), other.detach().double()
    lengths = math.sqrt((one**2).sum()) * math.sqrt((other**2).sum())
    return (one * other).sum().item() / lengths if lengths else 0.0


def distance(predictions: Tensor, targets: Tensor) -> float:
    """D of Eq. 8: minus the cosine similarity, averaged over the batch."""
    return -sum(cosine(*pair) for pair in zip(predictions, targets, strict=True)) / len(predictions)


@given(embeddings_and_labels(embed_dim=st.just(5)), st.integers(0, 99))
def test_the_loss_is_the_loop_over_pairs(batch: tuple[Tensor, Tensor], seed: int) -> None:
    predictions = batch[0]
    targets = torch.randn(predictions.shape, generator=torch.Generator().manual_seed(seed))
    loss = mutual_distillation_loss([predictions, targets], [targets, predictions])
    expected = (distance(predictions, targets) + distance(targets, predictions)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_by_hand() -> None:
    predictions = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, -9.0]])
    assert mutual_distillation_loss([predictions], [targets]).item() == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_two_branches_are_eq_8(training: bool) -> None:
    distiller = MutualDistiller(4).double().train(training)
    hard, soft = torch.randn(2, 6, 4, dtype=torch.float64)
    mlp_hard, mlp_soft = distiller.predictors
    expected = (
        distance(mlp(mlp_hard, hard, training), soft)
        + distance(mlp(mlp_soft, soft, training), hard)
    ) / 2
    assert distiller(hard, soft).item() == pytest.approx(expected)


def test_three_branches_are_the_mean_over_ordered_pairs() -> None:
    distiller = MutualDistiller(4, num_branches=3, hidden_dim=7).double()
    embeddings = torch.randn(3, 6, 4, dtype=torch.float64)
    predictors = iter(distiller.predictors)
    distances = [
        distance(mlp(next(predictors), embeddings[i], training=True), embeddings[j])
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    assert next(predictors, None) is None
    assert distiller(*embeddings).item() == pytest.approx(sum(distances) / 6)


def mlp(predictor: nn.Module, vectors: Tensor, training: bool) -> Tensor:
    """Linear, BN, ReLU, Linear."""
    weights = dict(predictor.named_parameters())
    hidden = vectors @ weights["0.weight"].T + weights["0.bias"]
    if training:
        mean = hidden.mean(0)
        hidden = (hidden - mean) / (((hidden - mean) ** 2).mean(0) + 1e-5).sqrt()
    else:
        hidden = hidden / (1 + 1e-5) ** 0.5
    hidden = (hidden * weights["1.weight"] + weights["1.bias"]).clamp(min=0)
    return hidden @ weights["3.weight"].T + weights["3.bias"]


def test_no_gradient_reaches_a_target() -> None:
    prediction, target = torch.randn(2, 4, 3).requires_grad_().unbind()
    prediction.retain_grad()
    target.retain_grad()
    mutual_distillation_loss([prediction], [target]).backward()
    assert prediction.grad is not None
    assert prediction.grad.any()
    assert target.grad is None


def test_a_branch_learns_from_its_own_prediction_alone() -> None:
    """With the other's predictor taken away, the gradient of Eq. 8 at a branch stays the same."""
    distiller = MutualDistiller(4).double().eval()
    hard, soft = (torch.randn(6, 4, dtype=torch.float64).requires_grad_() for _ in range(2))
    distiller(hard, soft).backward()

    predicted = distiller.predictors[0](hard)
    alone = 0.5 * mutual_distillation_loss([predicted], [soft])
    (expected,) = torch.autograd.grad(alone, hard)
    torch.testing.assert_close(hard.grad, expected)
    assert soft.grad is not None
    assert soft.grad.any()  # by its own predictor

    soft.grad = None
    for parameter in distiller.predictors[1].parameters():
        parameter.data.zero_()  # what soft predicts no longer depends on it
    distiller(hard, soft).backward()
    assert not soft.grad.any()  # the target's side carries nothing


def test_is_blind_to_length() -> None:
    predictions, targets = torch.randn(2, 6, 4)
    expected = mutual_distillation_loss([predictions], [targets])
    for scale in (1e-20, 1e20):
        got = mutual_distillation_loss([scale * predictions], [targets / scale])
        torch.testing.assert_close(got, expected)


def test_the_gradient_is_that_of_the_value() -> None:
    predictions = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda vectors: mutual_distillation_loss([vectors], [targets]), predictions
    )
    assert torch.autograd.gradgradcheck(
        lambda vectors: mutual_distillation_loss([vectors], [targets]), predictions
    )


def test_a_zero_vector_has_the_cosine_0_and_finite_derivatives() -> None:
    predictions = torch.zeros(2, 3, requires_grad=True)
    loss = mutual_distillation_loss([predictions], [torch.ones(2, 3)])
    (gradient,) = torch.autograd.grad(loss, predictions, create_graph=True)
    (second,) = torch.autograd.grad(gradient.pow(2).sum(), predictions)
    assert loss.item() == 0.0
    assert gradient.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    predictions, targets = (300 * torch.randn(2, 6, 64)).to(dtype)
    loss = mutual_distillation_loss([predictions], [targets])
    assert loss.dtype == torch.float32
    exact = mutual_distillation_loss([predictions.double()], [targets.double()])
    rounding = 64 * 2**-24  # of a float32 sum over 64 dimensions of unit vectors
    torch.testing.assert_close(loss.double(), exact, atol=2 * rounding, rtol=0)


def test_says_what_it_is() -> None:
    assert "embed_dim=4, num_branches=3" in repr(MutualDistiller(4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MutualDistiller(0), "MutualDistiller expects embed_dim above 0, got 0"),
        (
            lambda: MutualDistiller(4, hidden_dim=0),
            "MutualDistiller expects hidden_dim above 0, got 0",
        ),
        (
            lambda: MutualDistiller(4, 1),
            "MutualDistiller expects num_branches of at least 2, got 1",
        ),
        (
            lambda: MutualDistiller(4)(torch.rand(2, 4)),
            "MutualDistiller expects 2 embeddings, got 1",
        ),
        (
            lambda: MutualDistiller(4)(torch.rand(2, 4), torch.rand(2, 4, 6, 3)),
            r"MutualDistiller expects embeddings \(B, M\), got \(2, 4, 6, 3\)",
        ),
        (
            lambda: MutualDistiller(4)(torch.rand(2, 4), torch.rand(2, 5)),
            r"MutualDistiller expects embeddings \(·, 4\), got \(2, 5\)",
        ),
        (
            lambda: MutualDistiller(4)(torch.rand(2, 4), torch.rand(3, 4)),
            r"MutualDistiller expects embeddings of one batch, got sizes \[2, 3\]",
        ),
        (
            lambda: mutual_distillation_loss([], []),
            "expects as many targets as predictions, at least one, got 0 predictions and 0",
        ),
        (
            lambda: mutual_distillation_loss([torch.rand(2, 4)], []),
            "got 1 predictions and 0 targets",
        ),
        (
            lambda: mutual_distillation_loss([torch.rand(4)], [torch.rand(4)]),
            r"mutual_distillation_loss expects a prediction \(B, D\), got \(4,\)",
        ),
        (
            lambda: mutual_distillation_loss([torch.rand(2, 4)], [torch.rand(2, 5)]),
            r"expects predictions and targets of one shape, got \(2, 4\) and \(2, 5\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_batch_gives_zero() -> None:
    prediction = torch.rand(0, 4, requires_grad=True)
    loss = mutual_distillation_loss([prediction], [torch.rand(0, 4)])
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad is not None


def test_a_number_of_branches_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"expects num_branches as a whole number, got 2\.5"):
        MutualDistiller(4, 2.5)  # type: ignore[arg-type]


def test_batches_may_be_stacked() -> None:
    predictions, targets = torch.randn(2, 3, 2, 4).unbind()
    apart = mutual_distillation_loss(list(predictions), list(targets))
    torch.testing.assert_close(mutual_distillation_loss(predictions, targets), apart)
