"""Features of images with what is known of each image: what evaluation takes on either side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reidblocks._checks import expect_shape


@dataclass(frozen=True)
class Features:
    """One side of an evaluation, query or gallery: a row of ``values`` for each image.

    Labels may be anything that torch.as_tensor takes: they are kept as int64 tensors.

    Args:
        values: features of any floating-point type.
        ids: identities.
        cameras: None if unknown; −1 for a single image that has none.
        sequences: tracklets, scenes or actions; likewise.
        paths: names of the images, for reports.

    Shape:
        values (N, D); ids, cameras, sequences, paths (N,)

    Raises:
        ValueError: a label is missing for some rows, or there are too many.
        TypeError: values are not floating-point, or labels no whole numbers.

    >>> side = Features(torch.rand(3, 8), ids=[4, 4, 7], cameras=[1, 2, 1])
    >>> len(side), side[[0, 2]].ids  # a slice or a mask will do too
    (3, tensor([4, 7]))
    """

    values: Tensor
    ids: Tensor
    cameras: Tensor | None = None
    sequences: Tensor | None = None
    paths: Sequence[str] | None = None

    def __post_init__(self) -> None:
        expect_shape("Features", "values", self.values, "N D")
        if not self.values.is_floating_point():
            raise TypeError(
                f"Features expects floating-point values, got {self.values.dtype}; give "
                "values.float()"
            )
        for name in ("ids", "cameras", "sequences"):
            given = getattr(self, name)
            if given is not None or name == "ids":
                labels = as_labels("Features", name, given, len(self))
                object.__setattr__(self, name, labels.to(self.values.device))
        if self.paths is not None and len(self.paths) != len(self):
            raise ValueError(
                f"Features expects a path for each of {len(self)} rows, got {len(self.paths)}"
            )

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
        index = torch.as_tensor(rows, device=self.values.device)
        if index.dtype == torch.bool:
            if index.shape != self.ids.shape:
                raise IndexError(
                    f"Features expects a mask ({len(self)},), true or false for each row, got "
                    f"{tuple(index.shape)}"
                )
            index = index.nonzero().flatten()
        if index.dim() != 1 or (index.is_floating_point() and len(index)):
            raise TypeError(
                "Features expects rows as a list of whole numbers, a slice or a mask, got "
                f"{rows!r:.80}"
            )
        index = index.long()
        return Features(
            self.values[index],
            self.ids[index],
            None if self.cameras is None else self.cameras[index],
            None if self.sequences is None else self.sequences[index],
            None if self.paths is None else [self.paths[row] for row in index.tolist()],
        )

    def to(self, device: torch.device | str) -> "Features":
        """The same on another device; the labels follow the values."""
        return replace(self, values=self.values.to(device))


def as_labels(caller: str, name: str, given: object, number: int) -> Tensor:
    """Labels as an int64 tensor (number,), refused by name if they are anything else."""
    wanted = f"{caller} expects {name} as whole numbers"
    try:
        labels = torch.as_tensor(given)
    except (ValueError, TypeError, RuntimeError):
        raise TypeError(f"{wanted}, got {given!r:.80}; number them from 0 on") from None
    if labels.shape != (number,):
        raise ValueError(
            f"{caller} expects {name} ({number},), one for each row of values, got "
            f"{tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"{wanted}, got {labels.dtype}")
    whole = labels.long()
    if labels.dtype == torch.uint64 and bool((whole < 0).any()):
        raise ValueError(
            f"{caller} expects {name} below 2**63, got larger ones in torch.uint64; number them "
            "from 0 on"
        )
    return whole
