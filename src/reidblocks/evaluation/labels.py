"""Labels and times of images, from lists, arrays and tensors, as int64 and float64 tensors."""

import math
from collections.abc import Iterable, Mapping, Set
from numbers import Integral, Real
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

_INTEGERS = {
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
_MISSING = {
    "ids": "an image whose identity is unknown has -1",
    **dict.fromkeys(
        ("cameras", "camera", "sequences", "sequence", "clothes"), "an image without one has -1"
    ),
}
_WHOLE_LIMIT = 2**53  # from here on float64 has not every whole number


def as_labels(caller: str, name: str, given: object, number: int) -> Tensor:
    """Labels as an int64 tensor (number,), refused by name if they are anything else.

    A tensor stays on its device; all else is on the CPU, whatever the default device.
    """
    labels = given if isinstance(given, Tensor) else _from_python(caller, name, given)
    if labels.shape != (number,):
        raise ValueError(
            f"{caller} expects {name} ({number},), one for each row of values, got "
            f"{tuple(labels.shape)}"
        )
    if not number:  # an empty list has no type
        return labels.long()
    if labels.dtype not in _INTEGERS:
        cast = f"{name}.long()" if labels.is_floating_point() else None
        _refuse(caller, name, str(labels.dtype), cast)
    whole = labels.long()
    if labels.dtype == torch.uint64 and bool((whole < 0).any()):
        _refuse_size(caller, name, "larger ones in torch.uint64")
    return whole


def as_times(caller: str, name: str, given: object, number: int) -> Tensor:
    """Times as a float64 tensor (number,), NaN where there is none; refused by name otherwise."""
    if isinstance(given, np.ma.MaskedArray):
        given = given.astype(object).tolist()  # None where masked
    if hasattr(given, "__array__") and not isinstance(given, Tensor):
        array = np.asarray(given)
        plain = {"i": np.int64, "f": np.float64}.get(array.dtype.kind)  # in this byte order
        given = array.tolist() if plain is None else torch.from_numpy(array.astype(plain))
    if isinstance(given, Tensor):
        if given.dtype not in _INTEGERS and not given.is_floating_point():
            raise TypeError(f"{caller} expects {name} as numbers, got {given.dtype}")
        times = given.double()
        if not given.is_floating_point() and bool((times.abs() >= _WHOLE_LIMIT).any()):
            _refuse_time(caller, name)
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | Set):
        items = [_time(caller, name, row, item) for row, item in enumerate(given)]
        times = torch.tensor(items, dtype=torch.float64, device="cpu")
    else:
        raise TypeError(f"{caller} expects {name} as numbers, got {given!r:.80}")
    if times.shape != (number,):
        raise ValueError(
            f"{caller} expects {name} ({number},), one for each row of values, got "
            f"{tuple(times.shape)}"
        )
    return times


def _time(caller: str, name: str, row: int, item: object) -> float:
    if isinstance(item, Tensor | np.ndarray) and item.ndim == 0:
        item = item.item()
    if item is None:
        return math.nan
    if not isinstance(item, Real) or isinstance(item, bool):
        raise TypeError(f"{caller} expects {name} as numbers, got {item!r:.40} in row {row}")
    if isinstance(item, Integral) and abs(int(item)) >= _WHOLE_LIMIT:
        _refuse_time(caller, name)
    return float(item)


def _refuse_time(caller: str, name: str) -> NoReturn:
    raise ValueError(
        f"{caller} expects whole {name} below 2**53 in size, which float64 tells apart; count from "
        "the start of the recording"
    )


def _from_python(caller: str, name: str, given: object) -> Tensor:
    if isinstance(given, np.ma.MaskedArray):
        given = given.astype(object).tolist()  # None where masked
    if hasattr(given, "__array__"):  # NumPy, pandas
        array = np.asarray(given)
        if array.dtype.kind != "O":
            return _from_numpy(caller, name, array)
        given = array.tolist()
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | Set):
        _refuse(caller, name, f"{given!r:.80}")
    items = [_checked(caller, name, row, item) for row, item in enumerate(given)]
    try:
        return torch.tensor(items, device="cpu")
    except (ValueError, TypeError, RuntimeError):
        _refuse(caller, name, f"{items!r:.80}")


def _from_numpy(caller: str, name: str, array: "np.ndarray[tuple[int, ...], np.dtype]") -> Tensor:
    if array.size and array.dtype.kind not in "iu":
        cast = f"{name}.astype(int)" if array.dtype.kind == "f" else None
        _refuse(caller, name, f"an array of {array.dtype}", cast)
    if array.size and array.dtype.kind == "u" and int(array.max()) >= 2**63:
        _refuse_size(caller, name, str(array.max()))
    # whatever its byte order and strides; astype copies
    return torch.from_numpy(array.astype(np.int64) if array.size else np.zeros(array.shape, int))


def _checked(caller: str, name: str, row: int, item: object) -> object:
    if isinstance(item, Tensor | np.ndarray) and item.ndim == 0:
        item = item.item()
    if isinstance(item, list | tuple | Tensor | np.ndarray):
        return item  # the shape is told instead
    told = f"{item!r:.40} in row {row}"
    if not isinstance(item, Integral) or isinstance(item, bool):
        if str(item) in ("None", "nan", "<NA>") and name in _MISSING:
            told += f" ({_MISSING[name]})"
        _refuse(caller, name, told, "int(…) of each" if isinstance(item, float) else None)
    if not -(2**63) <= int(item) < 2**63:
        _refuse_size(caller, name, told)
    return int(item)


def _refuse(caller: str, name: str, got: str, cast: str | None = None) -> NoReturn:
    whole = f", or give {cast} if all are whole" if cast else ""
    raise TypeError(
        f"{caller} expects {name} as whole numbers, got {got}; number them from 0 on, alike in "
        f"query and gallery{whole}"
    ) from None


def _refuse_size(caller: str, name: str, got: str) -> NoReturn:
    raise ValueError(
        f"{caller} expects {name} below 2**63 in size, got {got}; number them from 0 on"
    )
