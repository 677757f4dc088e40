"""Features of both sides read from a .npz file, whose arrays ``reidblocks evaluate`` names."""

import sys
import typing
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels, as_times

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[typing.Any]]"

_FIELDS = {  # arrays of a side, and what Features call them
    "ids": "ids",
    "cams": "cameras",
    "sequences": "sequences",
    "clothes": "clothes",
    "times": "times",
    "paths": "paths",
}
NAMES = ("features", *_FIELDS)
_NAMED = {"ids": "identity_names", "cams": "camera_names"}  # arrays that may hold names
_AGAIN = "write it again with numpy.savez, as arrays of numbers"


def read_features(path: Path) -> tuple[Features, Features]:
    """Query and gallery from a .npz file with the arrays named above; a note on what is unread."""
    with path.open("rb") as stream, _opened(path, stream) as file:
        arrays = {side: _arrays(path, file, side) for side in ("query", "gallery")}
        unread = set(file.files) - {f"{side}_{name}" for side in arrays for name in NAMES}
    if unread:
        print(f"note: {path} also holds {', '.join(sorted(unread))}: not read", file=sys.stderr)
    names = {called: number_names(path, name, arrays) for name, called in _NAMED.items()}
    sides = {side: _features(path, side, arrays[side], names) for side in arrays}
    for name, held in _FIELDS.items():
        has = [side for side in sides if getattr(sides[side], held) is not None]
        if len(has) == 1:
            other = "gallery" if has == ["query"] else "query"
            raise ValueError(
                f"{path} has {has[0]}_{name} but no {other}_{name}; give both or neither"
            )
    if all(side.cameras is None for side in sides.values()):
        print(f"note: {path} holds no cameras: same-camera images count", file=sys.stderr)
    return sides["query"], sides["gallery"]


def _opened(path: Path, stream: typing.BinaryIO) -> "np.lib.npyio.NpzFile":
    """The arrays of a zip archive; np.load would take a foreign file for a pickle."""
    start = stream.read(4)
    if start not in (b"PK\3\4", b"PK\5\6") or not zipfile.is_zipfile(stream):
        raise ValueError(f"{path} is no .npz file, or a damaged one; {_AGAIN}")
    stream.seek(0)
    try:
        return np.load(stream, allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # damaged bytes make zipfile raise nearly anything
        raise ValueError(f"{path} is damaged, or not numpy's: {_reason(error)}; {_AGAIN}") from None


def _arrays(path: Path, file: "np.lib.npyio.NpzFile", side: str) -> dict[str, Array]:
    """One side's arrays that are there, by their names without the side."""
    wanted = {name: f"{side}_{name}" for name in NAMES}
    missing = [wanted[name] for name in NAMES[:2] if wanted[name] not in file.files]
    if missing:
        has = ", ".join(sorted(file.files)) or "no array"
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {has}")
    return {name: _array(path, file, full) for name, full in wanted.items() if full in file.files}


def number_names(path: Path, name: str, arrays: Mapping[str, dict[str, Array]]) -> dict[int, str]:
    """Put numbers in the place of names, alike on both sides, and return the names by number."""
    given = {side: each[name] for side, each in arrays.items() if name in each}
    kinds = {array.dtype.kind for array in given.values()}
    if "U" not in kinds:
        return {}
    both = " and ".join(f"{side}_{name}" for side in given)
    if len(kinds) > 1:
        raise ValueError(f"{path}: expected {both} both as numbers or both as names, got one each")
    texts = sorted({text.strip() for array in given.values() for text in array.ravel().tolist()})
    called = [text for text in texts if text not in ("", "-1")]
    if all(text.isdecimal() for text in called):
        raise ValueError(
            f"{path}: {both} are whole numbers written as strings; write them as numbers, by "
            ".astype(int)"
        )
    spelled: dict[str, str] = {}
    for text in called:
        first = spelled.setdefault("".join(text.casefold().split()), text)
        if first != text:
            raise ValueError(
                f"{path}: {both} write one name as {first} and as {text}; write it in one way"
            )
    numbers = {text: place for place, text in enumerate(called)} | {"": -1, "-1": -1}
    for side, array in given.items():
        plain = [numbers[text.strip()] for text in array.ravel().tolist()]
        arrays[side][name] = np.array(plain, np.int64).reshape(array.shape)
    return dict(enumerate(called))


def _features(
    path: Path, side: str, arrays: Mapping[str, Array], names: Mapping[str, dict[int, str]]
) -> Features:
    values = arrays["features"]
    if values.dtype.kind != "f" or values.ndim != 2:
        raise ValueError(
            f"{path}: expected {side}_features as floating-point numbers (N, D), got "
            f"{values.dtype} {values.shape}; write it again with numpy.savez, as float32"
        )
    try:
        labels: dict[str, typing.Any] = {}
        for name in arrays.keys() & _FIELDS.keys() - {"paths"}:
            check = as_times if name == "times" else as_labels
            full = f"{side}_{name}"
            labels[_FIELDS[name]] = check("the command", full, arrays[name], len(values))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    paths = arrays.get("paths")
    if paths is not None and paths.shape != (len(values),):
        raise ValueError(
            f"{path}: expected {side}_paths ({len(values)},), one for each row of "
            f"{side}_features, got {paths.shape}"
        )
    labels |= {"paths": None if paths is None else paths.tolist(), **names}
    return Features(torch.from_numpy(values), **labels)


def _array(path: Path, file: "np.lib.npyio.NpzFile", name: str) -> Array:
    kinds, wanted = "fiub", "numbers"
    if name.endswith("_paths"):
        kinds, wanted = "US", "strings"
    elif name.endswith(tuple(_NAMED)):
        kinds, wanted = "fiubU", "numbers, or of names"
    try:
        array = file[name]
    except Exception as error:  # as above
        raise ValueError(
            f"{path}, {name}: expected an array of {wanted}, got one that cannot be read "
            f"({_reason(error)}); write it again with numpy.savez, as arrays of {wanted}"
        ) from None
    too_wide = array.dtype.kind in "fiub" and array.dtype.itemsize > 8
    if array.dtype.kind not in kinds or too_wide:
        raise ValueError(
            f"{path}, {name}: expected an array of {wanted}, got {array.dtype}; write it again "
            f"with numpy.savez, as arrays of {wanted}"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
