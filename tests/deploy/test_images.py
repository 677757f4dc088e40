"""One call embeds paths, PIL images, arrays and tensors alike."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reidblocks.deploy import Embedder, embed


class Pixels(nn.Module):
    """An embedding that shows what the network was given, and how many images at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images.flatten(1)


def embedder(size: tuple[int, int] = (16, 8)) -> Embedder:
    return Embedder(Pixels(), size, mean=(0, 0, 0), std=(1, 1, 1))


def crops(number: int) -> list[Tensor]:
    return [
        torch.randint(0, 256, (3, 10 + 7 * n, 5 + 3 * n), dtype=torch.uint8) for n in range(number)
    ]


def test_every_kind_of_image_gives_the_same(tmp_path: Path) -> None:
    (tensor,) = crops(1)
    array = tensor.permute(1, 2, 0).numpy()
    image, path = Image.fromarray(array), tmp_path / "a.png"
    image.save(path)
    found = embed(embedder(), [tensor, array, image, path, str(path)])
    assert found.places == [0, 1, 2, 3, 4]
    assert found.unread == {}
    assert all(row.equal(found.embeddings[0]) for row in found.embeddings)
    direct = embedder().eval()(tensor[None])
    assert (255 * (found.embeddings[:1] - direct)).abs().max() <= 1.05  # of whole pixel values


def test_batches_are_full_and_in_order() -> None:
    model, images = embedder(), crops(7)
    model.train()
    found = embed(model, iter(images), batch_size=3, workers=2)
    assert model.network.batches == [3, 3, 1]
    assert model.training
    alone = torch.cat([embed(embedder(), [image]).embeddings for image in images])
    assert found.embeddings.equal(alone)
    assert not found.embeddings.is_inference()


def test_what_cannot_be_read_costs_nothing_else(tmp_path: Path) -> None:
    images: list[Any] = [*crops(3)]
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    images[1:1] = [tmp_path / "empty.jpg", tmp_path / "none.jpg"]
    images.append(tmp_path / "cut.png")
    found = embed(embedder(), images)
    assert found.places == [0, 3, 4]
    assert list(found.unread) == [1, 2, 5]
    assert f"cannot read the image {tmp_path / 'empty.jpg'} (it is empty)" in found.unread[1]
    assert "No such file" in found.unread[2]
    assert found.embeddings.equal(embed(embedder(), crops_of(images)).embeddings)


def crops_of(images: list[Any]) -> list[Tensor]:
    return [image for image in images if isinstance(image, Tensor)]


def test_no_image_at_all(tmp_path: Path) -> None:
    for images in ([], [tmp_path / "none.jpg"]):
        found = embed(embedder(), images)
        assert found.embeddings.shape == (0, 3 * 16 * 8)
        assert found.places == []


def test_an_image_taken_upright_is_embedded_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 32, 3)))
    exif = Image.Exif()
    exif[0x0112] = 3
    image.rotate(180).save(tmp_path / "a.png", exif=exif)
    upside_down = Image.open(tmp_path / "a.png")
    found = embed(embedder(), [image, tmp_path / "a.png", upside_down]).embeddings
    assert found[0].equal(found[1])
    assert found[0].equal(found[2])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (3, TypeError, "got int as image 1"),
        (np.zeros((3, 8, 4), np.uint8), ValueError, r"array \(H, W, 3\) .*got \(3, 8, 4\)"),
        (np.zeros((8, 4, 3), np.float32), ValueError, "uint8, RGB from 0 to 255, got float32"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"at least one pixel, got \(0, 4, 3\)"),
        (torch.zeros(8, 4, 3, dtype=torch.uint8), ValueError, r"tensor \(3, H, W\) .*\(8, 4, 3\)"),
        (torch.rand(3, 8, 4), ValueError, "image 1 of uint8, .*got torch.float32"),
    ],
)
def test_errors(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        embed(embedder(), [crops(1)[0], image])


@pytest.mark.parametrize("image", ["a.jpg", Path("a.jpg"), Image.new("RGB", (4, 8))])
def test_a_single_image_in_the_place_of_several(image: Any) -> None:
    with pytest.raises(TypeError, match=r"several images, got a .*: put it in a list"):
        embed(embedder(), image)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": 0}])
def test_numbers_below_one(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="of at least 1, got 0"):
        embed(embedder(), [], **wrong)


def test_progress_is_counted_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    embed(embedder(), crops(2), progress=True)
    assert capsys.readouterr().err == "images embedded: 2 of 2\n"
    assert math.prod(embed(embedder(), crops(2)).embeddings.shape) == 2 * 3 * 16 * 8
