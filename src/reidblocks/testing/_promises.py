"""What the contracts of blocks and losses share: how promises are kept, and those both make."""

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from reidblocks._checks import at_least_float32

Inputs = tuple[Tensor, ...]
Check = Callable[[nn.Module, Inputs], None]

CLOSE = 1e-4  # how far, against the largest value, the same computation may differ in float32


def keep_promises(
    subject: str, promises: Mapping[str, Check], module: nn.Module, inputs: Inputs
) -> None:
    """Check each promise on copies of its own; the caller's module, inputs and seed stay.

    Raises:
        AssertionError: a promise is broken; the message names it and says how.
    """
    for promise, check in promises.items():
        try:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                check(copy.deepcopy(module), tuple(each.detach().clone() for each in inputs))
        except Exception as error:
            known = isinstance(error, AssertionError)
            how = str(error) if known else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{subject} breaks the promise '{promise}': {how}") from error


def copies(module: nn.Module, inputs: Inputs) -> None:
    copied = pickle.loads(pickle.dumps(module)).state_dict()
    expect_same(list(copied.values()), list(module.state_dict().values()), "the copy's state_dict")


def registers_tensors(module: nn.Module, inputs: Inputs) -> None:
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                where = f"{path}.{name}".lstrip(".")
                raise AssertionError(
                    f"{where} is a bare tensor, which .to() and state_dict() pass over"
                )


def leaves_inputs(module: nn.Module, inputs: Inputs) -> None:
    before = [each.clone() for each in inputs]
    outputs_of(module, inputs)
    for index, (now, then) in enumerate(zip(inputs, before, strict=True)):
        if not torch.equal(now, then):
            raise AssertionError(f"input {index} is changed in place")


def gives_the_same_twice(module: nn.Module, inputs: Inputs) -> None:
    again, as_before = copy.deepcopy(module), tuple(each.clone() for each in inputs)
    first = outputs_of(module, inputs)
    expect_same(outputs_of(again, as_before), first, "the second output", tolerance=0.0)


def reaches_parameters(module: nn.Module, inputs: Inputs) -> None:
    _, gradients = gradients_of(module, inputs)
    expect_finite(gradients)
    for name, gradient in gradients.items():
        if name.startswith("parameter") and (gradient is None or not gradient.any()):
            raise AssertionError(f"{name} gets none")
    if not any(gradients[name] is not None for name in gradients if name.startswith("input")):
        raise AssertionError("no input gets any")


def restores(module: nn.Module, inputs: Inputs) -> None:
    fresh = copy.deepcopy(module)
    outputs_of(module, inputs)  # moves what training moves, such as running statistics
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=0.1)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    expected = outputs_of(module.eval(), inputs)
    expect_same(outputs_of(fresh.eval(), inputs), expected, "the restored output")


def compiles(module: nn.Module, inputs: Inputs, backend: str) -> None:
    torch.compiler.reset()  # or this module would count against the limit of recompilations
    compiled = copy.deepcopy(module)
    compiled.compile(fullgraph=True, dynamic=True, backend=backend)
    others = {size for each in inputs for size in each.shape[1:]}
    rows = len(inputs[0])
    while rows in others:  # or the compiler would take the two for one size
        rows += 1
    _compiles_to_the_same(compiled, module, _repeated(inputs, rows))
    with torch.compiler.set_stance("fail_on_recompile"):
        for more in (1, 2):
            _compiles_to_the_same(compiled, module, _repeated(inputs, rows + more))


