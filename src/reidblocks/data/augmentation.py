"""The training transform on a whole batch, where the batch is: on the device, after the loader."""

import numpy as np
import torch
from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size
from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks.data import erasing
from reidblocks.data.erasing import erased_rectangles, placed
from reidblocks.data.patches import patch_sizes
from reidblocks.data.transforms import expect_channels

ERASING = 10  # where an image's random numbers for the rectangle begin
NUMBERS = ERASING + erasing.NUMBERS


class BatchAugmentation(nn.Module):
    """Flip, paste a random patch, normalize, erase a rectangle: ``train_transform`` for a batch.

    The loader's workers then only decode and resize (``resize_transform``), and send bytes
    instead of floats. Each image is augmented by itself, with the distributions of
    ``train_transform``, except for the patches: they are cut from the other images of the same
    batch and not from a pool of earlier ones, so that a batch depends on nothing but its images and
    torch's random state. In eval the images are normalized and nothing else.

    Args:
        flip: probability of mirroring an image, left to right.
        erase: probability of erasing a rectangle, to 0 after normalizing: the mean color.
        patch: probability of pasting a piece of another image of the batch.
        area: minimum and maximum fraction of its image that a piece covers.
        ratio: minimum and maximum height over width of a piece.
        mean, std: of each channel, for pixels from 0 to 1.

    Shape:
        uint8 (B, 3, H, W) → float32 (B, 3, H, W), on the same device; in training in the memory
        format channels_last

    Raises:
        ValueError: a probability is not in [0, 1]; mean or std is not three numbers; the input is
            no uint8 (B, 3, H, W).

    Source: as ``train_transform`` and ``RandomPatch``.

    >>> images = torch.randint(256, (4, 3, 16, 8), dtype=torch.uint8)
    >>> BatchAugmentation(erase=0)(images).shape
    torch.Size([4, 3, 16, 8])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        flip: float = 0.5,
        erase: float = 0.5,
        patch: float = 0.5,
        *,
        area: tuple[float, float] = (0.01, 0.5),
        ratio: tuple[float, float] = (0.1, 10.0),
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        for name, share in (("flip", flip), ("erase", erase), ("patch", patch)):
            if not 0 <= share <= 1:
                raise ValueError(f"BatchAugmentation expects {name} from 0 to 1, got {share}")
        self.flip, self.erase, self.patch = flip, erase, patch
        self.area, self.ratio = area, ratio
        expect_channels("BatchAugmentation", mean, std)
        # float32 on the CPU, whatever torch's defaults: they move with the module, or in forward.
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(values, dtype=torch.float32, device="cpu").view(3, 1, 1)
            self.register_buffer(name, 255 * buffer, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        expect_shape("BatchAugmentation", "images", images, "B 3 H W")
        expect_size("BatchAugmentation", "images", images, 1, 3)
        if images.dtype != torch.uint8:
            raise ValueError(
                f"BatchAugmentation expects uint8 images, got {images.dtype}; "
                "let the loader use resize_transform"
            )
        pixels = (images.float() - self.mean.to(images.device)).div_(self.std.to(images.device))
        if not self.training:
            return pixels
        size, _, height, width = images.shape
        plan = self._plan(size, height, width).to(images.device)  # all in one piece
        pasted, erased = _inside(plan[:, 4:].view(size, 2, 4), height, width).unbind(1)
        shown = _shown(plan, pasted).flatten()
        pixels = pixels.permute(0, 2, 3, 1).reshape(-1, 3).index_select(0, shown)
        pixels = pixels.view(size, height, width, 3).masked_fill_(erased.unsqueeze(3), 0)
        return pixels.permute(0, 3, 1, 2)

    def _plan(self, size: int, height: int, width: int) -> Tensor:
        """Return for each image what is done to it, in integers (B, 12).

        Whether it is mirrored; from which other image a piece comes, and how much further down
        and across it lies there; what is pasted over and what is erased, as top, left, rows and
        columns, of 0 where nothing is. All is drawn on the CPU, which no device waits for.
        """
        numbers = torch.rand(size, NUMBERS, dtype=torch.float64, device="cpu").numpy()
        mirrored, pastes, erases = (numbers[:, [0, 1, 9]] < [self.flip, self.patch, self.erase]).T
        own = np.arange(size)
        other = (own + 1 + (numbers[:, 2] * (size - 1)).astype(int)) % max(size, 1)
        sizes = patch_sizes(height, width, self.area, self.ratio, numbers[:, 3:5])
        source = placed(height, width, sizes, numbers[:, 5:7])
        pasted = placed(height, width, sizes, numbers[:, 7:9])
        shift = source[:, :2] - pasted[:, :2]
        pasted = pasted * (pastes & (other != own))[:, None]
        erased = erased_rectangles(height, width, numbers[:, ERASING:]) * erases[:, None]
        plan = (mirrored[:, None], other[:, None], shift, pasted, erased)
        return torch.from_numpy(np.concatenate(plan, 1).astype(np.int32))

    def extra_repr(self) -> str:
        return f"flip={self.flip}, erase={self.erase}, patch={self.patch}"


def _shown(plan: Tensor, pasted: Tensor) -> Tensor:
    """Return which of all pixels of the batch each pixel (B, H, W) shows."""
    _, height, width = pasted.shape
    mirrored, other, down, across = plan[:, :4].unsqueeze(-1).unbind(1)  # (B, 1) each
    image, y, x = (
        torch.arange(side, dtype=plan.dtype, device=plan.device) for side in pasted.shape
    )
    column = torch.where(mirrored > 0, width - 1 - x, x)
    own = _places(image.unsqueeze(1), y, column, height, width)
    column = torch.where(mirrored[other.squeeze(1)] > 0, width - 1 - (x + across), x + across)
    return torch.where(pasted, _places(other, y + down, column, height, width), own)


def _places(image: Tensor, row: Tensor, column: Tensor, height: int, width: int) -> Tensor:
    """Return the places (B, H, W), counted over the batch, of rows and columns of images."""
    return ((image * height + row) * width).unsqueeze(2) + column.unsqueeze(1)


def _inside(rectangle: Tensor, height: int, width: int) -> Tensor:
    """Mark the pixels (..., H, W) within rectangles (..., 4): top, left, rows and columns."""
    top, left, rows, columns = rectangle.unsqueeze(-1).unbind(-2)
    y, x = (torch.arange(side, device=rectangle.device) for side in (height, width))
    vertical, horizontal = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
    return vertical.unsqueeze(-1) & horizontal.unsqueeze(-2)
