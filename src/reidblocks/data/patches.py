"""Random patch: a piece of another image pasted over this one."""

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_sizes
from reidblocks.data.erasing import random_numbers


class RandomPatch(nn.Module):
    """Paste a patch of an earlier image at a random place, and keep a patch of this one.

    The pieces wait in a pool; once it is full, a new piece replaces the oldest. The covered
    fraction of the image is uniform, the ratio of height to width log-uniform, and the place
    uniform. A pool of 1,000 pieces of 384×192 images holds about 50 MB.

    All randomness is torch's own, so that a seeded run repeats. In a DataLoader with workers each
    worker has its own pool, which begins empty with the worker: use ``persistent_workers=True``
    to keep the pools from one epoch to the next.

    Args:
        p: probability of pasting, once there are ``min_pool`` pieces.
        pool_size: maximum number of pieces to keep.
        min_pool: minimum number of pieces to choose from; before that, images pass unchanged.
        area: minimum and maximum fraction of the image that a piece covers.
        ratio: minimum and maximum height over width.

    Shape:
        (C, H, W) → (C, H, W), a new tensor where a piece was pasted, else the input itself

    Raises:
        ValueError: p is not in [0, 1], a range is not 0 < minimum ≤ maximum (area: ≤ 1), the pool
            cannot hold ``min_pool`` pieces, or the image is not 3-dimensional.

    Source: Zhou et al., arXiv 1905.00953.

    >>> paste = RandomPatch(p=1.0, min_pool=1)
    >>> dark, bright = torch.zeros(3, 8, 4), torch.ones(3, 8, 4)
    >>> paste(dark).sum(), paste(bright).sum() < bright.sum()  # the second shows some of the first
    (tensor(0.), tensor(True))
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        pool_size: int = 1000,
        min_pool: int = 100,
        area: tuple[float, float] = (0.01, 0.5),
        ratio: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        super().__init__()
        expect_sizes("RandomPatch", pool_size=pool_size, min_pool=min_pool)
        if not 0 <= p <= 1:
            raise ValueError(f"RandomPatch expects p from 0 to 1, got {p}")
        if min_pool > pool_size:
            raise ValueError(
                f"RandomPatch expects min_pool up to pool_size, got {min_pool} and {pool_size}"
            )
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"RandomPatch expects area (minimum, maximum) in (0, 1], got {area}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomPatch expects ratio (minimum, maximum) above 0, got {ratio}")
        self.p = p
        self.min_pool = min_pool
        self.area = area
        self.ratio = ratio
        self.pool: deque[Tensor] = deque(maxlen=pool_size)

    def forward(self, image: Tensor) -> Tensor:
        expect_shape("RandomPatch", "image", image, "C H W")
        height, width = image.shape[-2:]
        result = image
        if len(self.pool) >= self.min_pool and random_numbers(1)[0] < self.p:
            patch = self.pool[_below(len(self.pool))][:, :height, :width]
            top, left = _below(height - patch.shape[1] + 1), _below(width - patch.shape[2] + 1)
            result = image.clone()
            result[:, top : top + patch.shape[1], left : left + patch.shape[2]] = patch
        # Kept after the paste, so that no image is patched with itself; cloned, as a view would
        # hold the whole image in memory and change with it.
        numbers = np.array([random_numbers(2)])
        sizes = patch_sizes(height, width, self.area, self.ratio, numbers)
        rows, columns = sizes[0].astype(int).tolist()
        top, left = _below(height - rows + 1), _below(width - columns + 1)
        self.pool.append(image[:, top : top + rows, left : left + columns].clone())
        return result

    def extra_repr(self) -> str:
        return (
            f"p={self.p}, pool_size={self.pool.maxlen}, min_pool={self.min_pool}, "
            f"area={self.area}, ratio={self.ratio}"
        )


def patch_sizes(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    numbers: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return rows and columns (B, 2) of pieces: two numbers (B, 2), from 0 to 1, tell which."""
    share, skew = numbers.T
    pixels = (area[0] + share * (area[1] - area[0])) * height * width
    # Narrow the ratios to those with which the piece fits into the image.
    low = np.log(np.maximum(ratio[0], pixels / width**2))
    high = np.log(np.minimum(ratio[1], height**2 / pixels))
    chosen = np.exp(low + skew * (high - low))
    sizes = np.stack((np.sqrt(pixels * chosen), np.sqrt(pixels / chosen)), 1).round()
    return sizes.clip(1, (height, width))


def _below(limit: int) -> int:
    return int(torch.randint(limit, (), device="cpu"))
