"""Attention diversity, against the double loop of Eq. 7 in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.losses import AttentionDiversity, attention_diversity_loss
from reidblocks.testing import check_loss


def naive(parts, beta):
    losses = []
    for image in parts:
        loss = beta * sum(part.abs().sum() for part in image)
        for i, one in enumerate(image):
            for j, other in enumerate(image):
                if i != j and one.any() and other.any():
                    loss = loss + (one / one.norm()) @ (other / other.norm())
        losses.append(loss)
    return torch.stack(losses)


def test_a_value_worked_out_by_hand():
    parts = torch.tensor(
        [[[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [-5.0, 0.0], [0.0, 1.0]]]
    )
    # cos 0.8 twice, lengths 7 + 2; cos −1 twice and 0, lengths 1 + 5 + 1
    losses = attention_diversity_loss(parts, beta=0.1, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([1.6 + 0.9, -2.0 + 0.7]))
    torch.testing.assert_close(attention_diversity_loss(parts, beta=0.1), torch.tensor(0.6))
    total = AttentionDiversity(0.1, "sum")(parts)
    torch.testing.assert_close(total, torch.tensor(1.2))


def test_the_released_form_takes_each_pair_once_and_the_sum_of_the_maps():
    parts = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [-5.0, 0.0]]])
    maps = torch.tensor([0.25, 0.5]).view(2, 1, 1, 1).expand(2, 2, 3, 2).clone().requires_grad_()
    losses = attention_diversity_loss(parts, beta=0.1, maps=maps, ordered=False, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([0.8 + 0.3, -1.0 + 0.6]))  # 12 places each
    loss = AttentionDiversity(0.1, ordered=False)(parts, maps)
    torch.testing.assert_close(loss, losses.mean())
    loss.backward()
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 0.1 / 2))


@given(
    st.integers(1, 4), st.integers(1, 5), st.sampled_from([1e20, 1.0, 1e-20]), st.integers(0, 99)
)
def test_is_the_loop_of_the_equation(batch, num_maps, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = scale * torch.relu(torch.randn(batch, num_maps, 6, generator=generator))
    exact = parts.double().requires_grad_()
    expected = naive(exact, 0.001)
    parts.requires_grad_()
    losses = attention_diversity_loss(parts, reduction="none")
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    (found,) = torch.autograd.grad(losses.sum(), parts)
    (wanted,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5 / scale)


def test_keeps_the_contract():
    check_loss(AttentionDiversity(), torch.randn(4, 3, 8))


def test_whole_numbers_are_parts_like_any_others():
    parts = torch.tensor([[[3, 4], [4, 3]]])
    assert torch.equal(attention_diversity_loss(parts), attention_diversity_loss(parts.float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    parts = (300 * torch.randn(3, 2, 512)).to(dtype).requires_grad_()
    loss = attention_diversity_loss(parts, beta=1.0)
    torch.testing.assert_close(loss.double(), naive(parts.detach().double(), 1.0).mean())
    assert loss.dtype == torch.float32
    loss.backward()
    assert parts.grad.isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(0, 2, 4), (3, 0, 4)], ids=["no image", "no part"])
def test_nothing_gives_a_zero_with_a_graph(shape, reduction):
    parts = torch.randn(shape, requires_grad=True)
    loss = attention_diversity_loss(parts, reduction=reduction)
    assert loss.shape == (shape[:1] if reduction == "none" else ())
    assert not loss.any()
    loss.sum().backward()


def test_a_zero_part_gets_no_gradient_of_its_direction():
    parts = torch.randn(2, 3, 4)
    parts[0, 1] = 0
    parts.requires_grad_()
    attention_diversity_loss(parts).backward()
    assert not parts.grad[0, 1].any()
    assert 0 < parts.grad.abs().max() < 10


def test_errors_and_repr():
    with pytest.raises(
        ValueError, match=r"attention_diversity_loss expects parts \(\.\.\., B, K, M\), got"
    ):
        attention_diversity_loss(torch.ones(2, 3))
    with pytest.raises(ValueError, match="expects reduction 'mean', 'sum' or 'none', got 'max'"):
        attention_diversity_loss(torch.ones(2, 3, 4), reduction="max")
    with pytest.raises(ValueError, match="AttentionDiversity expects reduction"):
        AttentionDiversity(reduction="max")
    with pytest.raises(ValueError, match=r"expects maps \(2, \.\.\.\), got \(3, 2, 4, 4\)"):
        attention_diversity_loss(torch.ones(2, 3, 4), maps=torch.ones(3, 2, 4, 4))
    with pytest.raises(TypeError, match="attention_diversity_loss expects maps as a tensor, got"):
        attention_diversity_loss(torch.ones(2, 3, 4), maps=[1])
    expected = "AttentionDiversity(beta=0.001, reduction='mean', ordered=True)"
    assert repr(AttentionDiversity()) == expected


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_leading_dimensions_are_several_kinds_of_parts(reduction):
    parts = torch.randn(3, 2, 4, 2, 5, dtype=torch.float64, requires_grad=True)
    together = attention_diversity_loss(parts, beta=0.3, reduction=reduction)
    each = [attention_diversity_loss(p, beta=0.3, reduction=reduction) for p in parts.flatten(0, 1)]
    torch.testing.assert_close(together.flatten(0, 1), torch.stack(each))
    (found,) = torch.autograd.grad(together.sum(), parts, retain_graph=True)
    (expected,) = torch.autograd.grad(sum(loss.sum() for loss in each), parts)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"expects parts \(B, K, M\), got"):
        attention_diversity_loss(parts, maps=torch.ones(3, 2))
