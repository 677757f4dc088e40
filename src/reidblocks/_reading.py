"""Read a file of torch.save without running anything in it."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import torch

NUMBERS = "?bhilqBHILQefdFD"  # numpy's booleans, integers, floats and complex numbers
TEXT = "USMm"  # and its text and times, which hold no code either
_LOCK = threading.Lock()  # what torch lets through is one list for all threads


def load_plain(
    file: str | os.PathLike[str] | IO[bytes],
    device: torch.device | str = "cpu",
    *,
    text: bool = False,
) -> Any:
    """Return what a file of ``torch.save`` holds: tensors, numbers, text and containers of them.

    A pickle can hold any program. This is ``torch.load(weights_only=True)``, which refuses what
    could run code, and lets NumPy's numbers and arrays of numbers through; with ``text`` also
    NumPy's text and times, which the files of others hold next to their weights.

    Raises:
        Exception: whatever ``torch.load`` raises; see `refused_global` and `reason`.
    """
    with _LOCK, _numpy_allowed(NUMBERS + TEXT * text):
        return torch.load(file, map_location=device, weights_only=True)


def refused_global(error: Exception) -> str | None:
    """Name what a file asked for when ``load_plain`` refused it because it could run code."""
    found = re.search(r"GLOBAL (\S+)|but got <class '([^']+)'>", str(error))
    return found[1] or found[2] if found else None


def reason(error: Exception) -> str:
    """Return an error's first sentence: torch's others advise to load the file unsafely."""
    return str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__


@contextmanager
def _numpy_allowed(kinds: str) -> Iterator[None]:
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]  # the functions that numpy rebuilds these with
    array = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]
    allowed.append(bytes)  # how pickle writes empty ones
    for module in ("numpy.core", "numpy._core"):  # its name before numpy 2 and since
        allowed.append((scalar, f"{module}.multiarray.scalar"))
        allowed.append((array, f"{module}.multiarray._reconstruct"))
    # Leaving safe_globals takes all that it named off torch's list, the user's own too.
    users = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([name for name in allowed if name not in users]):
        yield
