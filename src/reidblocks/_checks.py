"""What every part asks of its input, said the same way everywhere.

``torch.fx.symbolic_trace`` calls a part with stand-ins (``Proxy``) that have neither shape nor
dtype. Checks of a tensor let them pass; a function that needs a shape or dtype is a `leaf`.
"""

from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.fx import Proxy

P = ParamSpec("P")
T = TypeVar("T")


def leaf(function: Callable[P, T]) -> Callable[P, T]:
    """Let ``torch.fx`` trace a call of this function as one node, as it does torch's own.

    The function then runs whole, checks and all, wherever the traced graph does.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for each in (*args, *kwargs.values()):
            if isinstance(each, Proxy):
                proxy = each.tracer.create_proxy("call_function", call, args, kwargs)
                return cast(T, proxy)
        return function(*args, **kwargs)

    return call


def is_traced(*values: object) -> bool:
    """Return whether any of these is a stand-in of ``torch.fx``, which no check can look at."""
    return any(isinstance(each, Proxy) for each in values)


def expect_shape(caller: str, name: str, tensor: Tensor, shape: str) -> None:
    """Raise unless ``tensor`` has one dimension for each letter of ``shape`` ("B C H W").

    "... B D" asks for at least two, "B ..." for at least one.
    """
    if is_traced(tensor):
        return
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{caller} expects {name} as a tensor, got {type(tensor).__name__}")
    letters = shape.split()
    more = "..." in letters
    if tensor.dim() < len(letters) - more or (tensor.dim() > len(letters) and not more):
        raise ValueError(f"{caller} expects {name} ({', '.join(letters)}), got {_shape(tensor)}")


def expect_size(caller: str, name: str, tensor: Tensor, dim: int, size: int) -> None:
    """Raise unless ``tensor`` is ``size`` long in dimension ``dim``."""
    if is_traced(tensor, size) or tensor.shape[dim] == size:
        return
    wanted = ["·"] * tensor.dim()
    wanted[dim] = str(size)
    raise ValueError(f"{caller} expects {name} ({', '.join(wanted)}), got {_shape(tensor)}")


def expect_floats(caller: str, name: str, tensor: Tensor) -> None:
    """Raise unless ``tensor`` is of a floating-point dtype that torch computes with."""
    if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
        raise TypeError(
            f"{caller} expects floating-point {name} of 16 bits or more, got {tensor.dtype}; "
            f"give {name}.float()"
        )


def expect_labels(caller: str, name: str, labels: Tensor, count: int | None = None) -> None:
    """Raise unless labels are integers by their dtype, ``count`` of them if given."""
    expect_shape(caller, name, labels, "B")
    if is_traced(labels, count):
        return
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"{caller} expects {name} of an integer dtype, a number for each identity, got "
            f"{labels.dtype}; {name}.long() converts whole numbers"
        )
    if count is not None and labels.shape[0] != count:
        raise ValueError(
            f"{caller} expects one of {name} for each of {count} embeddings, got {labels.shape[0]}"
        )


def expect_pair_of_sets(caller: str, embeddings: Tensor, name: str, others: Tensor | None) -> None:
    """Raise unless a second set, if any, differs from the first in its number of rows alone."""
    expect_shape(caller, "embeddings", embeddings, "... B D")
    for each in (embeddings, others):
        if not is_traced(each) and each is not None and each.is_complex():
            raise TypeError(f"{caller} expects real embeddings, got {each.dtype}")
    if others is None or is_traced(embeddings, others):
        return
    expect_shape(caller, name, others, "... G D")
    wanted = (*embeddings.shape[:-2], others.shape[-2], embeddings.shape[-1])
    if others.shape != wanted:
        raise ValueError(f"{caller} expects {name} {wanted}, got {_shape(others)}")


def expect_anchors(
    caller: str,
    embeddings: Tensor,
    labels: Tensor,
    others: Tensor | None,
    other_labels: Tensor | None,
    chunk_size: int | None,
) -> tuple[Tensor | None, Tensor | None]:
    """Raise unless anchors, what they are compared with and the labels of both fit together.

    Returns the second set, which is none if it is the first.
    """
    expect_pair_of_sets(caller, embeddings, "other_embeddings", others)
    expect_labels(caller, "labels", labels, embeddings.shape[-2])
    if others is not None and other_labels is not None:
        expect_labels(caller, "other_labels", other_labels, others.shape[-2])
    elif (others is None) != (other_labels is None):
        missing = "other_embeddings" if others is None else "other_labels"
        raise ValueError(f"{caller} expects {missing} too when a second set is given, got None")
    if chunk_size is not None:
        expect_whole(caller, "chunk_size", chunk_size)
    same = others is embeddings and other_labels is labels
    return (None, None) if same else (others, other_labels)


def expect_no_transform(chunk_size: int) -> None:
    """Raise under a transform of ``torch.func``, of which torch has no public sign."""
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack():
        raise RuntimeError(
            "a loss expects chunk_size=None under torch.func, whose transforms cannot compute "
            f"again what is not kept, got {chunk_size}"
        )


def expect_matrix(
    caller: str, name: str, matrix: Tensor, positives: Tensor, negatives: Tensor
) -> None:
    """Raise unless either mask has a bool for each entry of the (..., B, G) matrix."""
    expect_shape(caller, name, matrix, "... B G")
    size = tuple(matrix.shape[-2:])
    for mask_name, mask in (("positives", positives), ("negatives", negatives)):
        expect_shape(caller, mask_name, mask, "B G")
        if mask.dtype != torch.bool or mask.shape != size:
            raise ValueError(
                f"{caller} expects {mask_name} {size} of torch.bool, as pair_masks gives them, "
                f"got {_shape(mask)} of {mask.dtype}"
            )


def expect_options(caller: str, reduction: str, **numbers: object) -> None:
    """Raise unless ``reduction`` is one of torch's three and the others are numbers."""
    expect_one_of(caller, "reduction", reduction, "mean", "sum", "none")
    expect_number(caller, **numbers)


def expect_one_of(caller: str, name: str, value: str, *known: str) -> None:
    """Raise unless ``value`` is one of the words that are known."""
    if value not in known:
        words = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise ValueError(f"{caller} expects {name} {words}, got {value!r}")


def expect_number(caller: str, **values: object) -> None:
    """Raise unless every value, named by its keyword, is a number; a boolean is none."""
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{caller} expects {name} as a number, got {value!r:.80}")


def expect_positive(caller: str, **values: float) -> None:
    """Raise unless every value, named by its keyword, is a number above 0."""
    expect_number(caller, **values)
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{caller} expects {name} above 0, got {value}")


def expect_whole(caller: str, name: str, number: object, minimum: int | None = 1) -> int:
    """Return an integer from ``minimum`` on as an int, or raise."""
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise TypeError(f"{caller} expects {name} as a whole number, got {number!r:.80}")
    if minimum is not None and int(number) < minimum:
        raise ValueError(f"{caller} expects {name} of at least {minimum}, got {number}")
    return int(number)


def expect_sizes(caller: str, **sizes: int) -> None:
    """Raise unless every size, named by its keyword, is an integer above 0."""
    for name, size in sizes.items():
        expect_whole(caller, name, size, None)
    expect_positive(caller, **sizes)


@leaf
def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert half precision and integers to float32; leave float32 and float64."""
    wide = tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype.itemsize >= 4)
    return tensor if wide else tensor.float()


@leaf
def float32_if_whole(tensor: Tensor) -> Tensor:
    """Convert integers to float32; leave what has a floating-point dtype, half precision too.

    For what gives back its input's dtype: a mean of integers is not an integer.
    """
    return tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.float()


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
