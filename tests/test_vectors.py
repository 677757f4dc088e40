"""Unit vectors and products in full precision, whatever else is asked of torch."""

import pytest
import torch
from torch import Tensor

from reidblocks._vectors import in_two_parts, products, unit_vectors


def as_tf32(values: Tensor) -> Tensor:
    """Round to the 11 bits that TF32 multiplies, in float64."""
    mantissa, exponent = torch.frexp(values.double())
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)


def test_products_of_two_parts_lose_nothing_to_tf32() -> None:
    left, right = (2 * torch.rand(6, 512) - 1 for _ in range(2))
    exact = left.double() @ right.double().T
    longer, other = in_two_parts(left, right)
    found = as_tf32(longer) @ as_tf32(other).T
    rounded = as_tf32(left) @ as_tf32(right).T
    assert (rounded - exact).abs().max() > 1e-4
    assert (found - exact).abs().max() < 1e-5


def reduced() -> bool:
    """Whether products on a GPU are rounded to TF32 now."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # since torch 2.9
        return matmul.fp32_precision not in ("none", "ieee")
    return torch.get_float32_matmul_precision() != "highest"


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_setting_for_products_is_put_aside_and_back(precision: str) -> None:
    seen = []

    class Watching(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if "matmul" in str(function):
                seen.append(reduced())
            return function(*args, **(kwargs or {}))

    torch.set_float32_matmul_precision(precision)
    try:
        with Watching(), torch.autocast("cpu", torch.bfloat16):
            found = products(torch.ones(2, 3), torch.ones(4, 3))
        assert torch.get_float32_matmul_precision() == precision
        assert reduced()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [False]
    assert found.dtype == torch.float32


def test_unit_vectors_have_derivatives_of_every_order_at_zero() -> None:
    vectors = torch.randn(3, 4)
    vectors[1] = 0
    hessian = torch.func.jacfwd(
        torch.func.jacrev(torch.func.jacrev(lambda v: unit_vectors(v).sum()))
    )
    assert hessian(vectors).isfinite().all()
    assert not unit_vectors(vectors)[1].any()
