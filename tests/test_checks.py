"""What every part asks of its input: what passes, what is said, and torch.fx's stand-ins."""

import pytest
import torch
from torch import Tensor

from reidblocks._checks import at_least_float32, expect_shape, expect_size


def test_leading_dimensions_are_free_where_the_shape_begins_with_dots():
    for sizes in ((2, 3), (5, 2, 3), (0, 5, 2, 3)):
        expect_shape("f", "x", torch.empty(sizes), "... B D")
    with pytest.raises(ValueError, match=r"f expects x \(..., B, D\), got \(3,\)"):
        expect_shape("f", "x", torch.empty(3), "... B D")
    with pytest.raises(ValueError, match=r"f expects x \(B, D\), got \(5, 2, 3\)"):
        expect_shape("f", "x", torch.empty(5, 2, 3), "B D")


def test_what_is_no_tensor_is_refused_by_its_type():
    with pytest.raises(TypeError, match="f expects x as a tensor, got list"):
        expect_shape("f", "x", [1.0], "B")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
        (torch.uint8, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_every_dtype_becomes_float32_at_least(given, expected, default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        assert at_least_float32(torch.ones(2).to(given)).dtype == expected
    finally:
        torch.set_default_dtype(before)


def test_a_function_with_checks_is_traced_by_fx_for_every_dtype():
    def double(x: Tensor) -> Tensor:
        expect_shape("double", "x", x, "B D")
        expect_size("double", "x", x, 1, 4)
        return at_least_float32(x) * 2

    traced = torch.fx.symbolic_trace(double)
    for dtype in (torch.float16, torch.int32, torch.float64):
        x = torch.ones(3, 4, dtype=dtype)
        assert torch.equal(traced(x), double(x))
        assert traced(x).dtype == double(x).dtype
