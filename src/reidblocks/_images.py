"""Image files opened upright and in RGB, the same way for training and for pictures."""

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

_ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
_LYING = (5, 6, 7, 8)  # its values for pictures that lie on their side in the file


def read_image(path: str | Path, *, target_size: tuple[int, int] | None = None) -> Image.Image:
    """Read an image file upright and in RGB, with 8 bits per channel.

    Gray, palette, CMYK and transparent images are converted, 16 bits are brought down to 8, and
    the camera's note on how it was held (EXIF) is applied. Of an animation, the first frame.

    Args:
        path: the file.
        target_size: height and width to which the image will be resized. A JPEG of eight times
            that or more is decoded at a half, a quarter or an eighth, and never at less than four
            times the target: resized, pixels differ by one or two of 255 levels, at edges.

    Raises:
        OSError: the file is missing, empty, truncated or no image of a known kind.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            if target_size is not None and image.format == "JPEG":
                rows, columns = target_size[::-1] if orientation in _LYING else target_size
                image.draft(None, (4 * columns, 4 * rows))
            # It copies the image even where there is nothing to do.
            return to_rgb(ImageOps.exif_transpose(image) if orientation != 1 else image)
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        what: object = error
        if isinstance(error, UnidentifiedImageError):
            what = "no image of a known kind" if Path(path).stat().st_size else "it is empty"
        raise OSError(
            f"cannot read the image {path} ({what}); restore the file, or take it out of the data"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, 8 bits a channel, of whatever mode it is.

    Raises:
        ValueError: its pixels are floats.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range")
    if image.mode.startswith("I"):  # 16-bit gray, which convert would clip at 255
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("RGB")
