"""Eq. 9: everything a network is trained for, MDPR or a baseline, as named terms."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import MDPRConfig
from model import Output
from reidblocks import (
    AttentionDiversity,
    BatchHardTriplet,
    CircleClassifier,
    CircleLoss,
    MutualDistiller,
    circle_logits,
    cosine_similarity_matrix,
)
from reidblocks.losses import gather_batch


class Criterion(nn.Module):
    """Give the terms of Eq. 9 for one batch; their sum is the loss.

    Features of one width are stacked, so that each loss is one call for all of them. Pairs and
    triplets are looked for in the batches of all processes together; the other terms are means
    over this process's images, which DDP averages over the processes.

    Args:
        config: the fields under "The objective".
        sizes: the width of every feature, as the network's ``sizes``.
        num_classes: identities in training, for the class-level circle loss.

    Shape:
        ``Output``, labels (B,) → {name: scalar}
    """

    def __init__(self, config: MDPRConfig, sizes: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.circles = nn.ModuleDict(
            {name: circle_of(config, size, num_classes) for name, size in sizes.items()}
        )
        self.by_class, self.smoothing = config.circle == "class", config.label_smoothing
        self.triplet = BatchHardTriplet(margin=config.triplet_margin)
        self.released_diversity = config.diversity == "maps"
        self.diversity = AttentionDiversity(config.beta, ordered=not self.released_diversity)
        distilled = config.distillation and {"hard_g5", "soft_g5"} <= set(sizes)
        self.distiller = MutualDistiller(config.embed_dim) if distilled else None

    def forward(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        if missing := self.circles.keys() - output.features.keys():
            raise ValueError(
                "the criterion needs the output of a model in training mode, got one without "
                f"{', '.join(sorted(missing))}"
            )
        embeddings = {name: each.embedding for name, each in output.features.items()}
        metrics = {name: each.metric for name, each in output.features.items()}
        terms: dict[str, Tensor] = {}
        for names, stacked in by_width(embeddings):  # Eq. 5
            circles = [self.circles[name] for name in names]
            if self.by_class:
                losses = circle_over_classes(circles, stacked, labels, smoothing=self.smoothing)
            else:
                losses = circles[0](*gather_stacked(stacked, labels))
            terms |= zip((f"circle_{name}" for name in names), losses.unbind(), strict=True)
        for names, stacked in by_width(metrics):  # Eq. 6
            losses = self.triplet(*gather_stacked(stacked, labels))
            terms |= zip((f"triplet_{name}" for name in names), losses.unbind(), strict=True)
        attended = zip(output.parts.items(), output.attention.values(), strict=True)
        for (name, parts), maps in attended:  # Eq. 7
            sparse = maps if self.released_diversity else None
            terms[f"diversity_{name}"] = self.diversity(parts, sparse)
        if self.distiller is not None:  # Eq. 8
            terms["distillation"] = self.distiller(embeddings["hard_g5"], embeddings["soft_g5"])
        return terms


def by_width(features: Mapping[str, Tensor | None]) -> Iterator[tuple[list[str], Tensor]]:
    """Yield the names of features (B, D) of one width, and the features stacked (N, B, D)."""
    together: dict[int, dict[str, Tensor]] = {}
    for name, feature in features.items():
        if feature is not None:
            together.setdefault(feature.shape[1], {})[name] = feature
    for group in together.values():
        yield list(group), torch.stack(list(group.values()))


def gather_stacked(stacked: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features (N, B, D) and the labels of all processes."""
    everyones, all_labels = gather_batch(stacked.transpose(0, 1), labels)
    return everyones.transpose(0, 1), all_labels


def circle_of(config: MDPRConfig, size: int, num_classes: int) -> nn.Module:
    """Return the pair form of Eq. 5, or the weights of the class-level form."""
    margin, gamma = config.circle_margin, config.circle_gamma
    if config.circle == "pair":
        return CircleLoss(margin=margin, gamma=gamma)
    return CircleClassifier(size, num_classes, margin=margin, gamma=gamma)


def circle_over_classes(
    circles: list[nn.Module], stacked: Tensor, labels: Tensor, *, smoothing: float
) -> Tensor:
    """Return the class-level circle loss (N,) of each of the features (N, B, D)."""
    first = cast(CircleClassifier, circles[0])
    weights = torch.stack([cast(Tensor, each.weight) for each in circles])
    cosines = cosine_similarity_matrix(stacked, weights)
    logits = circle_logits(cosines, labels, margin=first.margin, gamma=first.scale)
    every = labels.long().repeat(len(circles))
    losses = F.cross_entropy(
        logits.flatten(0, 1), every, reduction="none", label_smoothing=smoothing
    )
    return losses.view(len(circles), -1).sum(1) / max(len(labels), 1)
