"""Unit vectors and products of vectors that keep float32's digits and range everywhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from reidblocks._checks import leaf

SHORTEST = 1e-30  # a vector below it counts as zero: its gradient, 1 / length, must stay finite


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return vectors (..., D) divided by their lengths; a zero vector stays, without gradient.

    Divided by a size of theirs first, vectors of 1e20 and 1e-20 have squares like any others.
    Where a vector is zero, nothing is divided by zero: derivatives of any order are 0.
    """
    size: Tensor = torch.linalg.vector_norm(vectors.detach(), 1, dim=-1, keepdim=True)
    zero = size < SHORTEST
    vectors = vectors / size.masked_fill(zero, torch.inf)
    squares = vectors.square().sum(-1, keepdim=True)
    return vectors * (squares + zero).rsqrt()


def move_and_scale(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move both sets (..., N, D) to the middle of the second, scale them to 1, return the scale.

    Distances do not change where all move together. Seen from the middle neighbors keep their
    digits, and of vectors of about 1 no square overflows or vanishes.
    """
    middle = right.mean(-2, keepdim=True)
    sets = [left - middle] if left is right else [left - middle, right - middle]
    sizes = [torch.linalg.vector_norm(each, torch.inf, (-2, -1), keepdim=True) for each in sets]
    scale = sizes[0] if len(sizes) == 1 else torch.maximum(*sizes)
    scale = scale.clamp_min(SHORTEST)
    sets = [each / scale for each in sets]
    return sets[0], sets[-1], scale


@leaf
def products(left: Tensor, right: Tensor) -> Tensor:
    """Return all inner products (..., B, G) in full precision, whatever autocast or TF32 say.

    In a compiled graph, which cannot change a setting, TF32 has its say; see `in_two_parts`.
    """
    # Of two batches @ first makes sure that they are of one shape, by five views.
    multiply = torch.bmm if left.dim() == right.dim() == 3 else torch.matmul
    if torch.compiler.is_compiling():  # the compiler of torch 2.7 cannot ask what no_autocast asks
        with torch.autocast(left.device.type, enabled=False):
            return multiply(left, right.mT)
    with no_autocast(left), full_precision():
        return multiply(left, right.mT)


def in_two_parts(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return longer vectors with the same products, which TF32's 11 bits do not round.

    For values of at most 1 in size. Each is cut into a coarse part of 11 bits and the fine rest;
    coarse·coarse + coarse·fine + fine·coarse lacks what is below float32's rounding.
    """
    coarse, other_coarse = ((each + 6144) - 6144 for each in (left, right))
    fine, other_fine = left - coarse, right - other_coarse
    return (
        torch.cat((coarse, coarse, fine), -1),
        torch.cat((other_coarse, other_fine, other_coarse), -1),
    )


def no_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Leave autocast, if it is on for the tensor's device."""
    kind = tensor.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32 and bfloat16 out of float32 products."""
    backends: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", 0)]
    if all(hasattr(backend, "fp32_precision") for backend in backends):
        before = [(backend, backend.fp32_precision) for backend in backends]
        reduced = [(backend, value) for backend, value in before if value not in ("none", "ieee")]
        try:
            for backend, _ in reduced:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, value in reduced:
                backend.fp32_precision = value
        return
    common = torch.get_float32_matmul_precision()  # the one setting there was before torch 2.9
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(common)
