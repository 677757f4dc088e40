"""Read a file of weights, and say what is wrong with one that holds none."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reidblocks._reading import load_plain, reason, refused_global

_SAFETENSORS_HEADER = 8  # its length comes first, as 8 bytes; the header itself is JSON
_NOT_LOADED = (
    "which could run code, so it was not loaded. If you trust it, load it where it was made and "
    "save model.state_dict() alone"
)
_UNPACK = "unpack it, and name the file of weights in it"
_CONVERT = "load it where it was made and save its state_dict() with torch.save"
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x3a\x42]")  # its version, then another field
# What files of other kinds begin with, what they are, and what to do.
_OTHER_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "run git lfs pull"),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF", "an HDF5 file, as of Keras", _CONVERT),
    (b"\x93NUMPY", "a single NumPy array (.npy)", "pass a mapping of names to arrays"),
    (b"GGUF", "a GGUF file", _CONVERT),
)


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a .pth, .pt, .tar or .safetensors file on the CPU, without executing anything in it.

    A pickle can hold any program. Only tensors, numbers, text and containers of them are let
    through (torch's `weights_only`); whatever else a file asks for raises an error that names it.

    Args:
        path: the file, of whatever name: its first bytes show its kind. `~` is the home folder.

    Returns:
        The mapping in the file, with whatever wrapper the toolbox that wrote it put around it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, empty, truncated, damaged, holds code or anything that is no
            mapping, or is of another kind, which the message names: a web page, a Git LFS pointer,
            a TorchScript, `torch.export` or ONNX model, an archive of something else.
        ImportError: the file is a safetensors file and safetensors is not installed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the file of weights in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file of weights at {path}")
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise ValueError(f"{path} is empty; download or save it again")
    if start[_SAFETENSORS_HEADER : _SAFETENSORS_HEADER + 1] == b"{":
        return _read_safetensors(path)
    if kind := _kind_of_another(path, start):
        raise ValueError(f"{path} is {kind}")
    return _read_torch(path, start)


def _kind_of_another(path: Path, start: bytes) -> str | None:
    """Say what a file is that holds no weights as we read them, and what to do with it."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return (
            "a web page, not weights: the download gave a page to click on; open it in a browser "
            "or take the direct link"
        )
    if text.startswith(b"{"):
        return "JSON text, not weights; name the file of weights that it stands next to"
    for beginning, kind, remedy in _OTHER_KINDS:
        if start.startswith(beginning):
            return f"{kind}; {remedy}"
    if start[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}"
    if _ONNX.match(start):
        return f"an ONNX model; {_CONVERT}"
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    return None


def _kind_of_zip(path: Path) -> str | None:
    """Say what a zip archive is, unless torch.save wrote it or it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return None
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return (
            "a TorchScript archive, which is a program; load it with torch.jit.load and save its "
            "state_dict() with torch.save"
        )
    if "data.pkl" in names:
        return None
    if any(
        name.startswith("models/") or name == "serialized_exported_program.json" for name in names
    ):
        return (
            "a torch.export program; load it with torch.export.load and save its state_dict with "
            "torch.save"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays; pass dict(numpy.load(path)) in its place"
    return f"a zip archive that torch.save did not write, with {', '.join(names[:3])}; {_UNPACK}"


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
        raise ValueError(f"{path} is damaged or truncated ({error}); download it again") from error


def _read_torch(path: Path, start: bytes) -> Mapping[str, Any]:
    try:
        content = load_plain(path, text=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        refused = refused_global(error)
        pickled = start.startswith(b"\x80")
        if refused or (pickled and "Unsupported operand" in str(error)):
            asks = f" (it asks for {refused})" if refused else ""
            raise ValueError(f"{path} holds more than weights{asks}, {_NOT_LOADED}") from error
        if pickled and "magic number" in str(error):
            raise ValueError(
                f"{path} is a pickle that torch.save did not write; load it where it was made and "
                "save its weights with torch.save"
            ) from error
        raise ValueError(
            f"{path} is damaged, truncated, or no checkpoint at all ({reason(error)})"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, not a mapping of names to tensors"
        )
    return content
