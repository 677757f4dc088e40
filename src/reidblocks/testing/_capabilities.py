"""What torch does with a module besides running it: transforms, tracing, hooks, other devices.

Each check takes a module in the mode it is to be checked in, and inputs, and may change both.
"""

import copy
import inspect
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reidblocks.testing._promises import (
    Inputs,
    _tensors,
    expect_finite,
    expect_same,
    gradients_of,
    outputs_of,
)

Leaves = list[Tensor]  # what a module is differentiated by: its parameters and inputs
CLOSE = 1e-6  # how far, against the largest value, two ways to one derivative may differ in float64
NEARBY = 0.01  # how far from the values given second derivatives are tried
STEP = 1e-6  # of finite differences in float64
COARSE = 1e-4  # how far these may be from the derivative


def is_differentiated_by_func(module: nn.Module, inputs: Inputs) -> None:
    scalar, leaves = _weighted(module, inputs)
    by_func = torch.func.grad(lambda leaves: scalar(leaves).sum())(leaves)
    expect_same(by_func, _gradients(scalar(leaves).sum(), leaves), "torch.func.grad", CLOSE)


def is_vectorized(module: nn.Module, inputs: Inputs) -> None:
    several = [torch.stack((each, each.flip(0))) for each in inputs]
    together = torch.func.vmap(lambda *inputs: tuple(_tensors(module(*inputs))))(*several)
    rows = [outputs_of(module, row) for row in zip(*several, strict=True)]
    expect_same(
        list(together), [torch.stack(each) for each in zip(*rows, strict=True)], "torch.func.vmap"
    )


def has_a_forward_derivative(module: nn.Module, inputs: Inputs) -> None:
    scalar, leaves = _weighted(module, inputs)
    directions = [torch.randn_like(each) for each in leaves]
    jvp: Any = torch.func.jvp  # whose type has a third result
    _, change = jvp(scalar, (leaves,), (directions,))
    rows = [_gradients(scalar(leaves)[k], leaves) for k in range(len(change))]
    expected = torch.stack([_dot(row, directions) for row in rows])
    expect_same([change], [expected], "torch.func.jvp", CLOSE)


def has_a_jacobian(module: nn.Module, inputs: Inputs) -> None:
    scalar, leaves = _weighted(module, inputs)
    jacobian = torch.func.jacrev(scalar)(leaves)
    rows = [_gradients(scalar(leaves)[k], leaves) for k in range(len(jacobian[0]))]
    expected = [torch.stack(each) for each in zip(*rows, strict=True)]
    expect_same(jacobian, expected, "torch.func.jacrev", CLOSE)


def has_finite_second_derivatives(
    module: nn.Module, inputs: Inputs, dtype: torch.dtype = torch.float32
) -> None:
    """So are the derivatives of a gradient penalty right where the inputs are, if it has any."""
    _, value, _ = _second_derivatives(*_weighted(module, inputs, dtype))
    if not value.requires_grad:
        raise AssertionError("the gradient has no gradient")


def differentiates_twice(module: nn.Module, inputs: Inputs, exact: bool = True) -> None:
    """The derivative of a gradient penalty is that of its value, by finite differences.

    Unless ``exact``, as where a target is held constant by design, it has to be finite alone.
    """
    scalar, leaves = _weighted(module, inputs)
    # not at zeros and the like, where a derivative may jump
    leaves = [_leaf(each + NEARBY * torch.rand_like(each)) for each in leaves]
    penalty, value, second = _second_derivatives(scalar, leaves)
    if not exact:
        return
    directions = [torch.randn_like(each) for each in leaves]
    directions = [each / _dot(directions, directions).sqrt() for each in directions]
    ends = [
        penalty(
            [_leaf(each + sign * STEP * way) for each, way in zip(leaves, directions, strict=True)]
        )
        for sign in (1, -1)
    ]
    found, expected = _dot(second, directions), (ends[0] - ends[1]).detach() / (2 * STEP)
    allowed = COARSE * (1 + value.detach() + _dot(second, second).sqrt()).item()
    if not (found - expected).abs().item() <= allowed:
        raise AssertionError(
            f"the derivative of a gradient penalty is {found.item():.6g}, its finite difference "
            f"{expected.item():.6g}"
        )


