"""Eq. 9: everything MDPR is trained for, as named terms whose sum is the loss."""

import torch
from torch import Tensor, nn

from config import MDPRConfig
from model import MDPROutput
from reidblocks import (
    AttentionDiversity,
    BatchHardTriplet,
    CircleClassifier,
    CircleLoss,
    MutualDistiller,
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
        self.by_class = config.circle == "class"
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

        terms: dict[str, Tensor] = {}
        for name in own:  # Eq. 5; a class-level loss is a mean over images, of any split
            terms[f"circle_{name}"] = (
                self.circles[name](own[name], labels)
                if self.by_class
                else self.circles[name](everyones[name], all_labels)
            )
        for name in self.features:
            terms[f"triplet_{name}"] = self.triplet(everyones[name], all_labels)  # Eq. 6
        for name, vectors in parts.items():
            terms[f"diversity_{name}"] = self.diversity(vectors)  # Eq. 7
        if self.distiller is not None:
            terms["distillation"] = self.distiller(own["hard_g5"], own["soft_g5"])  # Eq. 8
        return terms


def circle_of(config: MDPRConfig, size: int, num_classes: int) -> nn.Module:
    """Give the pair form, or the class-level form with weights of its own."""
    margin, gamma = config.circle_margin, config.circle_gamma
    if config.circle == "pair":
        return CircleLoss(margin=margin, gamma=gamma)
    return CircleClassifier(
        size, num_classes, margin=margin, gamma=gamma, label_smoothing=config.label_smoothing
    )
