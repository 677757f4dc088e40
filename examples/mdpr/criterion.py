"""Eq. 9: everything MDPR is trained for, as named terms whose sum is the loss."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import MDPRConfig
from model import MDPROutput
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


class MDPRCriterion(nn.Module):
    """Give the terms of Eq. 9 for one batch.

    Pairs and triplets are looked for in the batches of all processes together; the other terms
    are means over this process's images, which DDP averages over the processes.

    Args:
        config: the fields under "The network" and "The objective".
        num_classes: identities in training, for the class-level circle loss.

    Shape:
        ``MDPROutput``, labels (B,) → {name: scalar}
    """

    def __init__(self, config: MDPRConfig, num_classes: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.features = config.trained_features()
        sizes = {name: config.feature_size(name) for name in self.features}
        if config.branches != "hard":
            sizes |= {"soft_bap5": config.num_maps * dim, "soft_bap4": config.num_maps * dim}
        self.circles = nn.ModuleDict(
            {name: circle_of(config, size, num_classes) for name, size in sizes.items()}
        )
        self.by_class, self.smoothing = config.circle == "class", config.label_smoothing
        self.triplet = BatchHardTriplet(margin=config.triplet_margin)
        self.diversity = AttentionDiversity(beta=config.beta)
        distilled = config.distillation and config.branches == "both"
        self.distiller = MutualDistiller(dim) if distilled else None

    def forward(self, output: MDPROutput, labels: Tensor) -> dict[str, Tensor]:
        own = {name: output.feature(name) for name in self.features}
        parts: dict[str, Tensor] = {}
        if output.soft is not None:
            for name, bap in (("soft_bap5", output.soft.bap5), ("soft_bap4", output.soft.bap4)):
                if bap is None:
                    raise ValueError("the criterion needs the output of a model in training mode")
                own[name], parts[name] = bap.embedding, bap.parts
        sizes = [embedding.shape[1] for embedding in own.values()]
        together, all_labels = gather_batch(torch.cat(list(own.values()), 1), labels)
        everyones = dict(
            zip(own, torch.split_with_sizes(together, sizes, 1), strict=True)
        )  # of all processes

        # Eq. 5; a class-level loss is a mean over images, of any split
        seen = (own, labels) if self.by_class else (everyones, all_labels)
        terms = circle_terms(self.circles, *seen, smoothing=self.smoothing)
        compared = {name: everyones[name] for name in self.features}
        for names, features in by_width(compared):  # Eq. 6
            losses = self.triplet(features, all_labels).unbind()
            terms |= {f"triplet_{name}": loss for name, loss in zip(names, losses, strict=True)}
        for name, vectors in parts.items():
            terms[f"diversity_{name}"] = self.diversity(vectors)  # Eq. 7
        if self.distiller is not None:
            terms["distillation"] = self.distiller(own["hard_g5"], own["soft_g5"])  # Eq. 8
        return terms


def by_width(features: Mapping[str, Tensor]) -> Iterator[tuple[list[str], Tensor]]:
    """Yield features (B, D) of one width together, their names and (N, B, D)."""
    names: dict[int, list[str]] = {}
    for name, feature in features.items():
        names.setdefault(feature.shape[1], []).append(name)
    for together in names.values():
        yield together, torch.stack([features[name] for name in together])


def circle_terms(
    circles: nn.ModuleDict, features: Mapping[str, Tensor], labels: Tensor, *, smoothing: float
) -> dict[str, Tensor]:
    """Return the circle loss of every feature, computed for all of one width at once."""
    terms: dict[str, Tensor] = {}
    for names, together in by_width(features):
        first = circles[names[0]]
        if isinstance(first, CircleClassifier):
            weights = torch.stack([cast(Tensor, circles[name].weight) for name in names])
            cosines = cosine_similarity_matrix(together, weights)
            logits = circle_logits(cosines, labels, margin=first.margin, gamma=first.scale)
            each = F.cross_entropy(
                logits.flatten(0, 1),
                labels.long().repeat(len(names)),
                reduction="none",
                label_smoothing=smoothing,
            )
            losses = each.view(len(names), -1).sum(1) / max(len(labels), 1)
        else:
            losses = first(together, labels)
        terms |= {f"circle_{name}": loss for name, loss in zip(names, losses.unbind(), strict=True)}
    return {f"circle_{name}": terms[f"circle_{name}"] for name in features}


def circle_of(config: MDPRConfig, size: int, num_classes: int) -> nn.Module:
    """Return the pair form, or the weights of the class-level form."""
    margin, gamma = config.circle_margin, config.circle_gamma
    if config.circle == "pair":
        return CircleLoss(margin=margin, gamma=gamma)
    return CircleClassifier(size, num_classes, margin=margin, gamma=gamma)
