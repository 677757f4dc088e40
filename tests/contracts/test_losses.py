"""Every public loss is held to the contract that users can hold theirs to."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks import losses
from reidblocks.testing import check_loss
from reidblocks.testing._promises import expect_same

EMBEDDINGS = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([3, 0, 0, 1, 3, 1, 0, 2])  # 2 has no positive
MEMORY = torch.randn(5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Case(NamedTuple):
    make: Callable[[], Callable[..., Tensor]]
    kinds: dict[str, Any] = {}  # noqa: RUF012
    inputs: tuple[Tensor, ...] = (EMBEDDINGS, LABELS)


def given_similarities(embeddings: Tensor, labels: Tensor) -> Tensor:
    similarities = losses.cosine_similarity_matrix(embeddings)
    return losses.circle_loss_from_similarities(similarities, *losses.pair_masks(labels))


def given_distances(embeddings: Tensor, labels: Tensor) -> Tensor:
    distances = 1 - losses.cosine_similarity_matrix(embeddings)
    return losses.batch_hard_triplet_loss_from_distances(distances, *losses.pair_masks(labels))


def of_features(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Of two features of one batch at once."""
    return lambda embeddings, labels: loss(
        torch.stack((embeddings, embeddings.flip(1)), 0), labels
    ).sum()


def against_a_copy(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Compare with a second set which learns, too."""

    def compare(embeddings: Tensor, labels: Tensor) -> Tensor:
        second_set = {"other_embeddings": embeddings.flip(0), "other_labels": labels.flip(0)}
        return loss(embeddings, labels, **second_set)

    return compare


def each_anchor(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *inputs: loss(*inputs, reduction="none").sum()


class FixedClasses(nn.Module):
    """circle_logits, as a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", MEMORY[:4].float())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosines = losses.cosine_similarity_matrix(embeddings, self.weight)
        return F.cross_entropy(losses.circle_logits(cosines, labels), labels, reduction="sum")


class Classified(nn.Module):
    """The cross-entropy of a head's logits."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.head(embeddings, labels), labels, reduction="sum")


CONSTANT_WEIGHTS = {"exact_gradient": False}  # circle loss's α are no part of its gradient
CLASSES = {"labels_are_classes": True, "exact_gradient": False}
EXACT_CLASSES = {"labels_are_classes": True}
PARTS = (torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0)).exp(),)

circle, triplet = losses.circle_loss, losses.batch_hard_triplet_loss
diversity = losses.attention_diversity_loss
CASES = {
    "circle_loss": Case(lambda: circle, CONSTANT_WEIGHTS),
    "circle_loss_from_similarities": Case(lambda: given_similarities, CONSTANT_WEIGHTS),
    "circle_loss of two features": Case(lambda: of_features(circle), CONSTANT_WEIGHTS),
    "circle_loss with a second set": Case(lambda: against_a_copy(circle), CONSTANT_WEIGHTS),
    "circle_loss of each anchor": Case(lambda: each_anchor(circle), CONSTANT_WEIGHTS),
    "CircleLoss": Case(lambda: losses.CircleLoss(gamma=512.0), CONSTANT_WEIGHTS),
    "CircleLoss summed": Case(lambda: losses.CircleLoss(reduction="sum"), CONSTANT_WEIGHTS),
    "CircleClassifier": Case(lambda: Classified(losses.CircleClassifier(16, 4)), CLASSES),
    "ArcFaceClassifier": Case(lambda: Classified(losses.ArcFaceClassifier(16, 4)), EXACT_CLASSES),
    "CosFaceClassifier": Case(lambda: Classified(losses.CosFaceClassifier(16, 4)), EXACT_CLASSES),
    "circle_logits": Case(FixedClasses, CLASSES),
    "batch_hard_triplet_loss": Case(lambda: triplet),
    "batch_hard_triplet_loss_from_distances": Case(lambda: given_distances),
    "batch_hard_triplet_loss of two features": Case(lambda: of_features(triplet)),
    "batch_hard_triplet_loss with a second set": Case(lambda: against_a_copy(triplet)),
    "batch_hard_triplet_loss of each anchor": Case(lambda: each_anchor(triplet)),
    "BatchHardTriplet": Case(lambda: losses.BatchHardTriplet(margin=None)),
    "BatchHardTriplet of cosines": Case(lambda: losses.BatchHardTriplet(distance="cosine")),
    "attention_diversity_loss": Case(lambda: diversity, inputs=PARTS),
    "attention_diversity_loss of each image": Case(lambda: each_anchor(diversity), inputs=PARTS),
    "AttentionDiversity": Case(lambda: losses.AttentionDiversity(beta=0.1), inputs=PARTS),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (" " in case)) for case in CASES]
)
def test_loss_keeps_the_contract(case: str) -> None:
    make, kinds, inputs = CASES[case]
    check_loss(make(), *inputs, **kinds)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_loss_keeps_the_contract_when_compiled_by_inductor(case: str) -> None:
    make, kinds, inputs = CASES[case]
    check_loss(make(), *inputs, **kinds, backend="inductor")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_loss_gives_on_a_gpu_what_it_gives_on_a_cpu(case: str, precision: torch.dtype) -> None:
    make, _, (embeddings, *labels) = CASES[case]
    loss, embeddings = make(), embeddings.to(precision)
    on_gpu = copy.deepcopy(loss).cuda() if isinstance(loss, nn.Module) else loss
    if isinstance(loss, nn.Module):
        loss.double()
    value, gradient = value_and_gradient(loss, embeddings.double(), *labels)
    for autocast in (False, True):
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            moved = (embeddings.cuda(), *(each.cuda() for each in labels))
            found, by_embeddings = value_and_gradient(on_gpu, *moved)
        assert found.dtype == torch.float32
        expect_same([found.cpu()], [value], "the value")
        allowed = 1e-3 if precision == torch.float32 else 0.01  # the gradient's own digits
        expect_same([by_embeddings.cpu()], [gradient], "the gradient", allowed)


def value_and_gradient(
    loss: Callable[..., Tensor], embeddings: Tensor, *labels: Tensor
) -> tuple[Tensor, Tensor]:
    embeddings = embeddings.detach().requires_grad_()
    value = loss(embeddings, *labels)
    (gradient,) = torch.autograd.grad(value, embeddings)
    return value.detach(), gradient


def test_every_public_loss_is_held_to_it() -> None:
    helpers = {
        *("cosine_similarity_matrix", "pair_masks"),
        "gather_batch",  # in the tests of processes
    }
    assert set(losses.__all__) - helpers <= {name.split()[0] for name in CASES}


PAIRS = [
    name
    for name in CASES
    if name.split()[0]
    in {"circle_loss", "CircleLoss", "batch_hard_triplet_loss", "BatchHardTriplet"}
    and "second set" not in name
]


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize(
    "labels", [[], [0], [0] * 8, list(range(8))], ids=["empty", "one", "one identity", "all differ"]
)
def test_with_no_pair_the_loss_is_a_zero_that_keeps_the_graph(case: str, labels: list[int]) -> None:
    embeddings = EMBEDDINGS[: len(labels)].clone().requires_grad_()
    loss = CASES[case].make()(embeddings, torch.tensor(labels, dtype=torch.int64))
    assert loss.item() == 0.0
    (2 * loss).backward()
    assert embeddings.grad is not None
    assert not embeddings.grad.any()
