"""What tells the embeddings of one model from those of another."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_sizes


@dataclass(frozen=True)
class EmbedderSpec:
    """The identity of a model: only embeddings of the same model may be compared.

    Args:
        name: for people to read.
        dimension: D, numbers of an embedding.
        fingerprint: the same for one model in every file format, another for any other model.

    Raises:
        TypeError: dimension is not an integer.
        ValueError: dimension is not above 0, or there is no fingerprint.

    >>> EmbedderSpec("osnet_x0_25", dimension=512, fingerprint="a3f0").dimension
    512
    """

    name: str
    dimension: int
    fingerprint: str

    def __post_init__(self) -> None:
        expect_sizes("EmbedderSpec", dimension=self.dimension)
        if not self.fingerprint:
            raise ValueError("EmbedderSpec expects a fingerprint, got an empty one")


def fingerprint_of(network: nn.Module, preprocessing: str) -> str:
    """Return the SHA-256 of a network's state and of what is done to an image before it.

    A norm's counter of batches has no part in an embedding, and old checkpoints lack it.
    """
    found = hashlib.sha256(preprocessing.encode())
    for name, value in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        if not isinstance(value, Tensor):  # of get_extra_state
            found.update(f"{name} {value!r}\n".encode())
            continue
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().flatten()
        found.update(plain.view(torch.uint8).numpy().data)
    return found.hexdigest()