def is_traced_by_fx(module: nn.Module, inputs: Inputs) -> None:
    defaults = list(inspect.signature(module.forward).parameters.values())[len(inputs) :]
    left_out = {
        each.name: each.default for each in defaults if each.default is not inspect.Parameter.empty
    }
    traced = torch.fx.symbolic_trace(copy.deepcopy(module), concrete_args=left_out or None)
    outputs, gradients = _seeded(traced, inputs)
    expected, expected_gradients = _seeded(module, inputs)
    expect_same(outputs, expected, "the output traced by torch.fx")
    for name, wanted in expected_gradients.items():
        if wanted is not None:
            got = gradients.get(name)
            what = f"the gradient of {name}, traced by torch.fx"
            expect_same([] if got is None else [got], [wanted], what)


def is_traced_by_torchscript(module: nn.Module, inputs: Inputs) -> None:
    expected, file = outputs_of(module, inputs), io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecated for torch.export, and used all the same
        torch.jit.save(torch.jit.trace(module, inputs, strict=False), file)  # type: ignore[no-untyped-call]
        file.seek(0)
        loaded = torch.jit.load(file)  # type: ignore[no-untyped-call]
        expect_same(_tensors(loaded(*inputs)), expected, "the output traced by TorchScript")


class _WithoutFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A device such as Apple's MPS, where no result may be float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for each in tree_leaves(results):
            if isinstance(each, Tensor) and each.dtype in (torch.float64, torch.complex128):
                raise AssertionError(f"{func} gives float64, which some devices do not have")
        return results


def needs_no_float64(module: nn.Module, inputs: Inputs) -> None:
    with _WithoutFloat64():  # type: ignore[no-untyped-call]
        gradients_of(module, inputs)


def lets_hooks_keep_what_they_see(module: nn.Module, inputs: Inputs) -> None:
    """A forward hook on every submodule fires, and nothing that it kept changes later."""
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name, _ in _called(module)}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: object, output: object) -> None:
            seen = [each for each in tree_leaves((inputs, output)) if isinstance(each, Tensor)]
            kept[name] += [(each, each.detach().clone()) for each in seen]

        return hook

    for name, part in _called(module):
        part.register_forward_hook(keep(name))
    gradients_of(module, inputs)
    for name, seen in kept.items():
        if not seen:
            raise AssertionError(f"the hook of {name} never fires: the module is not called")
        if not all(torch.equal(now, then) for now, then in seen):
            raise AssertionError(f"what the hook of {name} has seen is changed in place")


