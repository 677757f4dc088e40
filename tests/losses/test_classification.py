"""Heads with margins: their logits against loops, and that circle's give circle loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.losses import (
    ArcFaceClassifier,
    CircleClassifier,
    CosFaceClassifier,
    circle_logits,
)

HEADS = [CircleClassifier, ArcFaceClassifier, CosFaceClassifier]

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
    classifier = CircleClassifier(8, 3, gamma=gamma)
    if dtype == torch.float64:
        classifier.double()
    embeddings = torch.randn(4, 8).to(dtype)
    embeddings[1] = 0
    exact = [embeddings.double().requires_grad_(), classifier.weight.detach().double()]
    exact[1].requires_grad_()
    expected = naive_loss(*exact, LABELS, 0.35, gamma, smoothing)
    embeddings.requires_grad_()
    loss = F.cross_entropy(classifier(embeddings, LABELS), LABELS, label_smoothing=smoothing)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-10 if dtype == torch.float64 else 3e-6 * gamma
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(loss, [embeddings, classifier.weight])
    for ours, loops in zip(found, torch.autograd.grad(expected, exact), strict=True):
        allowed = (tolerance + torch.finfo(ours.dtype).eps) * loops.abs().max().item()
        torch.testing.assert_close(ours.double(), loops, rtol=0, atol=allowed)


def naive_logits(head, embeddings, labels=None):
    """The equations of ArcFace and CosFace, entry by entry."""
    rows = []
    for x, label in zip(embeddings, labels.tolist(), strict=True):
        row = []
        for c, w in enumerate(head.weight.detach().double()):
            cosine = ((x / x.norm()) @ (w / w.norm())).item()
            if c == label and isinstance(head, CosFaceClassifier):
                cosine -= head.margin
            elif c == label and math.acos(cosine) + head.margin < math.pi:
                cosine = math.cos(math.acos(cosine) + head.margin)
            elif c == label:
                cosine -= head.margin * math.sin(head.margin)
            row.append(head.scale * cosine)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.0, 0.35, 1.5])
@pytest.mark.parametrize("make", [ArcFaceClassifier, CosFaceClassifier])
def test_logits_are_those_of_the_loop(make, margin):
    head = make(2, 5, margin=margin, scale=10.0)  # in a plane, some angles are beyond 180° − m
    embeddings = torch.randn(40, 2)
    labels = torch.arange(40) % 5
    expected = naive_logits(head, embeddings.double(), labels)
    found = head(embeddings, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)
    torch.testing.assert_close(
        head.double()(embeddings.double(), labels), expected, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("make", HEADS)
def test_in_the_direction_of_a_class_and_against_it_gradients_are_finite(make):
    head = make(4, 3)
    embeddings = torch.cat([head.weight.detach(), -head.weight.detach()]).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = F.cross_entropy(head(embeddings, labels), labels)
    (gradient,) = torch.autograd.grad(loss, embeddings, create_graph=True)
    gradient.square().sum().backward()
    assert gradient.isfinite().all()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("training", [False, True])
def test_without_labels_the_logits_are_scaled_cosines_in_either_mode(make, training):
    head, embeddings = make(8, 3).train(training), torch.randn(4, 8)
    cosines = F.normalize(embeddings) @ F.normalize(head.weight).T
    torch.testing.assert_close(head(embeddings), 64 * cosines)
    with_margins = head(embeddings, LABELS)
    torch.testing.assert_close(head.train(not training)(embeddings, LABELS), with_margins)
    assert not torch.isclose(with_margins, 64 * cosines).all()


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_may_be_of_any_integer_dtype(make, dtype):
    head, embeddings = make(8, 3), torch.randn(4, 8)
    assert torch.equal(head(embeddings, LABELS.to(dtype)), head(embeddings, LABELS))


@pytest.mark.parametrize("make", HEADS)
def test_a_label_that_cross_entropy_ignores_is_ignored(make):
    head, embeddings = make(8, 3), torch.randn(4, 8)
    labels = torch.tensor([0, -100, 1, 2])
    known = labels >= 0
    found = F.cross_entropy(head(embeddings, labels), labels)
    expected = F.cross_entropy(head(embeddings[known], labels[known]), labels[known])
    torch.testing.assert_close(found, expected)


def test_a_label_that_is_no_class_is_refused_by_the_cross_entropy():
    head = CircleClassifier(8, 3)
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        F.cross_entropy(head(torch.ones(4, 8), LABELS + 1), LABELS + 1)


def test_logits_of_several_features_at_once():
    cosines = 2 * torch.rand(5, 4, 3) - 1
    found = circle_logits(cosines, LABELS)
    for one, each in zip(found, cosines, strict=True):
        assert torch.equal(one, circle_logits(each, LABELS))


@pytest.mark.parametrize("make", HEADS)
def test_compiles_exports_and_takes_an_empty_batch(make):
    head, embeddings = make(8, 3), torch.randn(4, 8)
    for inputs in ((embeddings,), (embeddings, LABELS)):
        expected = head(*inputs)
        compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*inputs), expected)
        exported = torch.export.export(head, inputs).module()
        torch.testing.assert_close(exported(*inputs), expected)
    empty = head(torch.empty(0, 8), torch.empty(0, dtype=torch.int64))
    assert empty.shape == (0, 3)


def test_autocast_changes_nothing():
    classifier, embeddings = CircleClassifier(8, 3), torch.randn(4, 8)
    expected = classifier(embeddings, LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier(embeddings, LABELS)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(each.sum(), classifier.weight)[0] for each in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


def _call(embeddings: Tensor, labels: Tensor | None) -> Tensor:
    return CircleClassifier(8, 3)(embeddings, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CircleClassifier(0, 3), "CircleClassifier expects embed_dim above 0, got 0"),
        (lambda: CircleClassifier(8, 0), "CircleClassifier expects num_classes above 0, got 0"),
        (lambda: CircleClassifier(8, 3, gamma=0), "CircleClassifier expects gamma above 0, got 0"),
        (lambda: ArcFaceClassifier(8, 3, scale=0), "ArcFaceClassifier expects scale above 0, got"),
        (lambda: CosFaceClassifier(8, 3, scale=-1), "CosFaceClassifier expects scale above 0, got"),
        (lambda: _call(torch.ones(4, 7), LABELS), r"expects embeddings \(·, 8\), got \(4, 7\)"),
        (lambda: _call(torch.ones(4, 8, 1), LABELS), r"embeddings \(B, D\), got \(4, 8, 1\)"),
        (lambda: _call(torch.ones(4, 8), LABELS[:3]), "one of labels for each of 4 embeddings"),
        (
            lambda: circle_logits(torch.ones(4), LABELS),
            r"expects cosines \(..., B, C\), got \(4,\)",
        ),
        (
            lambda: circle_logits(torch.ones(4, 3), LABELS, gamma=-1.0),
            "circle_logits expects gamma above 0, got -1",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("make", HEADS)
def test_labels_that_are_no_whole_numbers_are_refused_by_name(make):
    message = rf"{make.__name__} expects labels of an integer dtype.*got torch.float32"
    with pytest.raises(TypeError, match=message):
        make(8, 3)(torch.ones(4, 8), LABELS.float())


def test_repr():
    assert repr(CircleClassifier(8, 3)) == "CircleClassifier(8, 3, margin=0.35, gamma=64.0)"
    assert repr(ArcFaceClassifier(8, 3)) == "ArcFaceClassifier(8, 3, margin=0.5, scale=64.0)"
    assert repr(CosFaceClassifier(8, 3)) == "CosFaceClassifier(8, 3, margin=0.35, scale=64.0)"
