"""Eq. 9: the terms by name, what they are made of, and that every part of MDPR learns from them."""

import dataclasses
import itertools

import pytest
import torch
from tiny import TINY, tiny_backbone
from torch import Tensor, nn

from config import MDPRConfig
from criterion import Criterion
from model import MDPR
from reidblocks import attention_diversity_loss, batch_hard_triplet_loss, circle_loss

FEATURES = ("hard_g5", "hard_p1", "hard_p2", "soft_g5", "soft_g4", "fusion")


def parts_of(config: MDPRConfig, num_classes: int = 5) -> tuple[MDPR, Criterion]:
    model = MDPR(tiny_backbone(), config)
    return model, Criterion(config, model.sizes, num_classes)


def terms_of(**changes: object) -> tuple[MDPR, Criterion, dict[str, Tensor]]:
    config = dataclasses.replace(TINY, **changes)
    model, criterion = parts_of(config)
    labels = torch.tensor([0, 0, 1, 1, 4, 4])
    return model, criterion, criterion(model(torch.rand(6, 3, 16, 8)), labels)


def test_terms_of_equation_nine() -> None:
    _, _, terms = terms_of()
    expected = {f"circle_{name}" for name in (*FEATURES, "soft_bap5", "soft_bap4")}
    expected |= {f"triplet_{name}" for name in FEATURES}
    expected |= {"diversity_soft_bap5", "diversity_soft_bap4", "distillation"}
    assert set(terms) == expected
    assert all(term.shape == () and term.isfinite() for term in terms.values())


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"distillation": False}, {"distillation"}),
        ({"fusion": False}, {"circle_fusion", "triplet_fusion"}),
        (
            {"branches": "soft"},
            {"distillation", "circle_fusion", "triplet_fusion"}
            | {f"{loss}_{name}" for loss in ("circle", "triplet") for name in FEATURES[:3]},
        ),
    ],
)  # fmt: skip
def test_ablations_take_their_terms_away(changes: dict[str, object], gone: set[str]) -> None:
    assert set(terms_of()[2]) - set(terms_of(**changes)[2]) == gone


def test_values_are_those_of_the_losses() -> None:
    config = dataclasses.replace(
        TINY, circle="pair", circle_gamma=32.0, triplet_margin=None, beta=0.1
    )
    model, criterion = parts_of(config)
    labels = torch.tensor([0, 0, 1, 1, 4, 4])
    output = model(torch.rand(6, 3, 16, 8))
    terms = criterion(output, labels)
    f4 = output.features["soft_g4"].embedding
    expected = {
        "circle_soft_g4": circle_loss(f4, labels, gamma=32.0),
        "triplet_soft_g4": batch_hard_triplet_loss(f4, labels, margin=None),
        "diversity_soft_bap5": attention_diversity_loss(output.parts["soft_bap5"], beta=0.1),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_the_released_diversity_takes_each_pair_once_and_the_maps() -> None:
    config = dataclasses.replace(TINY, beta=0.1, diversity="maps")
    model, criterion = parts_of(config)
    output = model(torch.rand(6, 3, 16, 8))
    terms = criterion(output, torch.tensor([0, 0, 1, 1, 4, 4]))
    for stage in (5, 4):
        parts, maps = output.parts[f"soft_bap{stage}"], output.attention[f"A{stage}"]
        assert maps.shape[:2] == (6, TINY.num_maps)
        first, second, third = torch.nn.functional.normalize(parts, dim=2).unbind(1)
        once = (first * second + first * third + second * third).sum(1)
        expected = (once + 0.1 * maps.sum((1, 2, 3))).mean()
        torch.testing.assert_close(terms[f"diversity_soft_bap{stage}"], expected)


@pytest.mark.parametrize("circle", ["pair", "class"])
def test_every_parameter_learns(circle: str) -> None:
    model, criterion, terms = terms_of(circle=circle)
    torch.stack(list(terms.values())).sum().backward()
    idle = [
        name
        for part in (model, criterion)
        for name, parameter in part.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    # A convolution's bias before a BN that sees batch statistics gets rounding noise or nothing.
    assert not [name for name in idle if "bias" not in name]


def test_an_output_without_attention_is_refused() -> None:
    config = dataclasses.replace(TINY, branches="soft")
    model, criterion = parts_of(config)
    with pytest.raises(ValueError, match="training mode"):
        criterion(model.eval()(torch.rand(2, 3, 16, 8)), torch.tensor([0, 0]))


CHOICES = {
    **dict.fromkeys(
        ("guidance", "shared_pool", "fusion", "distillation", "separate_networks"), (False, True)
    ),
    "refine4": ("conv", "block"),
    "attention4": ("refined", "raw"),
}


@pytest.mark.parametrize("branches", ["both", "hard", "soft"])
def test_a_gradient_reaches_every_parameter_in_every_configuration(branches: str) -> None:
    """Else DistributedDataParallel, which waits for each of them, fails at its second step."""
    images, labels = torch.rand(4, 3, 16, 8), torch.tensor([0, 0, 1, 1])
    for values in itertools.product(*CHOICES.values()):
        chosen = dict(zip(CHOICES, values, strict=True))
        config = dataclasses.replace(TINY, branches=branches, circle="class", **chosen)
        both = nn.ModuleList(parts_of(config, num_classes=2))
        model, criterion = both
        sum(criterion(model(images), labels).values()).backward()
        missed = [name for name, p in both.named_parameters() if p.requires_grad and p.grad is None]
        assert missed == [], chosen
