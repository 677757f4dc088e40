"""check_loss must be able to fail: a loss broken in one way each, and what is said of it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import leaf
from reidblocks.losses import cosine_similarity_matrix
from reidblocks.testing import check_loss

EMBEDDINGS = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def directions(embeddings: Tensor) -> Tensor:
    """Unit vectors; a zero vector stays, and divided by their size first so do 1e20 and 1e-20."""
    size = embeddings.detach().abs().sum(1, keepdim=True)
    zero = size == 0
    near_one = embeddings / size.masked_fill(zero, torch.inf)
    return near_one * near_one.square().sum(1, keepdim=True).masked_fill(zero, 1.0).rsqrt()


def mean_of_strangers(similarities: Tensor, labels: Tensor) -> Tensor:
    strangers = labels.unsqueeze(1) != labels  # [:, None] does not export with torch 2.7
    return similarities.masked_fill(~strangers, 0.0).sum() / strangers.sum().clamp(min=1)


def good(embeddings: Tensor, labels: Tensor) -> Tensor:
    """What every broken loss below is but for one fault: the mean cosine of strangers."""
    return mean_of_strangers(cosine_similarity_matrix(embeddings), labels)


class Good(nn.Module):
    """The same with a learned scale of each dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2.0, 16))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return good(embeddings.to(self.weight.dtype) * self.weight, labels)


class Uncopied(Good):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda embeddings: embeddings


class BareTensor(Good):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.full((), 2.0)


class DetachedParameter(Good):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return good(embeddings * self.weight.detach(), labels)


class HiddenState(Good):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            self.calls += 1
        return super().forward(embeddings, labels) + 0.1 * self.calls


