"""Scores of query rows against the whole gallery: fast in float32, exact in float64 on demand."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Distance = Literal["cosine", "euclidean"]

_ROUNDING = 2.0**-24  # float32's unit roundoff
_ONE_DIRECTION = 2.0**-50  # unit vectors nearer to their mean differ by float64's rounding alone
_TILE = {"cpu": 512, "cuda": 2**16}  # gallery images multiplied at a time


class Scorer:
    """Scores that order the gallery as the distance does: the larger, the nearer.

    Two kinds that belong together. ``block`` is one float32 product for many queries, its scores
    sure only by a ``margin``. ``exact`` compares single pairs in float64, always by the same
    sums in the same order, so that equal images tie wherever they stand in the gallery.

    The float32 score is the cosine, or x·y − ‖y‖²/2, which orders the gallery as −‖x−y‖² does.
    Features that lie close together far from the origin would lose their digits in it: they are
    copied, with their mean taken off (unit vectors, for the cosine, are then compared as points).
    """

    def __init__(self, caller: str, query: Tensor, gallery: Tensor, distance: Distance) -> None:
        if distance not in ("cosine", "euclidean"):
            raise ValueError(f"{caller} expects distance 'cosine' or 'euclidean', got {distance!r}")
        self.query_norms = check_features(caller, "query features", query, distance).sqrt()
        self.gallery_squares = check_features(caller, "gallery features", gallery, distance)
        self.gallery_norms = self.gallery_squares.sqrt()
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"{caller} expects query and gallery features of one size, got "
                f"{query.shape[1]} and {gallery.shape[1]}"
            )
        self.query, self.gallery, self.distance = query, gallery, distance
        self.unit = distance == "cosine"
        norms, lengths = self.gallery_norms, self.query_norms
        self.collapsed = torch.equal(gallery, gallery[:1].expand_as(gallery))
        self.center = self._center(norms)
        self.scale = 1.0
        if self.center is None:
            self.fast = gallery
        else:
            norms = self._point_norms(gallery, norms, self.center)
            self.collapsed |= self.unit and bool(norms.max() < _ONE_DIRECTION)
            lengths = self._point_norms(query, lengths, self.center)
            self.scale = float(norms.max()) or 1.0
            norms, lengths = norms / self.scale, lengths / self.scale
            self.fast = self._centered_copy(self.center)
        self.as_points = self.center is not None or not self.unit
        self.reach = (float(norms.max()) or 1.0) if self.as_points else 1.0
        self.bias = (norms.square() * -0.5 if self.as_points else norms * 0).float()
        self.column_scale = (1 / norms).float()
        self.lengths = lengths.clamp_min(self.reach)

    def _center(self, norms: Tensor) -> Tensor | None:
        """Return the mean of a sample of the gallery if it outweighs what the images differ by."""
        number = min(256, len(norms))
        rows = torch.arange(number, device=norms.device) * (len(norms) - 1) // max(1, number - 1)
        sample = self.points(self.gallery[rows], norms[rows])
        center = sample.mean(0)
        if center.square().sum() > 0.95 * sample.square().sum(1).mean():
            return center
        least, most = norms.aminmax()
        if most < 1e15 and (least > 1e-15 if self.unit else most > 1e-15):
            return None
        return torch.zeros_like(center)  # no mean to take off, but a copy scaled for float32

    def points(self, features: Tensor, norms: Tensor, center: Tensor | None = None) -> Tensor:
        """Return features in float64, L2-normalized for the cosine, relative to the center."""
        points = features.double()
        if self.unit:
            points = points / norms[:, None]
        return points if center is None else points - center

    def _point_norms(self, features: Tensor, norms: Tensor, center: Tensor) -> Tensor:
        parts = zip(torch.split(features, 1024), torch.split(norms, 1024), strict=True)
        return torch.cat([torch.linalg.vector_norm(self.points(*p, center), dim=1) for p in parts])

    def _centered_copy(self, center: Tensor) -> Tensor:
        copy = torch.empty_like(self.gallery, dtype=torch.float32)
        for start in range(0, len(copy), 1024):
            rows = slice(start, start + 1024)
            points = self.points(self.gallery[rows], self.gallery_norms[rows], center)
            copy[rows] = points / self.scale
        return copy

    @property
    def num_columns(self) -> int:
        return len(self.gallery)

    def block(self, rows: Tensor, out: Tensor) -> Tensor:
        """Return float32 scores (R, G) of these query rows, written into ``out``."""
        if self.collapsed:  # a dead network: the gallery's order is all there is
            return out.copy_(-torch.arange(self.num_columns, device=out.device))
        if not self.as_points:
            unit = self.query[rows].div(self.query_norms[rows, None]).float()
            return self._product(unit, out)
        points = self.points(self.query[rows], self.query_norms[rows], self.center)
        lengths = self.lengths[rows]
        x = points.div_(self.scale * lengths[:, None]).float()
        return self._product(x, out, (1 / lengths).float())

    def _product(self, x: Tensor, out: Tensor, per_row: Tensor | None = None) -> Tensor:
        """Write x·yᵀ of x (R, D) and the gallery, by tiles that stay in the cache.

        There each is scaled, or gets its bias. One large product took 1.4 times as long on the
        AMD processor where the benchmarks ran; on another it may be quicker.
        """
        step = _TILE.get(out.device.type, self.num_columns)
        for start in range(0, self.num_columns, step):
            tile = slice(start, start + step)
            torch.mm(x, self.fast[tile].float().t(), out=out[:, tile])
            if per_row is not None:
                out[:, tile].addr_(per_row, self.bias[tile])
            else:
                out[:, tile].mul_(self.column_scale[tile])
        return out

    @property
    def margin(self) -> float:
        """How far from its score a pair's rival must be for their order to be sure.

        Measured, not proved: about twice the largest error seen over many kinds of features,
        which is that of sums whose halves cancel.
        """
        size = math.sqrt(self.query.shape[1])
        return 0.0 if self.collapsed else _ROUNDING * (24 + size / 2) * self.reach

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return float64 scores (N,) of the pairs (rows[i], columns[i])."""
        if not self.unit:
            return -self.squares(rows, columns)
        product = self._of_pairs(rows, columns, _dot)  # its square is exact for whole numbers
        if self.query.shape[1] == 1:  # a cosine is 1 or −1, without rounding
            return product.sign() * self.query_norms[rows].square()
        return product * product.abs() / self.gallery_squares[columns]

    def squares(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return squared Euclidean distances (N,) of pairs; of unit vectors for the cosine."""
        return self._of_pairs(rows, columns, _square, unit=self.unit)

    def _of_pairs(
        self,
        rows: Tensor,
        columns: Tensor,
        what: Callable[[Tensor, Tensor], Tensor],
        *,
        unit: bool = False,
    ) -> Tensor:
        step = max(2, 2**17 // self.query.shape[1])  # 1 MB a temporary: stays in the cache
        parts = [torch.empty(0, dtype=torch.float64, device=rows.device)]
        for some in zip(torch.split(rows, step), torch.split(columns, step), strict=True):
            x, y = self.query[some[0]].double(), self.gallery[some[1]].double()
            if unit:
                x.div_(self.query_norms[some[0], None])
                y.div_(self.gallery_norms[some[1], None])
            parts.append(what(x, y))
        return torch.cat(parts)

    def distances(self, rows: Tensor, exact: Tensor) -> Tensor:
        """Return the distances (N,) that belong to exact scores of these query rows."""
        root = exact.abs().sqrt()
        if not self.unit:
            return root
        return (1 - root.copysign(exact) / self.query_norms[rows]).clamp_min_(0)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return x.mul_(y).sum(1)


def _square(x: Tensor, y: Tensor) -> Tensor:
    return x.sub_(y).square_().sum(1)


def check_features(caller: str, name: str, features: Tensor, distance: Distance) -> Tensor:
    """Return the squared norms (N,) of features (N, D), refusing what has no distance."""
    if 0 in features.shape:
        raise ValueError(
            f"{caller} expects at least one row and one column in {name}, got "
            f"{tuple(features.shape)}"
        )
    squares = features.new_empty(len(features), dtype=torch.float64)
    step = max(1, 2**19 // features.shape[1])  # 4 MB in float64: stays in the cache
    buffer = features.new_empty((step, features.shape[1]), dtype=torch.float64)
    for start in range(0, len(features), step):
        part = features[start : start + step]
        part = buffer[: len(part)].copy_(part)
        torch.sum(part.square_(), dim=1, out=squares[start : start + step])
    wrong = (~squares.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"{caller} expects finite {name}, got values that are NaN or infinity, squared, in "
            f"{len(wrong)} rows, first in row {wrong[0]}; a diverged network or half precision "
            "that overflowed gives these"
        )
    zero = (squares == 0).nonzero().flatten().tolist()
    if zero and distance == "cosine":
        raise ValueError(
            f"{caller} expects no zero vector under the cosine distance, got {len(zero)} in "
            f"{name}, first in row {zero[0]}; leave these images out or use distance='euclidean'"
        )
    return squares
