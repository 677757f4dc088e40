"""Read a file of weights, and say what is wrong with one that holds none."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_SAFETENSORS_HEADER = 8  # its length comes first, as 8 bytes; the header itself is JSON


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read what a .pth, .pt, .tar or .safetensors file holds, on the CPU, running none of it.

    A pickle can hold any program. Only tensors, numbers, text and containers of them are let
    through (torch's `weights_only`); whatever else a file asks for is refused by name.

    Args:
        path: the file; what it is shows in its first bytes, not in its name.

    Returns:
        The mapping in the file, with whatever wrapper the toolbox that wrote it put around it.

    Raises:
        ValueError: the file is a folder, empty, cut short, damaged, a web page, a Git LFS pointer,
            holds code or anything that is no mapping.
        ImportError: the file is a safetensors file and safetensors is not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the file of weights in it")
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise ValueError(f"{path} is empty; download or save it again")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ValueError(
            f"{path} is a web page, not weights: the download gave a page to click on; open it "
            "in a browser or take the direct link"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer, not the weights; run git lfs pull")
    if start[_SAFETENSORS_HEADER : _SAFETENSORS_HEADER + 1] == b"{":
        return _read_safetensors(path)
    return _read_torch(path, pickled=start.startswith(b"\x80"))


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f"{path} is a safetensors file, and safetensors is not installed: pip install "
            "safetensors, or install reidblocks with its extra 'example'"
        ) from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); download it again") from error


def _read_torch(path: Path, *, pickled: bool) -> Mapping[str, Any]:
    try:
        with _numpy_numbers_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused or (pickled and "Unsupported operand" in str(error)):
            asks = f" (it asks for {refused[1]})" if refused else ""
            raise ValueError(
                f"{path} holds more than weights{asks}, which could run code, so it was not "
                "loaded. If you trust it, load it where it was made and save model.state_dict() "
                "alone"
            ) from error
        # The first sentence only: torch's second one advises to load it unsafely.
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise ValueError(
            f"{path} is damaged, cut short, or no checkpoint at all ({reason})"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, not a mapping of names to tensors"
        )
    return content


@contextlib.contextmanager
def _numpy_numbers_allowed() -> Iterator[None]:
    """Let numpy's plain numbers through: torchreid keeps its rank-1 as one, beside the weights."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]  # the function that numpy rebuilds a number with
    allowed: list[Any] = [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]
    for module in ("numpy.core", "numpy._core"):  # its name before numpy 2 and since
        allowed.append((scalar, f"{module}.multiarray.scalar"))
    with torch.serialization.safe_globals(allowed):
        yield
