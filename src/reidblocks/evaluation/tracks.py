"""Tracks: several images of one person, one after the other, as one vector."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from reidblocks._checks import at_least_float32
from reidblocks.evaluation.blocks import full_precision
from reidblocks.evaluation.features import LABELS, Features
from reidblocks.evaluation.labels import as_labels, as_times

_COLUMNS = 256 * 2**10  # rows times columns of which the median is taken at a time
_ROUNDING = 1e-6  # a mean of unit vectors that is shorter has no direction of its own


@full_precision()
def aggregate(
    features: Features,
    by: str | Sequence[str] | Tensor,
    *,
    how: Literal["mean", "median"] = "mean",
    weights: Tensor | None = None,
    normalize: bool = True,
) -> Features:
    r"""Return one embedding for each track: the mean or the median of its images' embeddings.

    With weights w, such as the quality of each image,

    $$\bar x = \frac{\sum_i w_i\, \hat x_i}{\sum_i w_i}$$

    Each vector is L2-normalized first, so that no image counts more for its length, and so is the
    result. The sums are in float64.

    A track's time is that of its first image, its path that of the image which comes first in the
    rows; identity, cameras, sequences and clothes must be the same for all its images. Tracks come
    in the order of their first rows. Evaluate them as images: a track against tracks, or an image
    against tracks. A query inside a track is known as itself by that one path alone: give
    ``sequences``, and a protocol with ``exclude_same_sequence`` excludes each query's own track.

    Args:
        features: of the images.
        by: which rows are one track: the name of a field ("sequences"), of several, which must
            all agree (("ids", "cameras", "sequences")), or a number for each row. −1 is none: an
            image with it stays alone.
        how: "mean" or "median", of each dimension by itself.
        weights: one for each image, from 0 on, for the mean.
        normalize: whether vectors are L2-normalized, before and after.

    Shape:
        features (N, D), weights (N,) → (T, D), float32 at least

    Raises:
        ValueError: a track's images have different identities, cameras, sequences or clothes;
            a field is not known; weights are negative, not finite or all 0 in a track, or given
            for a median; a track's vectors cancel each other; shapes do not fit; NaN or infinity.
        TypeError: features are no ``Features``, by is no name and not integers, or weights
            are not numbers.

    >>> crops = Features(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), [7, 7, 8],
    ...                  sequences=[0, 0, 1])
    >>> tracks = aggregate(crops, by="sequences")
    >>> tracks.ids, tracks.values
    (tensor([7, 8]), tensor([[0.7071, 0.7071],
            [1.0000, 0.0000]]))
    """
    if not isinstance(features, Features):
        raise TypeError(
            f"aggregate expects features as Features, got {type(features).__name__}; give "
            "Features(values, ids)"
        )
    if how not in ("mean", "median"):
        raise ValueError(f"aggregate expects how as 'mean' or 'median', got {how!r:.40}")
    track, first = _tracks(features, by)
    _expect_one_of_each(features, track, first)
    values = _finite(features.values.double())
    if normalize:
        values = _normalized(values, 0.0, "images that are no zero vector", "row")
    if how == "median":
        if weights is not None:
            raise ValueError("aggregate expects weights with how='mean' alone, got a median")
        found = _medians(values, track, len(first))
    else:
        shares = _shares(features, weights, track, first)
        found = values.new_zeros(len(first), values.shape[1])
        found.index_add_(0, track, values * shares[:, None])
    if normalize:
        found = _normalized(found, _ROUNDING, "images that do not cancel each other", "track")
    kept = features[first]
    return replace(
        kept,
        values=found.to(at_least_float32(features.values[:0]).dtype),
        times=None if features.times is None else _earliest(features.times, track, len(first)),
    )


def _tracks(features: Features, by: str | Sequence[str] | Tensor) -> tuple[Tensor, Tensor]:
    """The track (N,) of each row, numbered in the order of their first rows (T,)."""
    names = [by] if isinstance(by, str) else by
    columns = []
    if isinstance(names, Sequence) and names and all(isinstance(name, str) for name in names):
        for name in names:
            labels = getattr(features, str(name)) if name in ("ids", *LABELS) else None
            if labels is None:
                known = [n for n in ("ids", *LABELS) if getattr(features, n) is not None]
                raise ValueError(
                    f"aggregate expects by as names of labels that features have "
                    f"({', '.join(known)}), or as a number for each row, got {name!r:.40}"
                )
            columns.append(labels)
    else:
        labels = as_labels("aggregate", "by", names, len(features))
        columns.append(labels.to(features.values.device))
    keys = torch.stack(columns, dim=1)
    every = torch.arange(len(keys), device=keys.device)
    alone = torch.where((keys == -1).any(1), every, -1)
    _, group = torch.unique(torch.cat([keys, alone[:, None]], 1), dim=0, return_inverse=True)
    number = int(group.max()) + 1 if len(group) else 0
    first = torch.full_like(every[:number], len(keys)).scatter_reduce(0, group, every, "amin")
    order = first.argsort()
    return torch.empty_like(order).index_copy(0, order, every[:number])[group], first[order]


def _expect_one_of_each(features: Features, track: Tensor, first: Tensor) -> None:
    for name in ("ids", *LABELS):
        labels = getattr(features, name)
        if labels is None:
            continue
        differs = (labels != labels[first][track]).nonzero().flatten().tolist()
        if differs:
            row, start = differs[0], int(first[track[differs[0]]])
            more = f"add {name!r} to by"
            if name != "ids":
                more += f", or leave them out: dataclasses.replace(features, {name}=None)"
            one, other = (_called(features, name, int(labels[at])) for at in (start, row))
            raise ValueError(
                f"aggregate expects the images of a track to agree in {name}, got {one} in row "
                f"{start} and {other} in row {row}; {more}"
            )


def _called(features: Features, name: str, label: int) -> str:
    """A label by its name, where it has one."""
    names = {"ids": features.identity_names, "cameras": features.camera_names}
    return names.get(name, {}).get(label, f"{label}")


def _shares(features: Features, weights: Tensor | None, track: Tensor, first: Tensor) -> Tensor:
    """Each image's share (N,) of its track."""
    number = len(features)
    given = [1.0] * number if weights is None else weights
    weight = as_times("aggregate", "weights", given, number).to(features.values.device)
    if not bool(((weight >= 0) & weight.isfinite()).all()):
        raise ValueError("aggregate expects weights that are finite and from 0 on")
    total = weight.new_zeros(len(first)).index_add(0, track, weight)
    if bool((total == 0).any()):
        row = int(first[total == 0][0])
        raise ValueError(
            f"aggregate expects a weight above 0 in each track, got none in that of row {row}"
        )
    return weight / total[track]


