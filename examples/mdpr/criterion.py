"""Eq. 9: everything MDPR is trained for, as named terms whose sum is the loss."""

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
    """Give the terms of Eq. 9 for one batch, over the batches of all processes.

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
        sizes = {name: 4 * dim if name == "fusion" else dim for name in self.features}
        if config.branches != "hard":
            sizes |= {"soft_bap5": config.num_maps * dim, "soft_bap4": config.num_maps * dim}
        self.circles = nn.ModuleDict(
            {name: _circle(config, size, num_classes) for name, size in sizes.items()}
        )
        self.triplet = BatchHardTriplet(margin=config.triplet_margin)
        self.diversity = AttentionDiversity(beta=config.beta)
        distilled = config.distillation and config.branches == "both"
        self.distiller = MutualDistiller(dim) if distilled else None

    def forward(self, output: MDPROutput, labels: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for name in self.features:
            embeddings, all_labels = gather_batch(output.feature(name), labels)
            terms[f"circle_{name}"] = self.circles[name](embeddings, all_labels)  # Eq. 5
            terms[f"triplet_{name}"] = self.triplet(embeddings, all_labels)  # Eq. 6
        if output.soft is not None:
            for name, bap in (("soft_bap5", output.soft.bap5), ("soft_bap4", output.soft.bap4)):
                if bap is None:
                    raise ValueError("the criterion needs the output of a model in training mode")
                embeddings, all_labels = gather_batch(bap.embedding, labels)
                terms[f"circle_{name}"] = self.circles[name](embeddings, all_labels)
                terms[f"diversity_{name}"] = self.diversity(bap.parts)  # Eq. 7
        if self.distiller is not None:
            hard, soft = output.feature("hard_g5"), output.feature("soft_g5")
            terms["distillation"] = self.distiller(hard, soft)  # Eq. 8
        return terms


def _circle(config: MDPRConfig, size: int, num_classes: int) -> nn.Module:
    """Give the pair form, or the class-level form with weights of its own."""
    margin, gamma = config.circle_margin, config.circle_gamma
    if config.circle == "pair":
        return CircleLoss(margin=margin, gamma=gamma)
    return CircleClassifier(
        size, num_classes, margin=margin, gamma=gamma, label_smoothing=config.label_smoothing
    )
