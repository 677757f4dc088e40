"""The contract of a block, as one call."""

import copy
from contextlib import AbstractContextManager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks.testing._capabilities import (
    differentiates_twice,
    gives_the_same_once_pickled,
    has_a_forward_derivative,
    has_a_jacobian,
    is_differentiated_by_func,
    is_traced_by_fx,
    is_vectorized,
    lets_hooks_keep_what_they_see,
    needs_no_float64,
    runs_backward_hooks,
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

COARSE = 0.05  # how far, against the largest value, half precision may be from float32


def check_block(
    block: nn.Module,
    *inputs: Tensor,
    height_multiple: int = 1,
    exact_gradient: bool = True,
    backend: str = "aot_eager",
) -> None:
    """Check that a block, yours or ours, meets the contract of reidblocks' blocks.

    - It can be copied and pickled, and its state_dict restores it.
    - It registers its tensors, leaves its inputs as they are, and in eval gives the same twice.
    - In eval, an image's result does not depend on the rest of the batch, which may be one.
    - Maps may have any height and width, odd ones and a single row too, and channels last.
    - A finite gradient reaches every trainable parameter; zeros are as good as any input.
    - It works in float16, in bfloat16 and under autocast, and where there is no float64.
    - ``torch.func`` differentiates it (grad, jvp, jacrev) and vectorizes it (vmap) in eval: in
      training, torch's batch norm cannot be. Its gradients have true derivatives themselves.
    - ``torch.fx`` traces it, for feature extraction and quantization.
    - Hooks on every submodule fire, backward ones too, and may keep what they see.
    - It can be printed and run on meta, and comes back by ``to_empty`` and its state_dict.
    - ``torch.compile(fullgraph=True, dynamic=True)``, once for batches of any size from two on,
      and ``torch.export`` with a batch of any size give what eager gives. (Of a block that is
      random in training, as with dropout, the compiled graph draws in its own way: there the
      shapes alone are compared.)

    The block itself is left as it was: everything happens on copies.

    Args:
        block: the block, in float32. What it gives may be tensors or (nested) tuples, lists and
            dicts of them, each with the batch first, or scalars.
        inputs: tensors it is called with, of two images or more.
        height_multiple: what the height of its maps must be a multiple of, if anything.
        exact_gradient: False where something is held constant in the gradient by design, as the
            targets of a distillation are.
        backend: of ``torch.compile``; the default needs no compiler on the machine.

    Shape:
        inputs (B, ...) of one B ≥ 2

    Raises:
        ValueError: there are no inputs, or fewer than two images.
        AssertionError: the block breaks a promise; the message says which and how.

    >>> from reidblocks.blocks import GeM
    >>> check_block(GeM(), torch.rand(2, 8, 6, 3))
    """
    if not inputs or any(each.dim() == 0 or each.shape[0] < 2 for each in inputs):
        shapes = [tuple(each.shape) for each in inputs]
        raise ValueError(f"check_block expects inputs of at least two images, got {shapes}")

    promises = promises_of_blocks(height_multiple, exact_gradient, backend)
    keep_promises(type(block).__name__, promises, block, inputs)


def promises_of_blocks(
    height_multiple: int = 1, exact_gradient: bool = True, backend: str = "aot_eager"
) -> dict[str, Check]:
    """Name each promise of a block, with what holds a block to it."""

    def takes_any_size(block: nn.Module, inputs: Inputs) -> None:
        for height, width in ((height_multiple, 1), (5 * height_multiple, 3)):
            _takes_size(block, inputs, height, width)

    promises: dict[str, Check] = {
        "can be copied and pickled": copies,
        "gives the same twice": _in_eval(gives_the_same_twice),
    }
    promises |= {name: _in_both_modes(check) for name, check in COMMON.items()}
    return promises | {
        "gives the same once pickled": _in_eval(gives_the_same_once_pickled),
        "treats each image on its own in eval": _treats_images_alone,
        "takes maps of any height and width": takes_any_size,
        "takes maps with channels last": _takes_channels_last,
        "stays finite on zeros": _in_both_modes(_is_finite_on_zeros),
        "works in float16": partial(_works_in_half, dtype=torch.float16),
        "works in bfloat16": partial(_works_in_half, dtype=torch.bfloat16),
        "works under autocast": _works_under_autocast,
        "compiles to one graph for batches of any size": _in_both_modes(
            partial(compiles, backend=backend)
        ),
        "exports with a batch of any size": _in_eval(exports),
        "works without float64": _in_both_modes(needs_no_float64),
        "works under torch.func.grad in eval": _in_eval(is_differentiated_by_func),
        "works under torch.func.vmap in eval": _in_eval(is_vectorized),
        "works under torch.func.jvp in eval": _in_eval(has_a_forward_derivative),
        "works under torch.func.jacrev in eval": _in_eval(has_a_jacobian),
        "has true second derivatives": _in_both_modes(
            partial(differentiates_twice, exact=exact_gradient)
        ),
        "is traced by torch.fx": _in_both_modes(is_traced_by_fx),
        "lets hooks keep what they see": _in_both_modes(lets_hooks_keep_what_they_see),
        "runs full backward hooks": _in_both_modes(runs_backward_hooks),
        "works on meta": _in_both_modes(works_on_meta),
    }


def _in_eval(check: Check) -> Check:
    return lambda block, inputs: check(block.eval(), inputs)


def _in_both_modes(check: Check) -> Check:
    def check_both(block: nn.Module, inputs: Inputs) -> None:
        check(copy.deepcopy(block).train(), inputs)
        check(block.eval(), inputs)

    return check_both


def _treats_images_alone(block: nn.Module, inputs: Inputs) -> None:
    together = outputs_of(block.eval(), inputs)
    alone = outputs_of(block, tuple(each[:1] for each in inputs))
    batch = inputs[0].shape[0]
    expect_same(
        [each for each in alone if each.dim()],  # a scalar is the batch's, not an image's
        [each[:1] if each.shape[0] == batch else each for each in together if each.dim()],
        "the output for the first image alone",
    )


def _takes_size(block: nn.Module, inputs: Inputs, height: int, width: int) -> None:
    def resize(each: Tensor) -> Tensor:
        return F.interpolate(each, (height, width)) if each.dim() == 4 else each

    usual = outputs_of(block.eval(), inputs)
    outputs = outputs_of(block, tuple(resize(each) for each in inputs))
    for index, (one, other) in enumerate(zip(outputs, usual, strict=True)):
        what = f"output {index} for maps {height}×{width}"
        expect_finite({what: one})
        if one.shape[:2] != other.shape[:2]:  # (B, D), and (B, C) of maps
            raise AssertionError(f"{what} is {tuple(one.shape)}, usually {tuple(other.shape)}")


def _takes_channels_last(block: nn.Module, inputs: Inputs) -> None:
    expected = outputs_of(block.eval(), inputs)
    last = tuple(
        each.contiguous(memory_format=torch.channels_last) if each.dim() == 4 else each
        for each in inputs
    )
    expect_same(outputs_of(block, last), expected, "the output for channels last")


def _is_finite_on_zeros(block: nn.Module, inputs: Inputs) -> None:
    zeros = tuple(torch.zeros_like(each) if each.is_floating_point() else each for each in inputs)
    _expect_finite_run(block, zeros)


def _works_in_half(block: nn.Module, inputs: Inputs, dtype: torch.dtype) -> None:
    expected = outputs_of(block.eval(), inputs)
    inputs = tuple(each.to(dtype) if each.is_floating_point() else each for each in inputs)
    block.to(dtype)
    expect_same(outputs_of(block, inputs), expected, "the output in eval", COARSE)
    _expect_finite_run(block.train(), inputs)


def _works_under_autocast(block: nn.Module, inputs: Inputs) -> None:
    def autocast() -> AbstractContextManager[object]:
        return torch.autocast(inputs[0].device.type, torch.bfloat16)

    expected = outputs_of(block.eval(), inputs)
    with autocast():
        outputs = outputs_of(block, inputs)
    expect_same(outputs, expected, "the output in eval", COARSE)
    _expect_finite_run(block.train(), inputs, autocast())


def _expect_finite_run(
    block: nn.Module, inputs: Inputs, forward_in: AbstractContextManager[object] | None = None
) -> None:
    outputs, gradients = gradients_of(block, inputs, forward_in)
    expect_finite({f"output {index}": each for index, each in enumerate(outputs)})
    expect_finite({f"the gradient of {name}": each for name, each in gradients.items()})
