"""Features of images with what is known of each image: what evaluation takes on either side."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from reidblocks._checks import expect_floats, expect_shape
from reidblocks._devices import where_float64_is
from reidblocks.evaluation._equality import ComparesContents
from reidblocks.evaluation.labels import as_labels, as_times

LABELS = ("cameras", "sequences", "clothes")  # what may be known of an image, beside its identity


@dataclass(frozen=True, eq=False)
class Features(ComparesContents):
    """The features of the query or the gallery: a row of ``values`` for each image.

    Labels are integers in a list, an array or a tensor of any integer type: they are kept as
    int64 tensors. Two are equal where all they hold is.

    A path names one image, on both sides alike: a query that is itself in the gallery, by the
    same path, is not counted as a match. Where one object is both sides, no paths are needed.

    Args:
        values: features of any floating-point type. On a device without float64, as Apple's MPS,
            they are moved to the CPU, with one warning: evaluation needs it.
        ids: identities.
        cameras: None if unknown; −1 for a single image that has none.
        sequences: videos, scenes, tracklets or actions of a match; likewise.
        paths: where the images lie, or their names; None for a single image that has none.
        clothes: outfits, numbered; likewise as cameras. An outfit is compared among the images of
            one identity alone, so each person's may be numbered from 0.
        times: seconds, or frame numbers; NaN or None for a single image that has none. They are
            kept as float64.
        identity_names, camera_names: what people and cameras are called, by their numbers, as a
            ``ReIDDataset`` keeps them. Reports call those without a name by their number.

    Shape:
        values (N, D); ids, cameras, sequences, paths, clothes, times (N,)

    Raises:
        ValueError: a label is missing for some rows, or there are too many; one is too large for
            int64, a time for float64.
        TypeError: values are not floating-point, labels not integers, times no numbers,
            paths no strings, or names no strings by integers.

    >>> side = Features(torch.rand(3, 8), ids=[4, 4, 7], cameras=[1, 2, 1])
    >>> len(side), side[[0, 2]].ids  # a slice or a mask works too
    (3, tensor([4, 7]))
    """

    values: Tensor
    ids: Tensor
    cameras: Tensor | None = None
    sequences: Tensor | None = None
    paths: Sequence[str | None] | None = None
    clothes: Tensor | None = None
    times: Tensor | None = None
    identity_names: Mapping[int, str] = field(default_factory=dict)
    camera_names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect_shape("Features", "values", self.values, "N D")
        expect_floats("Features", "values", self.values)
        object.__setattr__(self, "values", where_float64_is(self.values))
        for name in ("ids", *LABELS, "times"):
            given = getattr(self, name)
            if given is not None or name == "ids":
                check = as_times if name == "times" else as_labels
                labels = check("Features", name, given, len(self))
                object.__setattr__(self, name, labels.to(self.values.device))
        if self.paths is not None:
            object.__setattr__(self, "paths", as_paths("Features", self.paths, len(self)))
        for name in ("identity_names", "camera_names"):
            object.__setattr__(self, name, as_names("Features", name, getattr(self, name)))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Sequence[int] | slice | Tensor) -> "Features":
        """These rows, in this order, or where a (N,) mask is true.

        Raises:
            IndexError: there is no such row; a mask has another length.
            TypeError: rows are anything else, a single number for one.
        """
        if isinstance(rows, slice):
            rows = range(len(self))[rows]
        if isinstance(rows, np.ndarray):  # torch takes no reversed view, nor another byte order
            rows = rows.astype(rows.dtype.newbyteorder("="))
        try:
            index = torch.as_tensor(rows, device=self.values.device)
        except (TypeError, ValueError, RuntimeError):
            raise _no_rows(rows) from None
        if index.dtype == torch.bool:
            if index.shape != self.ids.shape:
                raise IndexError(
                    f"Features expects a mask ({len(self)},), true or false for each row, got "
                    f"{tuple(index.shape)}"
                )
            index = index.nonzero().flatten()
        if index.dim() != 1 or (index.is_floating_point() and len(index)):
            raise _no_rows(rows)
        index = index.long()
        known = {name: getattr(self, name) for name in (*LABELS, "times")}
        return Features(
            self.values[index],
            self.ids[index],
            paths=None if self.paths is None else [self.paths[row] for row in index.tolist()],
            identity_names=self.identity_names,
            camera_names=self.camera_names,
            **{name: given[index] for name, given in known.items() if given is not None},
        )

    def to(self, device: torch.device | str) -> "Features":
        """Return the same on another device; the labels follow. There already, it is itself."""
        values = self.values.to(device)
        return self if values is self.values else replace(self, values=values)

    def identity_name(self, identity: int) -> str:
        """Return what a person is called: the name, or the number where there is none."""
        return self.identity_names.get(identity, f"{identity}")

    def camera_name(self, camera: int) -> str:
        """Return what a camera is called: the name, or the number where there is none."""
        return "unknown" if camera == -1 else self.camera_names.get(camera, f"{camera}")


def _no_rows(rows: object) -> TypeError:
    return TypeError(
        f"Features expects rows as a list of whole numbers, a slice or a mask, got {rows!r:.80}"
    )


def as_paths(caller: str, given: object, number: int) -> list[str | None]:
    """Paths as a list of strings, None where there is none, refused by name if they are not."""
    no_list = isinstance(given, str | bytes | os.PathLike | Set | Mapping)
    if no_list or not isinstance(given, Iterable):
        raise TypeError(f"{caller} expects paths as a list of strings, got {given!r:.80}")
    paths: list[str | None] = []
    for row, path in enumerate(given):
        if path is not None and not isinstance(path, str | bytes | os.PathLike):
            raise TypeError(
                f"{caller} expects paths as strings, or None, got {path!r:.40} in row {row}"
            )
        paths.append(None if path is None else os.fsdecode(path) or None)  # "" names no image
    if len(paths) != number:
        raise ValueError(f"{caller} expects a path for each of {number} rows, got {len(paths)}")
    return paths


def as_names(caller: str, name: str, given: object) -> dict[int, str]:
    """Names by their numbers, refused if they are anything else."""
    if isinstance(given, Mapping) and all(
        isinstance(number, int) and isinstance(text, str) for number, text in given.items()
    ):
        return dict(given)
    raise TypeError(
        f"{caller} expects {name} as a mapping of whole numbers to names, such as {{0: 'anna'}}, "
        f"got {given!r:.80}"
    )
