"""The contract of a loss over embeddings, as one call."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from reidblocks.testing._capabilities import (
    differentiates_twice,
    gives_the_same_once_pickled,
    has_a_forward_derivative,
    has_a_jacobian,
    has_finite_second_derivatives,
    is_differentiated_by_func,
    is_traced_by_fx,
    is_vectorized,
    needs_no_float64,
    works_on_meta,
)
from reidblocks.testing._promises import (
    COMMON,
    Check,
    Inputs,
    compiles,
    copies,
    expect_finite,
    expect_same,
    exports,
    gives_the_same_twice,
    gradients_of,
    keep_promises,
    outputs_of,
)


def check_loss(
    loss: Callable[..., Tensor],
    embeddings: Tensor,
    labels: Tensor | None = None,
    *,
    labels_are_classes: bool = False,
    exact_gradient: bool = True,
    backend: str = "aot_eager",
) -> None:
    """Check that a loss, yours or ours, meets the contract of reidblocks' losses.

    - It gives a scalar, float32 or better, whose gradient reaches the embeddings and every
      trainable parameter.
    - It leaves its inputs as they are, gives the same twice, and can be copied and restored.
    - Neither the order of the batch nor the names of the labels count.
    - In float32 it gives what it gives in float64, and value and gradient are finite, for this
      batch and for degenerate ones made of it: one identity, every identity once, one
      embedding, none, the same embedding everywhere, zero vectors, embeddings scaled by 1e20
      and 1e-20, a tight cluster far from the origin. With nothing left to compare, a zero
      keeps the graph.
    - Half-precision embeddings and autocast lose nothing but the embeddings' own digits.
    - The gradient is that of the value, by finite differences in float64; and so is the second
      derivative, which is finite for the degenerate batches too.
    - ``torch.compile(fullgraph=True, dynamic=True)``, once for batches of any size from two on,
      and ``torch.export`` with a batch of any size give what eager gives, and so do
      ``torch.func`` (grad, jvp, jacrev, vmap) and ``torch.fx``.
    - It runs on a device without float64, runs and can be printed on meta, and a module comes
      back from there by ``to_empty`` and its state_dict.

    The loss itself is left as it was: everything happens on copies.

    Args:
        loss: a function or module called with embeddings, and labels if there are any.
        embeddings: a float32 batch of ordinary size, such as ``torch.randn(8, 16)``.
        labels: an identity for each embedding, with pairs of the same; None for a loss of
            embeddings alone.
        labels_are_classes: whether labels count the rows of something the loss learns, so that
            renaming them makes another loss.
        exact_gradient: False where a factor is held constant in derivatives by design, as
            circle loss does with its weights.
        backend: of ``torch.compile``; the default needs no compiler on the machine.

    Shape:
        embeddings (B, ..., D) of B ≥ 2, labels (B,)

    Raises:
        ValueError: there are fewer than two embeddings, or not as many labels.
        AssertionError: the loss breaks a promise; the message says which and how.

    >>> from reidblocks.losses import batch_hard_triplet_loss
    >>> labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    >>> check_loss(batch_hard_triplet_loss, torch.randn(8, 16), labels)
    """
    if embeddings.dim() < 2 or embeddings.shape[0] < 2:
        raise ValueError(
            f"check_loss expects embeddings (B, ..., D) of B ≥ 2, got {tuple(embeddings.shape)}"
        )
    if labels is not None and labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"check_loss expects labels ({embeddings.shape[0]},), got {tuple(labels.shape)}"
        )
    module = as_module(loss)
    subject = type(loss).__name__ if module is loss else getattr(loss, "__name__", "the loss")
    inputs = (embeddings,) if labels is None else (embeddings, labels)
    promises = promises_of_losses(module, inputs, labels_are_classes, exact_gradient, backend)
    keep_promises(subject, promises, module, inputs)


def promises_of_losses(
    loss: nn.Module,
    inputs: Inputs,
    labels_are_classes: bool = False,
    exact_gradient: bool = True,
    backend: str = "aot_eager",
) -> dict[str, Check]:
    """Name each promise of a loss, with what holds a loss to it."""
    promises: dict[str, Check] = {"gives the same twice": gives_the_same_twice}
    promises |= COMMON
    if not isinstance(loss, _Function):
        promises["can be copied and pickled"] = copies
        promises["gives the same once pickled"] = gives_the_same_once_pickled
    promises["gives a scalar in float32 or better"] = _gives_a_scalar
    promises["is the same for any order of the batch"] = _ignores_order
    if len(inputs) > 1 and not labels_are_classes:
        promises["is the same for other names of the labels"] = _ignores_names
    for case, batch in _batches(*inputs).items():
        promises[f"is finite and accurate for {case}"] = partial(_is_accurate_for, batch)
        if "scaled" not in case:  # of 1e-20, float32 does not hold them
            twice = partial(_differentiates_twice, batch)
            promises[f"has finite second derivatives for {case}"] = twice
    promises |= {
        "takes float16 for what it is": partial(_takes_half, torch.float16),
        "takes bfloat16 for what it is": partial(_takes_half, torch.bfloat16),
        "keeps its precision under autocast": _keeps_precision_under_autocast,
    }
    if exact_gradient:
        promises["has the gradient of its value"] = _has_its_own_gradient
        promises["has the second derivative of its value"] = _has_its_own_second_derivative
    return promises | {
        "compiles to one graph for batches of any size": partial(compiles, backend=backend),
        "exports with a batch of any size": exports,
        "works without float64": needs_no_float64,
        "works under torch.func.grad": is_differentiated_by_func,
        "works under torch.func.vmap": is_vectorized,
        "works under torch.func.jvp": has_a_forward_derivative,
        "works under torch.func.jacrev": has_a_jacobian,
        "has true second derivatives": partial(differentiates_twice, exact=exact_gradient),
        "is traced by torch.fx": is_traced_by_fx,
        "works on meta": works_on_meta,
    }


def as_module(loss: Callable[..., Tensor]) -> nn.Module:
    """Return the loss itself, or a function as the module that the promises are made for."""
    return loss if isinstance(loss, nn.Module) else _Function(loss)


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        # not *inputs, which torch.fx cannot trace
        return self.function(embeddings) if labels is None else self.function(embeddings, labels)


def _batches(embeddings: Tensor, labels: Tensor | None = None) -> dict[str, Inputs]:
    """The batch itself and degenerate ones made of it."""
    zero = embeddings.clone(memory_format=torch.contiguous_format)
    zero.view(-1, zero.shape[-1])[0] = 0.0
    every = torch.arange(len(embeddings))
    cases = {
        "the batch as it is": (embeddings, every),
        "one embedding": (embeddings[:1], every[:1]),
        "no embedding": (embeddings[:0], every[:0]),
        "the same embedding everywhere": (embeddings[:1].expand_as(embeddings), every),
        "a zero vector": (zero, every),
        "zero vectors alone": (torch.zeros_like(embeddings), every),
        "embeddings scaled by 1e20": (embeddings * 1e20, every),
        "embeddings scaled by 1e-20": (embeddings * 1e-20, every),
        "a tight cluster far from the origin": (1000 + 1e-3 * embeddings, every),
    }
    if labels is None:
        return {case: (batch,) for case, (batch, _) in cases.items()}
    names = labels.tolist()
    firsts = torch.tensor([names.index(name) for name in sorted(set(names))])
    cases["every identity once"] = (embeddings[firsts], firsts)
    cases["one identity"] = (embeddings, torch.zeros_like(every))
    return {case: (batch, labels[rows]) for case, (batch, rows) in cases.items()}


def _gives_a_scalar(loss: nn.Module, inputs: Inputs) -> None:
    outputs = outputs_of(loss, inputs)
    if len(outputs) != 1 or outputs[0].dim() or outputs[0].dtype.itemsize < 4:
        kinds = [f"{tuple(each.shape)} of {each.dtype}" for each in outputs]
        raise AssertionError(f"it gives {', '.join(kinds)}")


def _ignores_order(loss: nn.Module, inputs: Inputs) -> None:
    order = torch.randperm(len(inputs[0]))
    shuffled = outputs_of(loss, tuple(each[order] for each in inputs))
    expect_same(shuffled, outputs_of(loss, inputs), "the value of the shuffled batch")


def _ignores_names(loss: nn.Module, inputs: Inputs) -> None:
    embeddings, labels = inputs
    names = sorted(set(labels.tolist()))
    others = dict(zip(names, (1000 + 7 * torch.randperm(len(names))).tolist(), strict=True))
    renamed = torch.tensor([others[name] for name in labels.tolist()], device=labels.device)
    expected = outputs_of(loss, inputs)
    expect_same(outputs_of(loss, (embeddings, renamed)), expected, "the value of the renamed batch")


def _is_accurate_for(batch: Inputs, loss: nn.Module, ordinary: Inputs) -> None:
    exact_loss = copy.deepcopy(loss).double()
    _, usual = _finite_run(copy.deepcopy(exact_loss), (ordinary[0].double(), *ordinary[1:]))
    value, gradients = _finite_run(loss, batch)
    exact_value, exact_gradients = _finite_run(exact_loss, (batch[0].double(), *batch[1:]))
    expect_same([value], [exact_value], "the value, against float64,")
    for name, exact in exact_gradients.items():
        # where the true gradient vanishes, the rounding of an ordinary one is left
        floor = max(1e-5, 1e-6 * usual[name].abs().max().item()) if exact.numel() else 0.0
        difference = (gradients[name].double() - exact).abs()
        what = f"the gradient of {name}, against float64,"
        if (difference > floor).any():
            expect_same([gradients[name]], [exact], what, 1e-3)


def _differentiates_twice(batch: Inputs, loss: nn.Module, _: Inputs) -> None:
    has_finite_second_derivatives(loss, batch)


def _takes_half(dtype: torch.dtype, loss: nn.Module, inputs: Inputs) -> None:
    for scale in (1.0, 300.0):  # of which float16 holds the numbers, but not their squares
        half = ((scale * inputs[0]).to(dtype), *inputs[1:])
        value, _ = _finite_run(loss, half)
        if value.dtype.itemsize < 4:
            raise AssertionError(f"the value is {value.dtype}")
        expected = outputs_of(loss, (half[0].float(), *inputs[1:]))
        expect_same([value], expected, "the value, against the same embeddings in float32,")


def _keeps_precision_under_autocast(loss: nn.Module, inputs: Inputs) -> None:
    expected = outputs_of(loss, inputs)
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        value = outputs_of(loss, inputs)
    expect_same(value, expected, "the value")


def _has_its_own_gradient(loss: nn.Module, inputs: Inputs) -> None:
    embeddings = inputs[0].double().requires_grad_()
    torch.autograd.gradcheck(loss.double(), (embeddings, *inputs[1:]))


def _has_its_own_second_derivative(loss: nn.Module, inputs: Inputs) -> None:
    embeddings = inputs[0].double().requires_grad_()
    torch.autograd.gradgradcheck(loss.double(), (embeddings, *inputs[1:]), atol=1e-4)


def _finite_run(loss: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    (value,), gradients = gradients_of(loss, inputs)
    expect_finite({"the value": value})
    arrived = {name: each for name, each in gradients.items() if each is not None}
    if "input 0" not in arrived:
        raise AssertionError("no gradient reaches the embeddings")
    expect_finite({f"the gradient of {name}": each for name, each in arrived.items()})
    return value, arrived
