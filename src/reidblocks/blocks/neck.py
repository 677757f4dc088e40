"""The batch normalisation between a pooled vector and the losses."""

from torch import Tensor, nn

from reidblocks._checks import expect_positive, expect_shape, expect_size


class BNNeck(nn.Module):
    r"""Normalise pooled vectors over the batch, by default around the origin.

    $$y = \gamma \odot \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta$$

    Vectors before it suit Euclidean losses, vectors after it cosine ones; MDPR takes those
    after it for every loss and for search.

    Args:
        num_features: D, size of the vectors.
        bias: whether β is trained; without it β stays 0 and the classes' hyperplanes go
            through the origin. It is in the state_dict either way.

    Shape:
        (B, D) → (B, D)

    Raises:
        ValueError: num_features is not above 0, the input is not (B, num_features).

    Source: Luo et al., arXiv 1903.07071.

    >>> BNNeck(4)(torch.rand(3, 4)).mean(0).abs().max() < 1e-5
    tensor(True)
    """

    def __init__(self, num_features: int, *, bias: bool = False) -> None:
        super().__init__()
        expect_positive("BNNeck", num_features=num_features)
        self.bn = nn.BatchNorm1d(num_features)
        self.bn.bias.requires_grad_(bias)

    def forward(self, vectors: Tensor) -> Tensor:
        expect_shape("BNNeck", "vectors", vectors, "B D")
        expect_size("BNNeck", "vectors", vectors, 1, self.bn.num_features)
        embeddings: Tensor = self.bn(vectors)
        return embeddings
