"""Eq. 9: everything a network is trained for, MDPR or a baseline, as named terms."""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import MDPRConfig
from model import Output
from reidblocks import blocks, losses


class Criterion(nn.Module):
    """Give the terms of Eq. 9 for one batch; their sum is the loss.

    Each loss is one call for all features, stacked: a GPU waits for calls, not for numbers. Pairs
    and triplets are looked for in the batches of all processes together; the other terms are means
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
        how: dict[str, Any] = {"margin": config.circle_margin, "gamma": config.circle_gamma}
        self.circles = nn.ModuleDict()  # of the pair form, or with the weights of each class
        for name, size in sizes.items():
            if config.circle == "class":
                self.circles[name] = losses.CircleClassifier(size, num_classes, **how)
            else:
                self.circles[name] = losses.CircleLoss(**how)
        self.by_class, self.smoothing = config.circle == "class", config.label_smoothing
        self.triplet = losses.BatchHardTriplet(margin=config.triplet_margin)
        self.released_diversity = config.diversity == "maps"
        self.diversity = losses.AttentionDiversity(config.beta, ordered=not self.released_diversity)
        distilled = config.distillation and {"hard_g5", "soft_g5"} <= set(sizes)
        self.distiller = blocks.MutualDistiller(config.embed_dim) if distilled else None

    def forward(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        if missing := [name for name in self.circles if name not in output.features]:
            raise ValueError(
                "the criterion needs the output of a model in training mode, got one without "
                f"{', '.join(missing)}"
            )
        embeddings = {name: each.embedding for name, each in output.features.items()}
        metrics = {name: each.metric for name, each in output.features.items()}
        if self.by_class:  # Eq. 5
            circles = circle_over_classes(self.circles, embeddings, labels, self.smoothing)
        else:
            circles = over_pairs(next(iter(self.circles.values())), embeddings, labels)
        triplets = over_pairs(self.triplet, metrics, labels)  # Eq. 6
        terms = {f"circle_{name}": loss for name, loss in circles.items()}
        terms.update({f"triplet_{name}": loss for name, loss in triplets.items()})
        diversities = self.diversities(output)  # Eq. 7
        terms.update({f"diversity_{name}": loss for name, loss in diversities.items()})
        if self.distiller is not None:  # Eq. 8
            terms["distillation"] = self.distiller(embeddings["hard_g5"], embeddings["soft_g5"])
        return terms

    def diversities(self, output: Output) -> dict[str, Tensor]:
        """Return Eq. 7 of each stage's parts, or the released form, which looks at the maps too."""
        names, parts, maps = output.parts, [*output.parts.values()], output.attention.values()
        if self.released_diversity:
            return dict(zip(names, map(self.diversity, parts, maps), strict=True))
        found = self.diversity(torch.stack(parts)).unbind() if parts else ()
        return {name: found[n] for n, name in enumerate(names)}


def by_width(features: Mapping[str, Tensor | None]) -> tuple[list[list[str]], list[Tensor]]:
    """Return the names of the features (B, D) of each width, and these stacked (N, B, D)."""
    together: dict[int, dict[str, Tensor]] = {}
    for name, feature in features.items():
        if feature is not None:
            together.setdefault(feature.shape[1], {})[name] = feature
    groups = together.values()
    return [[*group] for group in groups], [torch.stack([*group.values()]) for group in groups]


def named(names: list[list[str]], values: Tensor) -> dict[str, Tensor]:
    """Return the losses (N,) by the names of their features."""
    every, each = [name for some in names for name in some], values.unbind()
    return {name: each[n] for n, name in enumerate(every)}


def over_pairs(
    loss: nn.Module, features: Mapping[str, Tensor | None], labels: Tensor
) -> dict[str, Tensor]:
    """Return a loss over pairs of each feature (B, D), of the images of all processes.

    The narrower ones are followed by zeros, which change no distance and no cosine.
    """
    names, groups = by_width(features)
    if not groups:
        return {}
    widest = max(group.shape[2] for group in groups)
    stacked = torch.cat([F.pad(group, (0, widest - group.shape[2])) for group in groups])
    everyones, all_labels = losses.gather_batch(stacked.transpose(0, 1), labels)  # (B, N, D)
    return named(names, loss(everyones.transpose(0, 1), all_labels))


def circle_over_classes(
    heads: nn.ModuleDict, features: Mapping[str, Tensor], labels: Tensor, smoothing: float
) -> dict[str, Tensor]:
    """Return the class-level circle loss of each feature (B, D)."""
    names, groups = by_width(features)
    weights = [torch.stack([cast(Tensor, heads[name].weight) for name in some]) for some in names]
    cosines = torch.cat([*map(losses.cosine_similarity_matrix, groups, weights)])  # (N, B, C)
    first = cast(losses.CircleClassifier, next(iter(heads.values())))
    how = {"margin": first.margin, "gamma": first.scale}
    logits = losses.circle_logits(cosines, labels, **how).flatten(0, 1)
    every = labels.long().repeat(len(cosines))
    found = F.cross_entropy(logits, every, reduction="none", label_smoothing=smoothing)
    return named(names, found.view(len(cosines), -1).sum(1) / max(len(labels), 1))
