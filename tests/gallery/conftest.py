"""What the gallery's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery import Gallery

SPEC = EmbedderSpec("mine", 8, fingerprint="a3f0")


@pytest.fixture(autouse=True)
def _lancedb() -> None:
    pytest.importorskip("lancedb", reason="needs LanceDB (extra gallery)")


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "people.lance", SPEC)


@pytest.fixture
def vectors() -> Callable[..., Tensor]:
    def make(number: int, dimension: int = SPEC.dimension) -> Tensor:
        return torch.randn(number, dimension)

    return make
