"""What users hand over, as Python's own values: numbers of NumPy and torch, text of any kind."""

import math
import operator
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def scalar(value: Any) -> Any:
    """Return the Python number in a NumPy or torch one; anything else as it is."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and math.prod(value.shape) == 1:
        return value.item()
    return value


def as_text(value: object) -> str:
    """Return text that every font and file can hold, with numbers as they are printed.

    The surrogates that Python puts in the place of a file name's bytes become escapes.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    return str(value).encode("utf-8", "backslashreplace").decode()


def camera_text(camera: object) -> str:
    """Return "camera 3" for a number, a name as it is, nothing where it is unknown."""
    value = scalar(camera)
    if value is None or value != value:  # NaN, as tables hold what is missing
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"camera {value}" if isinstance(value, (int, float)) else as_text(value)


def number(caller: str, name: str, value: Any) -> float:
    """Return a number as a float, or say what came instead."""
    value = scalar(value)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{caller} expects {name} as a number, got {_kind(value)}")
    return float(value)


def whole(caller: str, name: str, value: Any) -> int:
    """Return an integer as an int, or say what came instead."""
    try:
        return operator.index(scalar(value))
    except TypeError:
        raise TypeError(f"{caller} expects {name} as a whole number, got {_kind(value)}") from None


def outcome(caller: str, value: Any) -> bool | None:
    """Return whether a match is correct, or None for junk."""
    value = scalar(value)
    if value is None:
        return None
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise TypeError(f"{caller} expects correct as True, False or None, got {value!r}")


def expect_several(caller: str, name: str, values: object) -> None:
    """Raise when a single text, image or record is given where a list of them is expected."""
    single = isinstance(values, (str, bytes, PathLike, Image.Image)) or hasattr(values, "_fields")
    if single or not hasattr(values, "__iter__"):
        raise TypeError(
            f"{caller} expects a list of {name}, got {_kind(values)}"
            + (": put it in a list" if single else "")
        )


def expect_named(caller: str, name: str, values: object, of: str) -> None:
    """Raise unless values come with names, in a dict."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{caller} expects {name} as a dict of names and {of}, got {_kind(values)}")


def _kind(value: Any) -> str:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"