def _medians(values: Tensor, track: Tensor, number: int) -> Tensor:
    count = torch.bincount(track, minlength=number)
    start = count.cumsum(0) - count
    low, high = start + (count - 1) // 2, start + count // 2
    parts = [values.new_empty(number, 0)]
    for some in torch.split(values, max(1, _COLUMNS // max(1, len(values))), dim=1):
        order = some.argsort(dim=0, stable=True)
        order = order.gather(0, track[order].argsort(dim=0, stable=True))
        ordered = some.gather(0, order)  # track by track, from small to large
        parts.append((ordered[low] + ordered[high]) / 2)
    return torch.cat(parts, dim=1)


def _earliest(times: Tensor, track: Tensor, number: int) -> Tensor:
    none = times.isnan()
    found = torch.full_like(times[:number], torch.inf)
    found = found.scatter_reduce(0, track, times.masked_fill(none, torch.inf), "amin")
    known = torch.bincount(track[~none], minlength=number)
    return found.masked_fill(known == 0, torch.nan)


def _finite(values: Tensor) -> Tensor:
    wrong = (~values.isfinite().all(1)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"aggregate expects finite values, got NaN or infinity in {len(wrong)} rows, first in "
            f"row {wrong[0]}"
        )
    return values


def _normalized(vectors: Tensor, shortest: float, expected: str, what: str) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    lost = (lengths <= shortest).flatten().nonzero().flatten().tolist()
    if lost:
        raise ValueError(
            f"aggregate expects {expected}, got {len(lost)} {what}s, first {what} {lost[0]}; leave "
            "them out, or give normalize=False"
        )
    return vectors / lengths
