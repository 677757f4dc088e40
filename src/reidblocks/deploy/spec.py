"""What tells the embeddings of one model from those of another."""

from dataclasses import dataclass

from reidblocks._checks import expect_sizes


@dataclass(frozen=True)
class EmbedderSpec:
    """The model that embeddings come from: only those of one model may be compared.

    Args:
        name: for people to read.
        dimension: D, numbers of an embedding.
        fingerprint: the same for one model in every file format, another for any other model.

    Raises:
        TypeError: dimension is no whole number.
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