def in_place(embeddings: Tensor, labels: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        labels += 1
    return good(embeddings, labels)


class Dropping(Good):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return super().forward(F.dropout(embeddings), labels)


def detached(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings.detach(), labels)


def of_each(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings, labels) + directions(embeddings).sum(1).float()


def in_half(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings, labels).to(embeddings.dtype)


def stays_half(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings, labels).half()


def order_dependent(embeddings: Tensor, labels: Tensor) -> Tensor:
    weights = torch.arange(len(embeddings), device=embeddings.device)[:, None]
    return good(embeddings + 0.1 * weights * embeddings.flip(1), labels)


def name_dependent(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings, labels) * (1 + labels.float().sum()).to(embeddings.dtype)


def mean_of_none(embeddings: Tensor, labels: Tensor) -> Tensor:
    unit = directions(embeddings)
    return (unit @ unit.T)[labels[:, None] != labels].mean().to(embeddings.dtype)


def needs_one(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings, labels) + 0.0 * embeddings[0].sum().clamp(-1.0, 1.0)


def constant_zero(embeddings: Tensor, labels: Tensor) -> Tensor:
    if len(set(labels.tolist())) < 2:
        return torch.zeros(())
    return good(embeddings, labels)


def zero_with_no_path(embeddings: Tensor, labels: Tensor) -> Tensor:
    if len(set(labels.tolist())) < 2:
        return torch.zeros((), requires_grad=True)
    return good(embeddings, labels)


def unguarded_norm(embeddings: Tensor, labels: Tensor) -> Tensor:
    unit = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    return mean_of_strangers(unit @ unit.T, labels).float()


def unguarded_root(embeddings: Tensor, labels: Tensor) -> Tensor:
    offsets = directions(embeddings)[:, None] - directions(embeddings)
    squares = offsets.square().sum(2).masked_fill(labels[:, None] == labels, 1.0)
    return mean_of_strangers(-squares.sqrt(), labels).float()


def overflowing(embeddings: Tensor, labels: Tensor) -> Tensor:
    unit = embeddings / embeddings.square().sum(1, keepdim=True).clamp(min=1e-30).sqrt()
    return mean_of_strangers(unit @ unit.T, labels)


def vanishing(embeddings: Tensor, labels: Tensor) -> Tensor:
    small = embeddings * 1e-10
    squares = small.square().sum(1, keepdim=True)
    unit = small / squares.masked_fill(squares == 0, 1.0).sqrt()
    return mean_of_strangers(unit @ unit.T, labels)


def canceling(embeddings: Tensor, labels: Tensor) -> Tensor:
    embeddings = embeddings / embeddings.detach().abs().sum().clamp(min=1e-30)
    products = embeddings @ embeddings.T
    squares = products.diagonal()[:, None] + products.diagonal() - 2 * products
    apart = squares > 0
    distances = squares.masked_fill(~apart, 1.0).sqrt().masked_fill(~apart, 0.0)
    return -100 * mean_of_strangers(distances, labels)


def squares_in_half(embeddings: Tensor, labels: Tensor) -> Tensor:
    mean_square = embeddings.square().sum() / 128
    return good(embeddings, labels) * (1 + (mean_square / 1e5).tanh())


def products_in_autocast(embeddings: Tensor, labels: Tensor) -> Tensor:
    wide = embeddings if embeddings.dtype.itemsize >= 4 else embeddings.float()
    return good(wide @ torch.eye(16, dtype=wide.dtype), labels)


def wrong_gradient(embeddings: Tensor, labels: Tensor) -> Tensor:
    loss = good(embeddings, labels)
    return loss * (1 + loss.detach())


def branching(embeddings: Tensor, labels: Tensor) -> Tensor:
    loss = good(embeddings, labels)
    return loss * 2 if loss > 0 else loss


def small_batch(embeddings: Tensor, labels: Tensor) -> Tensor:
    loss = good(embeddings, labels)
    return loss if len(embeddings) < 100 else loss * 1.0


def compiled_for_one_batch(embeddings: Tensor, labels: Tensor) -> Tensor:
    loss = good(embeddings, labels)
    return loss * 1.0 if len(embeddings) % 2 else loss


class ConstantGradient(torch.autograd.Function):
    """The identity; its gradient is a constant to derivatives, silently."""

    generate_vmap_rule = True

    @staticmethod
    def forward(embeddings: Tensor) -> Tensor:
        return embeddings.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.detach()


def once_differentiable(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(ConstantGradient.apply(embeddings), labels)


def root_of_zero(embeddings: Tensor, labels: Tensor) -> Tensor:
    offsets = directions(embeddings).unsqueeze(1) - directions(embeddings)
    return -mean_of_strangers(torch.linalg.vector_norm(offsets, dim=2), labels)


def without_forward_mode(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(Identity.apply(embeddings), labels)


class Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, embeddings: Tensor) -> Tensor:
        return embeddings.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def looking_at_a_shape(embeddings: Tensor, labels: Tensor) -> Tensor:
    if embeddings.shape[1] == 0:
        return embeddings.sum()
    return good(embeddings, labels)


def in_float64(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings.double(), labels).to(cosine_similarity_matrix(embeddings).dtype)


def with_constants_of_the_cpu(embeddings: Tensor, labels: Tensor) -> Tensor:
    return good(embeddings * torch.ones(16, dtype=embeddings.dtype), labels)


def test_a_good_loss_passes_and_is_left_as_it_was() -> None:
    loss, embeddings, labels = Good(), EMBEDDINGS.clone(), LABELS.clone()
    before = loss.weight.detach().clone()
    seed = torch.get_rng_state()
    check_loss(loss, embeddings, labels)
    assert torch.equal(loss.weight, before)
    assert loss.weight.grad is None
    assert torch.equal(embeddings, EMBEDDINGS)
    assert torch.equal(labels, LABELS)
    assert torch.equal(torch.get_rng_state(), seed)


def test_a_good_function_passes() -> None:
    check_loss(good, EMBEDDINGS, LABELS)


FINITE = "is finite and accurate for "


@pytest.mark.parametrize(
    ("loss", "promise", "how"),
    [
        (Uncopied(), "can be copied and pickled", "pickle"),
        (BareTensor(), "keeps its tensors as parameters and buffers", "scale is a bare tensor"),
        (DetachedParameter(), "finite gradient to every", "parameter weight gets none"),
        (HiddenState(), "is restored by its state_dict", "the restored output differs by"),
        (in_place, "leaves its inputs as they are", "input 1 is changed in place"),
        (Dropping(), "gives the same twice", "the second output differs by"),
        (detached, "finite gradient to every", "what comes out has no gradient"),
        (of_each, "gives a scalar in float32 or better", r"it gives \(8,\) of torch.float32"),
        (stays_half, "gives a scalar in float32 or better", r"it gives \(\) of torch.float16"),
        (in_half, "takes float16 for what it is", "the value is torch.float16"),
        (order_dependent, "is the same for any order", "the shuffled batch differs by"),
        (name_dependent, "is the same for other names", "the renamed batch differs by"),
        (mean_of_none, FINITE + "one embedding", "the value holds nan"),
        (needs_one, FINITE + "no embedding", "IndexError"),
        (constant_zero, FINITE + "one embedding", "what comes out has no gradient"),
        (zero_with_no_path, FINITE + "one embedding", "no gradient reaches the embeddings"),
        (unguarded_norm, FINITE + "a zero vector", "the value holds nan"),
        (
            unguarded_root,
            FINITE + "the same embedding everywhere",
            "the gradient of input 0 holds nan",
        ),
        (overflowing, FINITE + "embeddings scaled by 1e20", "differs by|holds"),
        (vanishing, FINITE + "embeddings scaled by 1e-20", "holds|differs by"),
        (canceling, FINITE + "a tight cluster far", "the value, against float64, differs by"),
        (squares_in_half, "takes float16 for what it is", "holds|differs by"),
        (products_in_autocast, "keeps its precision under autocast", "the value differs by"),
        (wrong_gradient, "has the gradient of its value", "GradcheckError.*Jacobian mismatch"),
        (branching, "compiles to one graph", "[Dd]ata-dependent"),
        (small_batch, "exports with a batch of any size", "batch"),
        (compiled_for_one_batch, "one graph for batches of any size", "[Rr]ecompile"),
        (
            once_differentiable,
            "has finite second derivatives for the batch",
            "gradient has no gradient",
        ),
        (
            root_of_zero,
            "has finite second derivatives for the batch as it is",
            "second derivative 0 holds nan",
        ),
        (without_forward_mode, "works under torch.func", "setup_context"),
        (looking_at_a_shape, "is traced by torch.fx", "TraceError"),
        (in_float64, "works without float64", "gives float64"),
        (with_constants_of_the_cpu, "works on meta", "[Mm]eta"),
    ],
)
def test_a_broken_loss_is_caught(loss: Callable[..., Tensor], promise: str, how: str) -> None:
    name = getattr(loss, "__name__", type(loss).__name__)
    with pytest.raises(AssertionError, match=f"(?s)^{name} breaks .*{promise}.*({how})"):
        check_loss(loss, EMBEDDINGS, LABELS)


def test_class_losses_and_constant_weights_are_allowed_for_when_said() -> None:
    check_loss(wrong_gradient, EMBEDDINGS, LABELS, exact_gradient=False)
    classes = name_dependent  # to which a label is a number
    check_loss(classes, EMBEDDINGS, LABELS, labels_are_classes=True)


@leaf  # as torch.arange takes no stand-in of torch.fx in torch 2.7
def all_different(embeddings: Tensor) -> Tensor:
    return torch.arange(embeddings.shape[0], device=embeddings.device)


def test_a_loss_without_labels() -> None:
    def spread(embeddings: Tensor) -> Tensor:
        return good(embeddings.flatten(1), all_different(embeddings))

    check_loss(spread, EMBEDDINGS.view(8, 2, 8))


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.rand(8), LABELS, r"embeddings \(B, ..., D\) of B ≥ 2, got \(8,\)"),
        (torch.rand(1, 8), LABELS[:1], r"embeddings \(B, ..., D\) of B ≥ 2, got \(1, 8\)"),
        (torch.rand(8, 4), LABELS[:7], r"check_loss expects labels \(8,\), got \(7,\)"),
    ],
)
def test_errors(embeddings: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_loss(good, embeddings, labels)
