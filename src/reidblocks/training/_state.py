"""What a checkpoint may hold: exactly what can be read back without running anything."""

import dataclasses
import enum
import io
import os
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidblocks._reading import load_plain

CONTAINERS = (dict, OrderedDict, list, tuple)


def expect_readable(state: Any) -> None:
    """Raise unless ``load_checkpoint`` would read ``state`` back; name the place that it refuses.

    Tensors are not copied: only what is neither a number, text, a plain tensor nor a container of
    them is written and read for a trial.
    """
    if not isinstance(state, dict):
        raise TypeError(f"save_checkpoint expects state as a dict, got {type(state).__name__}")
    try:
        _walk(state, "state", set())
    except RecursionError:
        raise TypeError(
            "save_checkpoint expects state of some levels, got one that is nested too deeply to "
            "be read back. Nothing was written"
        ) from None


def _walk(value: Any, where: str, seen: set[int]) -> None:
    if value is None or type(value) in (bool, float, str) or _is_plain_tensor(value):
        return
    if type(value) not in CONTAINERS:
        _expect_round_trip(value, where)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for key, inner in value.items():
            _walk(key, f"the key {key!r} of {where}", seen)
            _walk(inner, f'{where}["{key}"]' if isinstance(key, str) else f"{where}[{key!r}]", seen)
    else:
        for n, inner in enumerate(value):
            _walk(inner, f"{where}[{n}]", seen)
    if isinstance(value, OrderedDict):  # a state_dict has its modules' versions as an attribute
        _walk(vars(value), f"vars({where})", seen)


def _is_plain_tensor(value: Any) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_nested
        and not vars(value)  # its attributes, if any, are written too
    )


def _expect_round_trip(value: Any, where: str) -> None:
    tried = np.empty(0, value.dtype) if type(value) is np.ndarray else value
    buffer = io.BytesIO()
    try:
        torch.save(tried, buffer)
        buffer.seek(0)
        load_plain(buffer)
    except MemoryError:
        raise
    except Exception:  # pickling runs the object's own code, which may raise anything
        raise TypeError(
            f"save_checkpoint cannot keep {where}, {_kind(value)}: load_checkpoint could not read "
            f"it back. {_advice(value)}. Nothing was written"
        ) from None  # torch's own error advises to load files unsafely


def _kind(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    of = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    return f"of type {name}{of}"


def _advice(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return "Convert it with str(...)"
    if isinstance(value, enum.Enum):
        return "Save its .value"
    if isinstance(value, (np.ndarray, np.generic)):
        return "Convert it to float64" if value.dtype.char in "gG" else "Convert it with .tolist()"
    if isinstance(value, Tensor):
        return "Save its .detach(), a plain tensor without attributes"
    if hasattr(value, "_asdict"):
        return "Convert it with ._asdict()"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "Convert it with dataclasses.asdict(...)"
    for method in ("state_dict", "get_state"):  # modules, optimizers; generators
        if hasattr(value, method):
            return f"Save its {method}()"
    for kind in (dict, list, tuple, set, frozenset, str, int, float):
        if isinstance(value, kind) and type(value) is not kind:
            return f"Convert it with {'list' if kind is frozenset else kind.__name__}(...)"
    if isinstance(value, (set, frozenset)):
        return "Convert it with sorted(...) or list(...)"
    if type(value) is int:  # of more than 255 bytes
        return "Convert it with str(...)"
    if callable(value):
        return "Leave functions and classes out"
    return "Convert it to numbers, text, tensors, or dicts and lists of them"
