"""Small real image files, made where a test needs them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Write an 8×16 image of one color under tmp_path: draw("folder/name.jpg", (255, 0, 0))."""

    def write(name: str, color: tuple[int, int, int] = (200, 30, 60)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), color).save(path)
        return path

    return write
