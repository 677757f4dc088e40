"""Identities, cameras and labels as integers that int64 holds, or an error by name."""

import operator
from collections.abc import Iterable
from typing import Any

LIMIT = 2**63  # of int64, in which a batch holds them


def whole_number(value: Any, what: str, hint: str = "number them from 0 on") -> int:
    """Return ``value``, of any integer type or a whole float, as an int.

    Args:
        value: the number.
        what: how the error begins, as "PKBatchSampler expects labels[3]".
        hint: what to do, at the error's end.

    Raises:
        TypeError: it is not a number, or a boolean.
        ValueError: it is not an integer, or one that int64 cannot hold.

    >>> whole_number(12.0, "the example expects its label")
    12
    """
    number = value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # of NumPy and torch
        number = value.item()
    if isinstance(number, float):
        if not number.is_integer():
            raise ValueError(f"{what} as a whole number, got {number!r}; {hint}")
        number = int(number)
    try:
        if isinstance(number, bool):
            raise TypeError
        number = operator.index(number)
    except TypeError:
        raise TypeError(f"{what} as a whole number, got {value!r:.80}; {hint}") from None
    if not -LIMIT <= number < LIMIT:
        raise ValueError(f"{what} from -2**63 to 2**63 - 1, as int64 holds, got {number}; {hint}")
    return number


def whole_numbers(values: Iterable[Any], what: str) -> list[int]:
    """Return a sequence, an array or a tensor of integers as ints; see `whole_number`."""
    given = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(given, list):
        raise TypeError(f"{what} as a sequence, one for each image, got {values!r:.80}")
    return [
        # the check of each kind costs more than the sampler's own work on a million labels
        value if type(value) is int and abs(value) < LIMIT else whole_number(value, f"{what}[{i}]")
        for i, value in enumerate(given)
    ]
