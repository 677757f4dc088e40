"""The training transform on a whole batch, where the batch is: on the device, after the loader."""

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size
from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks.data import erasing
from reidblocks.data.erasing import erase_rectangle
from reidblocks.data.patches import patch_size
from reidblocks.data.transforms import expect_channels

ERASING = 10  # where an image's random numbers for the rectangle begin
NUMBERS = ERASING + erasing.NUMBERS


class BatchAugmentation(nn.Module):
    """Flip, paste a random patch, normalise, erase a rectangle: ``train_transform`` for a batch.

    The loader's workers then only decode and resize (``resize_transform``), and send bytes
    instead of floats. Each image is augmented by itself, with the laws of ``train_transform``,
    but for the patches: they are cut from the other images of the same batch and not from a pool
    of earlier ones, so that a batch depends on nothing but its images and torch's random state.
    In eval the images are normalised and nothing else.

    Args:
        flip: how often to mirror an image, left to right.
        erase: how often to erase a rectangle, to 0 after normalising: the mean colour.
        patch: how often to paste a piece of another image of the batch.
        area: least and greatest share of its image that a piece covers.
        ratio: least and greatest height over width of a piece.
        mean, std: of each channel, for pixels from 0 to 1.

    Shape:
        uint8 (B, 3, H, W) → float32 (B, 3, H, W), on the same device. ``forward`` takes, as
        ``out``, such a tensor to write to, in any memory format: on a CPU a new one for each
        batch costs more than all the rest, as the system clears its memory page by page.

    Raises:
        ValueError: a probability is not in [0, 1]; mean or std is not three numbers; the input is
            no uint8 (B, 3, H, W); ``out`` is not as described.

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

    def forward(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        expect_shape("BatchAugmentation", "images", images, "B 3 H W")
        expect_size("BatchAugmentation", "images", images, 1, 3)
        if images.dtype != torch.uint8:
            raise ValueError(
                f"BatchAugmentation expects uint8 images, got {images.dtype}; "
                "let the loader use resize_transform"
            )
        if out is None:
            out = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        elif (out.shape, out.dtype, out.device) != (images.shape, torch.float32, images.device):
            raise ValueError(
                f"BatchAugmentation expects out as float32 {tuple(images.shape)} on "
                f"{images.device}, got {out.dtype} {tuple(out.shape)} on {out.device}"
            )
        size = len(images)
        # All numbers are drawn on the CPU, so that no device need be waited for.
        numbers: list[list[float]] = [[]] * size
        if self.training:
            numbers = torch.rand(size, NUMBERS, dtype=torch.float64, device="cpu").tolist()
        # A processor normalises image by image: one fits into its cache, a batch does not. A GPU
        # normalises all at once: each kernel is started anew, whatever it has to do.
        at_once = images.device.type != "cpu"
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        shape = (0,) if at_once else images.shape[1:]
        result = torch.empty(shape, dtype=torch.float32, device=images.device)
        for index, image in enumerate(images):
            if self.training:
                image = self._flipped(image, numbers[index])
                if size > 1 and numbers[index][1] < self.patch:
                    other = (index + 1 + int(numbers[index][2] * (size - 1))) % size
                    piece = self._piece(images[other], numbers[index])
                    image = _pasted(image, self._flipped(piece, numbers[other]), numbers[index])
            if at_once:
                out[index] = image
                continue
            torch.sub(image, mean, out=result).div_(std)
            self._erase(result, numbers[index])
            out[index] = result
        if at_once:
            out.sub_(mean).div_(std)
            for image, drawn in zip(out, numbers, strict=True):
                self._erase(image, drawn)
        return out

    def _erase(self, image: Tensor, numbers: list[float]) -> None:
        if self.training and numbers[9] < self.erase:
            erase_rectangle(image, numbers[ERASING:])

    def _flipped(self, image: Tensor, numbers: list[float]) -> Tensor:
        return image.flip(-1) if numbers[0] < self.flip else image

    def _piece(self, image: Tensor, numbers: list[float]) -> Tensor:
        """A piece cut from an image at a random place."""
        height, width = image.shape[-2:]
        rows, columns = patch_size(height, width, self.area, self.ratio, numbers[3], numbers[4])
        top, left = int(numbers[5] * (height - rows + 1)), int(numbers[6] * (width - columns + 1))
        return image[:, top : top + rows, left : left + columns]

    def extra_repr(self) -> str:
        return f"flip={self.flip}, erase={self.erase}, patch={self.patch}"


def _pasted(image: Tensor, piece: Tensor, numbers: list[float]) -> Tensor:
    """A copy of an image with a piece over it at a random place."""
    (height, width), (rows, columns) = image.shape[-2:], piece.shape[-2:]
    top, left = int(numbers[7] * (height - rows + 1)), int(numbers[8] * (width - columns + 1))
    result = image.clone()
    result[:, top : top + rows, left : left + columns] = piece
    return result