def runs_backward_hooks(module: nn.Module, inputs: Inputs) -> None:
    """A full backward hook, as Grad-CAM's, fires on every submodule that gives a tensor."""
    _, expected = _seeded(copy.deepcopy(module), inputs)
    wanted, fired = set[str](), set[str]()

    def register(name: str, part: nn.Module) -> None:
        def note(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                wanted.add(name)

        part.register_forward_hook(note)
        part.register_full_backward_hook(lambda *_: fired.add(name))

    for name, part in _called(module):
        register(name, part)
    _, gradients = _seeded(module, inputs)
    for name, gradient in expected.items():
        if gradient is not None:
            what = f"the gradient of {name}, with backward hooks,"
            expect_same([_present(gradients[name], name)], [gradient], what)
    if wanted - fired:
        raise AssertionError(f"the backward hook of {min(wanted - fired)} never fires")


def gives_the_same_once_pickled(module: nn.Module, inputs: Inputs) -> None:
    pickled = pickle.loads(pickle.dumps(module))
    expected = outputs_of(module, inputs)
    expect_same(outputs_of(pickled, inputs), expected, "the output of a pickled copy", 0.0)


def works_on_meta(module: nn.Module, inputs: Inputs) -> None:
    """It gives its shapes there, is printed, and comes back by to_empty and its state_dict."""
    state, moved = copy.deepcopy(module.state_dict()), copy.deepcopy(module).to("meta")
    torch.manual_seed(0)
    expected = outputs_of(module, inputs)
    if not repr(moved):
        raise AssertionError("it prints nothing on meta")
    on_meta = outputs_of(moved, tuple(each.to("meta") for each in inputs))
    shapes, wanted = ([tuple(each.shape) for each in outputs] for outputs in (on_meta, expected))
    if shapes != wanted:
        raise AssertionError(f"its outputs on meta are {shapes}, elsewhere {wanted}")
    moved.to_empty(device=inputs[0].device).load_state_dict(state)
    torch.manual_seed(0)
    expect_same(outputs_of(moved, inputs), expected, "the output after meta and to_empty")


def _called(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield submodules that are called: containers are not, nor what torch's own hold in them."""
    for name, part in module.named_children():
        if type(part).forward is not nn.Module.forward:
            yield name, part
        if not type(part).__module__.startswith("torch.nn.modules") or isinstance(
            part, nn.Sequential | nn.ModuleList | nn.ModuleDict
        ):
            yield from ((f"{name}.{inner}", each) for inner, each in _called(part))


def _second_derivatives(
    scalar: Callable[[Leaves], Tensor], leaves: Leaves
) -> tuple[Callable[[Leaves], Tensor], Tensor, Leaves]:
    """Return a gradient penalty as a function, its value, and its derivatives, which are finite."""

    def penalty(leaves: Leaves) -> Tensor:
        gradients = _gradients(scalar(leaves).sum(), leaves, create_graph=True)
        return _dot(gradients, gradients)

    value = penalty(leaves)
    second = [torch.zeros_like(each) for each in leaves]
    if value.requires_grad:  # else the module is linear
        second = _gradients(value, leaves)
    expect_finite({f"second derivative {place}": each for place, each in enumerate(second)})
    return penalty, value, second


def _weighted(
    module: nn.Module, inputs: Inputs, dtype: torch.dtype = torch.float64
) -> tuple[Callable[[Leaves], Tensor], Leaves]:
    """Return two weighted sums of all that comes out as a function of the leaves."""
    module.to(dtype)
    inputs = tuple(each.to(dtype) if each.is_floating_point() else each for each in inputs)
    parameters = {n: each for n, each in module.named_parameters() if each.requires_grad}
    places = [place for place, each in enumerate(inputs) if each.is_floating_point()]
    leaves = [_leaf(each) for each in (*parameters.values(), *(inputs[k] for k in places))]
    shapes = [each.shape for each in outputs_of(copy.deepcopy(module), inputs)]
    weights = [0.5 + torch.rand(2, *shape, dtype=dtype) for shape in shapes]

    def scalar(leaves: Leaves) -> Tensor:
        by_name = dict(zip(parameters, leaves, strict=False))
        by_place = dict(zip(places, leaves[len(parameters) :], strict=True))
        torch.manual_seed(0)  # what is random, such as dropout in training, is so once
        called = tuple(by_place.get(place, each) for place, each in enumerate(inputs))
        outputs = _tensors(torch.func.functional_call(module, by_name, called))
        sums = [
            (weight.to(output.device) * output).reshape(2, -1).sum(1)
            for weight, output in zip(weights, outputs, strict=True)
            if output.is_floating_point()
        ]
        return torch.stack(sums).sum(0)  # (2,)

    return scalar, leaves


def _seeded(module: nn.Module, inputs: Inputs) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    torch.manual_seed(0)
    return gradients_of(module, inputs)


def _gradients(value: Tensor, leaves: Leaves, create_graph: bool = False) -> Leaves:
    found = torch.autograd.grad(value, leaves, create_graph=create_graph, allow_unused=True)
    return [
        torch.zeros_like(leaf) if each is None else each
        for leaf, each in zip(leaves, found, strict=True)
    ]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def _dot(one: Leaves, other: Leaves) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def _present(gradient: Tensor | None, name: str) -> Tensor:
    if gradient is None:
        raise AssertionError(f"{name} gets no gradient")
    return gradient
