"""What is deployed takes pixels, and gives what evaluation gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reidblocks.data import eval_transform
from reidblocks.deploy import Embedder


class Pixels(nn.Module):
    """An embedding that shows what the network was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight).flatten(1)


class Scale(nn.Module):
    """A layer that makes everything smaller, or larger."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors * self.factor


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def smooth(batch: int, height: int, width: int) -> Tensor:
    coarse = torch.rand(batch, 3, 6, 4) * 255
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("size", [(16, 8), (40, 30), (9, 5)])
def test_gives_what_the_eval_transform_gives(size: tuple[int, int]) -> None:
    images = smooth(3, *size)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    seen = Embedder(Pixels(), (16, 8), mean=mean, std=std).eval()(images).view(3, 3, 16, 8)
    transform = eval_transform((16, 8), mean=mean, std=std)
    expected = torch.stack([transform(image) for image in images])
    levels = (seen - expected).abs() * 255 * torch.tensor(std).view(3, 1, 1)
    # the transform resizes uint8: it rounds twice, down and across, with weights of 15 bits
    assert levels.max() <= (0 if size == (16, 8) else 1.05) + 1e-3


def test_is_near_to_pil() -> None:
    image = smooth(1, 120, 50)
    seen = Embedder(Pixels(), (48, 24), mean=(0, 0, 0), std=(1, 1, 1)).eval()(image)
    by_pil = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((24, 48), Image.BILINEAR)
    expected = torch.from_numpy(np.array(by_pil)).permute(2, 0, 1)
    assert (255 * seen.view(3, 48, 24) - expected).abs().max() < 1.1


def test_channels_come_in_the_order_of_the_network() -> None:
    images = pixels(2, 3, 4, 2)
    mean = (0.1, 0.2, 0.3)
    seen = Embedder(Pixels(), (4, 2), mean=mean, std=(1, 1, 1), channel_order="BGR").eval()(images)
    expected = images.flip(1) / 255 - torch.tensor(mean).view(3, 1, 1)
    torch.testing.assert_close(seen, expected.flatten(1))


def test_normalize() -> None:
    embeddings = Embedder(Pixels(), (4, 2), normalize=True).eval()(pixels(2, 3, 4, 2))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_a_short_embedding_is_normalized_too() -> None:
    network = nn.Sequential(Pixels(), Scale(1e-20))
    embeddings = Embedder(network, (4, 2), normalize=True).eval()(pixels(2, 3, 4, 2))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("whole", [True, False])
def test_a_network_in_half_precision(dtype: torch.dtype, whole: bool) -> None:
    images = pixels(2, 3, 4, 2)
    expected = Embedder(Pixels(), (4, 2)).eval()(images)
    embedder = Embedder(Pixels().to(dtype), (4, 2)).eval()
    if whole:  # the constants lose digits too, as the user asked
        embedder = embedder.to(dtype)
    got = embedder(images)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02)


def test_the_preprocessing_goes_where_the_network_goes() -> None:
    embedder = Embedder(Pixels(), (4, 2), mean=(0.1, 0.2, 0.3))
    assert {"mean", "std", "network.weight"} <= set(embedder.state_dict())
    assert "size=(4, 2), channel_order='RGB'" in repr(embedder)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


def test_compiles_once_for_any_batch() -> None:
    embedder = Embedder(network(), (16, 8)).eval()
    torch.compiler.reset()
    compiled = torch.compile(embedder, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.no_grad():
        compiled(pixels(2, 3, 20, 10))
        with torch._dynamo.config.patch(error_on_recompile=True):
            for batch in (3, 8):
                images = pixels(batch, 3, 20, 10)
                torch.testing.assert_close(compiled(images), embedder(images))


def test_exports_with_any_batch_and_any_size() -> None:
    embedder = Embedder(network(), (16, 8)).eval()
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    program = torch.export.export(embedder, (pixels(2, 3, 20, 10),), dynamic_shapes=(free,))
    for shape in ((1, 3, 16, 8), (3, 3, 50, 7)):
        images = pixels(*shape)
        torch.testing.assert_close(program.module()(images), embedder(images))


class Twice(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean((2, 3)), images


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Embedder(Pixels(), (4, 2))(pixels(3, 4, 2)), ValueError, r"images \(B, C, H, W\)"),
        (
            lambda: Embedder(Pixels(), (4, 2))(pixels(1, 4, 4, 2)),
            ValueError,
            r"images \(·, 3, ·, ·\)",
        ),
        (
            lambda: Embedder(Pixels(), (4, 2)).eval()(torch.rand(1, 3, 4, 2)),
            ValueError,
            "images of uint8, RGB from 0 to 255, got torch.float32: it scales and normalizes",
        ),
        (
            lambda: Embedder(Pixels(), (4, 2))(pixels(1, 3, 4, 2)),
            ValueError,
            r"expects its network in eval mode; call .eval\(\)",
        ),
        (
            lambda: Embedder(Twice(), (4, 2)).eval()(pixels(1, 3, 4, 2)),
            TypeError,
            "gives a tensor .*, got tuple; wrap it",
        ),
        (
            lambda: Embedder(nn.Identity(), (384, 192)).eval()(pixels(1, 3, 4, 2)),
            ValueError,
            r"the network to give embeddings \(B, D\), got \(1, 3, 384, 192\)",
        ),
        (lambda: Embedder(Pixels(), (0, 4)), ValueError, "height above 0, got 0"),
        (lambda: Embedder(Pixels(), (4, 2), std=(1, 0, 1)), ValueError, "std above 0"),
        (
            lambda: Embedder(Pixels(), (4, 2), mean=(1, 2)),
            ValueError,
            r"mean of 3 channels.*got \(1, 2\)",
        ),
        (lambda: Embedder(Pixels(), (4, 2), mean=0.5), ValueError, "mean of 3 channels, .*got 0.5"),
        (lambda: Embedder(Pixels(), (4, 2), std=(1, 1, None)), ValueError, "std of 3 channels"),
        (
            lambda: Embedder(Pixels(), (4, 2), mean=(float("nan"), 0, 0)),
            ValueError,
            "mean of finite",
        ),
        (
            lambda: Embedder(Pixels(), (4, 2), mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
            ValueError,
            "mean for pixels from 0 to 1, .*divide it, and std, by 255",
        ),
        (lambda: Embedder(Pixels(), 128), ValueError, r"size as height and width, .*got 128"),
        (lambda: Embedder(Pixels(), (128,)), ValueError, "size as height and width"),
        (lambda: Embedder(Pixels(), (128.0, 64.0)), ValueError, "size as height and width"),
        (
            lambda: Embedder(Pixels(), (4, 2), channel_order="GBR"),
            ValueError,
            "channel_order 'RGB' or 'BGR', got 'GBR'",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
