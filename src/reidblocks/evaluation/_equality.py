"""Equality of results that hold tensors: dataclasses compare them and fail."""

from dataclasses import fields

import torch
from torch import Tensor


class ComparesContents:
    """A dataclass (made with ``eq=False``) that is equal to another of the same contents.

    NaN is equal to NaN: it marks a dropped query. As with lists, there is no hash.
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


def _equal(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = (first.shape, first.dtype, first.device) == (
            second.shape,
            second.dtype,
            second.device,
        )
        return first is second or (same and _equal_values(first, second))
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


def _equal_values(first: Tensor, second: Tensor) -> bool:
    if first.is_floating_point():
        return bool(((first == second) | (first.isnan() & second.isnan())).all())
    return torch.equal(first, second)
