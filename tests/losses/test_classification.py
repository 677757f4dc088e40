"""The class-level form of circle loss: logits, classifier, and that it is the same loss."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.losses import CircleClassifier, circle_logits
from reidblocks.testing import check_loss

LABELS = torch.tensor([0, 2, 1, 2])


def naive_loss(embeddings, weight, labels, margin, gamma, smoothing):
    """Cross-entropy of the margin logits, by loops; α is taken as a constant."""
    losses = []
    for x, label in zip(embeddings, labels.tolist(), strict=True):
        logits = []
        for c, w in enumerate(weight):
            s = 0 * (x.sum() + w.sum())
            if x.any() and w.any():
                s = (x / x.norm()) @ (w / w.norm())
            if c == label:
                logits.append(gamma * max(1 + margin - s.item(), 0) * (s - (1 - margin)))
            else:
                logits.append(gamma * max(s.item() + margin, 0) * (s - margin))
        logs = torch.stack(logits) - torch.stack(logits).logsumexp(0)
        losses.append(-(1 - smoothing) * logs[label] - smoothing * logs.mean())
    return torch.stack(losses).mean()


def test_logits_worked_out_by_hand():
    logits = circle_logits(
        torch.tensor([[0.5, -0.5, 1.0]]), torch.tensor([0]), margin=0.25, gamma=8.0
    )
    # target: 8 · 0.75 · (0.5 − 0.75); others: [−0.5 + 0.25]+ = 0, and 8 · 1.25 · (1 − 0.25)
    torch.testing.assert_close(logits, torch.tensor([[-1.5, 0.0, 7.5]]))


@given(st.integers(0, 99), st.floats(0.0, 0.6), st.floats(1.0, 512.0))
def test_cross_entropy_of_the_logits_is_circle_loss(seed, margin, gamma):
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(4, 3, generator=generator, dtype=torch.float64) - 1
    found = torch.nn.functional.cross_entropy(
        circle_logits(cosines, LABELS, margin=margin, gamma=gamma), LABELS, reduction="none"
    )
    for row, label, loss in zip(cosines.tolist(), LABELS.tolist(), found.tolist(), strict=True):
        target = row.pop(label)
        positive = -gamma * (1 + margin - target) * (target - (1 - margin))
        negatives = [gamma * max(s + margin, 0) * (s - margin) for s in row]
        product = positive + torch.tensor(negatives, dtype=torch.float64).logsumexp(0).item()
        assert loss == pytest.approx(max(product, 0) + math.log1p(math.exp(-abs(product))))


@pytest.mark.parametrize("gamma", [64.0, 512.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_loss_is_that_of_the_loop(dtype, smoothing, gamma):
    classifier = CircleClassifier(8, 3, gamma=gamma, label_smoothing=smoothing)
    if dtype == torch.float64:
        classifier.double()
    embeddings = torch.randn(4, 8).to(dtype)
    embeddings[1] = 0
    exact = [embeddings.double().requires_grad_(), classifier.weight.detach().double()]
    exact[1].requires_grad_()
    expected = naive_loss(*exact, LABELS, 0.35, gamma, smoothing)
    embeddings.requires_grad_()
    loss = classifier(embeddings, LABELS)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-10 if dtype == torch.float64 else 3e-6 * gamma
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(loss, [embeddings, classifier.weight])
    for ours, loops in zip(found, torch.autograd.grad(expected, exact), strict=True):
        allowed = (tolerance + torch.finfo(ours.dtype).eps) * loops.abs().max().item()
        torch.testing.assert_close(ours.double(), loops, rtol=0, atol=allowed)


def test_eval_gives_plain_cosines():
    classifier = CircleClassifier(8, 3).eval()
    embeddings = torch.randn(4, 8)
    expected = (
        torch.nn.functional.normalize(embeddings)
        @ torch.nn.functional.normalize(classifier.weight).T
    )
    torch.testing.assert_close(classifier(embeddings), expected)
    torch.testing.assert_close(classifier(embeddings, LABELS), expected)


def test_keeps_the_contract():
    labels = torch.arange(12) // 3
    check_loss(
        CircleClassifier(16, 4),
        torch.randn(12, 16),
        labels,
        labels_are_classes=True,
        exact_gradient=False,  # α is constant
    )


def test_eval_compiles_and_exports():
    classifier, embeddings = CircleClassifier(8, 3).eval(), torch.randn(4, 8)
    expected = classifier(embeddings)
    compiled = torch.compile(classifier, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(embeddings), expected)
    exported = torch.export.export(classifier, (embeddings,)).module()
    torch.testing.assert_close(exported(embeddings), expected)


def test_an_empty_batch_gives_a_zero_with_a_graph():
    classifier = CircleClassifier(8, 3)
    loss = classifier(torch.empty(0, 8), torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert not classifier.weight.grad.any()


def test_autocast_changes_nothing():
    classifier, embeddings = CircleClassifier(8, 3), torch.randn(4, 8)
    expected = torch.autograd.grad(classifier(embeddings, LABELS), classifier.weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(classifier(embeddings, LABELS), classifier.weight)[0]
    torch.testing.assert_close(found, expected)


def _call(embeddings: Tensor, labels: Tensor | None) -> Tensor:
    return CircleClassifier(8, 3)(embeddings, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CircleClassifier(0, 3), "CircleClassifier expects embed_dim above 0, got 0"),
        (lambda: CircleClassifier(8, 0), "CircleClassifier expects num_classes above 0, got 0"),
        (lambda: CircleClassifier(8, 3, gamma=0), "CircleClassifier expects gamma above 0, got 0"),
        (
            lambda: CircleClassifier(8, 3, label_smoothing=1.5),
            "CircleClassifier expects label_smoothing from 0 to 1, got 1.5",
        ),
        (lambda: _call(torch.ones(4, 8), None), "expects labels in training; call .eval"),
        (lambda: _call(torch.ones(4, 7), LABELS), r"expects embeddings \(B, 8\), got \(4, 7\)"),
        (lambda: _call(torch.ones(4, 8, 1), LABELS), r"embeddings \(B, D\), got \(4, 8, 1\)"),
        (lambda: _call(torch.ones(4, 8), LABELS[:3]), "one of labels for each of 4 embeddings"),
        (lambda: _call(torch.ones(4, 8), LABELS + 1), "expects labels from 0 to 2, got 3"),
        (lambda: _call(torch.ones(4, 8), LABELS - 1), "expects labels from 0 to 2, got -1"),
        (lambda: circle_logits(torch.ones(4), LABELS), r"expects cosines \(B, C\), got \(4,\)"),
        (
            lambda: circle_logits(torch.ones(4, 3), LABELS, gamma=-1.0),
            "circle_logits expects gamma above 0, got -1",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_repr():
    expected = "CircleClassifier(8, 3, margin=0.35, gamma=64.0, label_smoothing=0.1)"
    assert repr(CircleClassifier(8, 3)) == expected
