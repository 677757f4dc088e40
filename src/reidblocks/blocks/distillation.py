"""Branches that learn from each other."""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.fx import wrap

from reidblocks._checks import (
    at_least_float32,
    expect_shape,
    expect_size,
    expect_sizes,
    expect_whole,
    is_traced,
)
from reidblocks._vectors import unit_vectors


def mutual_distillation_loss(predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    r"""Return the negative cosine between predictions and targets, averaged over pairs.

    $$L = \frac{1}{n}\sum_{i=1}^{n} -\cos(\hat f_i, \mathrm{stopgrad}(f_i))$$

    and over the batch. No gradient reaches a target. The cosine of a zero vector is 0.

    Args:
        predictions: n batches of vectors.
        targets: n batches of vectors to be predicted.

    Shape:
        n times (B, D) and n times (B, D) → scalar from −1 to 1, float32 at least

    Raises:
        ValueError: there are no pairs, the two counts differ, or not all are (B, D).

    Source: MDPR Eq. 8; Chen and He, arXiv 2011.10566 (SimSiam).

    >>> mutual_distillation_loss([torch.ones(2, 3)], [2 * torch.ones(2, 3)]).round()
    tensor(-1.)
    """
    if not 0 < len(predictions) == len(targets):
        raise ValueError(
            "mutual_distillation_loss expects as many targets as predictions, at least one, "
            f"got {len(predictions)} predictions and {len(targets)} targets"
        )
    for name, vectors in (("a prediction", predictions), ("a target", targets)):
        for each in vectors:
            expect_shape("mutual_distillation_loss", name, each, "B D")
            if not is_traced(each, predictions[0]) and each.shape != predictions[0].shape:
                raise ValueError(
                    "mutual_distillation_loss expects predictions and targets of one shape, got "
                    f"{tuple(predictions[0].shape)} and {tuple(each.shape)}"
                )
    predicted, wanted = (at_least_float32(torch.stack([*each])) for each in (predictions, targets))
    cosines = (unit_vectors(predicted) * unit_vectors(wanted.detach())).sum()
    return -_over_rows(cosines, predicted)


class MutualDistiller(nn.Module):
    r"""Predict each branch's embedding from those of the others, for mutual distillation.

    $$L = \frac{1}{n(n-1)}\sum_{i \ne j} -\cos(\mathrm{mlp}_{ij}(f_i), \mathrm{stopgrad}(f_j))$$

    averaged over the batch; each MLP is Linear, BN, ReLU, Linear. For two branches this is Eq. 8.
    It is for training only.

    Args:
        embed_dim: M, size of the embeddings.
        num_branches: n, at least 2.
        hidden_dim: size between the two linear layers; M unless given.

    Shape:
        n times (B, M) → scalar from −1 to 1

    Raises:
        ValueError: a size is not above 0, n is below 2, another number of embeddings comes, or
            one is not (B, M).

    Source: MDPR Eq. 8, Fig. 1.

    >>> MutualDistiller(4)(torch.rand(3, 4), torch.rand(3, 4)).shape
    torch.Size([])
    """

    def __init__(
        self, embed_dim: int, num_branches: int = 2, hidden_dim: int | None = None
    ) -> None:
        super().__init__()
        hidden = embed_dim if hidden_dim is None else hidden_dim
        expect_sizes("MutualDistiller", embed_dim=embed_dim, hidden_dim=hidden)
        expect_whole("MutualDistiller", "num_branches", num_branches, 2)
        self.embed_dim = embed_dim
        self.pairs = list(permutations(range(num_branches), 2))  # (from, to)
        self.num_branches = num_branches
        self.predictors = nn.ModuleList(
            nn.Sequential(
                nn.Linear(embed_dim, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, embed_dim),
            )
            for _ in self.pairs
        )

    def forward(self, *embeddings: Tensor) -> Tensor:
        self._check(embeddings)
        predictions = [
            predictor(embeddings[source])
            for predictor, (source, _) in zip(self.predictors, self.pairs, strict=True)
        ]
        return mutual_distillation_loss(predictions, [embeddings[to] for _, to in self.pairs])

    def _check(self, embeddings: tuple[Tensor, ...]) -> None:
        if is_traced(embeddings) or is_traced(*embeddings):
            return
        if len(embeddings) != self.num_branches:
            raise ValueError(
                f"MutualDistiller expects {self.num_branches} embeddings, got {len(embeddings)}"
            )
        for embedding in embeddings:
            expect_shape("MutualDistiller", "embeddings", embedding, "B M")
            expect_size("MutualDistiller", "embeddings", embedding, 1, self.embed_dim)
        sizes = [each.shape[0] for each in embeddings]
        if any(size != sizes[0] for size in sizes):
            raise ValueError(f"MutualDistiller expects embeddings of one batch, got sizes {sizes}")

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_branches={self.num_branches}"


@wrap  # one step for torch.fx, which cannot follow what depends on a shape
def _over_rows(total: Tensor, vectors: Tensor) -> Tensor:
    return total / (vectors.shape[0] * max(vectors.shape[1], 1))  # 0 for an empty batch