def _repeated(inputs: Inputs, rows: int) -> Inputs:
    """Begin again until there are so many rows, no two of them alike.

    Between two rows alike a loss of the nearest may choose either, eager one and compiled other.
    """
    own, following = torch.arange(rows), torch.arange(rows) + 1
    share = (own // len(inputs[0]) / 4).clamp_max(1)  # 0 for the rows themselves

    def repeat(each: Tensor) -> Tensor:
        again = each[own % len(each)]
        if not each.is_floating_point():
            return again
        weight = share.to(each).view(-1, *[1] * (each.dim() - 1))
        return again.lerp(each[following % len(each)], weight)

    return tuple(repeat(each) for each in inputs)


def _compiles_to_the_same(compiled: nn.Module, module: nn.Module, inputs: Inputs) -> None:
    if not module.training:
        expected = outputs_of(module, inputs)
        expect_same(outputs_of(compiled, inputs), expected, "the compiled output in eval")
        return
    is_random = _is_random(module, inputs)
    expected, expected_gradients = gradients_of(copy.deepcopy(module), inputs)
    compiled.zero_grad()
    outputs, gradients = gradients_of(compiled, inputs)
    if is_random:  # a graph draws in its own way
        shapes, wanted_shapes = ([each.shape for each in some] for some in (outputs, expected))
        if shapes != wanted_shapes:
            raise AssertionError(f"the compiled output is {shapes}, not {wanted_shapes}")
        return
    expect_same(outputs, expected, "the compiled output")
    for name, wanted, got in zip(
        expected_gradients, expected_gradients.values(), gradients.values(), strict=True
    ):
        if wanted is not None:
            expect_same([] if got is None else [got], [wanted], f"the compiled gradient of {name}")


def _is_random(module: nn.Module, inputs: Inputs) -> bool:
    """Return whether what comes out depends on torch's seed, as with dropout in training."""
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        runs.append(outputs_of(copy.deepcopy(module), inputs))
    return not all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def exports(module: nn.Module, inputs: Inputs) -> None:
    batch = torch.export.Dim("batch")
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for each in inputs:
        shapes[each] = {0: batch}
    dynamic_shapes = shapes.dynamic_shapes(module, inputs)  # type: ignore[no-untyped-call]
    exported = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes)
    larger = tuple(torch.cat((each, each[:1])) for each in inputs)
    expected = outputs_of(module, larger)
    expect_same(outputs_of(exported.module(), larger), expected, "the exported output")


COMMON: Mapping[str, Check] = {
    "keeps its tensors as parameters and buffers": registers_tensors,
    "leaves its inputs as they are": leaves_inputs,
    "sends a finite gradient to every trainable parameter": reaches_parameters,
    "is restored by its state_dict": restores,
}  # of blocks and losses, in the mode (training or not) the module is in


def outputs_of(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Call without gradients and lay the tensors that come out in a row."""
    with torch.no_grad():
        return _tensors(module(*inputs))


def gradients_of(
    module: nn.Module,
    inputs: Inputs,
    forward_in: AbstractContextManager[object] | None = None,
) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    """Call, and send a gradient back from a weighted sum of all that comes out.

    The weights differ from place to place: after a batch norm, a plain sum has no gradient.
    """
    inputs = tuple(each.detach().requires_grad_(each.is_floating_point()) for each in inputs)
    with forward_in or nullcontext():
        outputs = _tensors(module(*inputs))
    differentiable = [output for output in outputs if output.requires_grad]
    if not differentiable:
        raise AssertionError("what comes out has no gradient")
    _weighted_sum(differentiable).backward()  # type: ignore[no-untyped-call]
    gradients = {f"input {i}": each.grad for i, each in enumerate(inputs) if each.requires_grad}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            gradients[f"parameter {name}"] = parameter.grad
    return [output.detach() for output in outputs], gradients


def _weighted_sum(outputs: list[Tensor]) -> Tensor:
    total = torch.zeros((), device=outputs[0].device)
    generator = torch.Generator().manual_seed(0)
    for output in outputs:
        weights = 0.5 + torch.rand(output.shape, generator=generator)
        total = total + (at_least_float32(output) * weights.to(output.device)).sum()
    return total


def expect_same(
    got: list[Tensor], expected: list[Tensor], what: str, tolerance: float = CLOSE
) -> None:
    """Raise unless the shapes agree, and the values up to ``tolerance`` times the largest."""
    if len(got) != len(expected):
        raise AssertionError(f"{what} holds {len(got)} tensors, not {len(expected)}")
    for one, other in zip(got, expected, strict=True):
        if one.shape != other.shape:
            raise AssertionError(f"{what} is {tuple(one.shape)}, not {tuple(other.shape)}")
        if one.numel():
            difference = (one.double() - other.double()).abs().max().item()
            allowed = tolerance * max(other.double().abs().max().item(), 0.01)
            if not difference <= allowed:
                raise AssertionError(
                    f"{what} differs by {difference:.2g}, allowed is {allowed:.2g}"
                )


def expect_finite(tensors: Mapping[str, Tensor | None]) -> None:
    """Raise unless every tensor is finite; None stands for a gradient that did not arrive."""
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.isfinite().all():
            raise AssertionError(f"{name} holds {tensor[~tensor.isfinite()][0].item()}")


def _tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [tensor for part in output for tensor in _tensors(part)]
    raise AssertionError(
        f"a {type(output).__name__} comes out: neither tensor nor tuple, list or dict"
    )
