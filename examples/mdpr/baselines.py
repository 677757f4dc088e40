"""What MDPR is measured against, from the same blocks: three known heads on one backbone.

Each gives named features; the criterion asks a class (or pair) circle loss of every one and a
triplet loss of those that have a vector for it. `train.py --network bnneck` trains one as it
trains MDPR; a branch of MDPR alone is `--branches hard` or `--branches soft`.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from config import MDPRConfig
from criterion import circle_of, circle_terms
from reidblocks import (
    BatchHardTriplet,
    BNNeckHead,
    EmbeddingHead,
    HardPartitionHead,
    HardPartitionOutput,
    split_stripes,
)
from reidblocks.backbones import StagedBackbone
from reidblocks.losses import gather_batch


class Feature(NamedTuple):
    """A vector to search with, and the one the triplet loss acts on, if any."""

    embedding: Tensor  # (B, D), after its BN
    metric: Tensor | None = None  # (B, D')


class GlobalHead(BNNeckHead):
    """The whole map; the triplet loss sees the vector before BN (Luo et al., arXiv 1903.07071)."""

    def __init__(self, stage5: nn.Module, channels: int) -> None:
        super().__init__(channels)
        self.stage5 = stage5
        self.sizes = {"whole": channels}

    def forward(self, c4: Tensor) -> dict[str, Feature]:  # type: ignore[override]
        head = super().forward(self.stage5(c4))
        return {"whole": Feature(head.embedding, head.pooled)}


class PCBHead(nn.Module):
    """Stripes, each classified by itself (in the style of Sun et al., arXiv 1711.09349)."""

    def __init__(self, stage5: nn.Module, channels: int, embed_dim: int, num_parts: int) -> None:
        super().__init__()
        self.stage5 = stage5
        self.parts = nn.ModuleList(EmbeddingHead(channels, embed_dim) for _ in range(num_parts))
        self.sizes = {f"p{n + 1}": embed_dim for n in range(num_parts)}

    def forward(self, c4: Tensor) -> dict[str, Feature]:
        stripes = split_stripes(self.stage5(c4), len(self.parts))
        heads = [head(stripe) for head, stripe in zip(self.parts, stripes, strict=True)]
        return {f"p{n}": Feature(head.embedding) for n, head in enumerate(heads, start=1)}


class MGNHead(nn.Module):
    """A last stage for the whole, one for halves, one for quarters.

    In the style of Wang et al., arXiv 1804.01438, whose stripes are 2 and 3: a small map has
    rows for 2 and 4. Each stage has a whole vector too, which alone gets the triplet loss.
    """

    STRIPES = (2, 4)

    def __init__(self, stage5: nn.Module, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.stage5 = stage5
        self.whole = EmbeddingHead(channels, embed_dim)
        self.stages = nn.ModuleList(copy.deepcopy(stage5) for _ in self.STRIPES)
        self.heads = nn.ModuleList(
            HardPartitionHead(channels, embed_dim, count) for count in self.STRIPES
        )
        names = ["whole"]
        for count in self.STRIPES:
            names += [f"whole_of_{count}", *(f"p{n + 1}_of_{count}" for n in range(count))]
        self.sizes = dict.fromkeys(names, embed_dim)

    def forward(self, c4: Tensor) -> dict[str, Feature]:
        whole = self.whole(self.stage5(c4)).embedding
        features = {"whole": Feature(whole, whole)}
        for count, stage, head in zip(self.STRIPES, self.stages, self.heads, strict=True):
            output: HardPartitionOutput = head(stage(c4))
            vector = output.whole.embedding
            features[f"whole_of_{count}"] = Feature(vector, vector)
            for n, part in enumerate(output.parts, start=1):
                features[f"p{n}_of_{count}"] = Feature(part.embedding)
        return features


class Baseline(nn.Module):
    """The network that ``config.network`` names, on a copy of the backbone.

    Shape:
        (B, 3, H, W) → {name: ``Feature``}
    """

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.config = config
        own = copy.deepcopy(backbone)
        self.stem, self.stage4 = own.stem, own.stage4
        channels, dim = own.stage5_channels, config.embed_dim
        self.head: GlobalHead | PCBHead | MGNHead
        if config.network == "bnneck":
            self.head = GlobalHead(own.stage5, channels)
        elif config.network == "pcb":
            self.head = PCBHead(own.stage5, channels, dim, config.num_parts)
        else:
            self.head = MGNHead(own.stage5, channels, dim)
        self.features = tuple(self.head.sizes)

    def forward(self, images: Tensor) -> dict[str, Feature]:
        features: dict[str, Feature] = self.head(self.stage4(self.stem(images)))
        return features

    def embed(self, images: Tensor) -> Tensor:
        """The vector to search with: every feature, side by side (B, D)."""
        return torch.cat([feature.embedding for feature in self(images).values()], 1)


class BaselineCriterion(nn.Module):
    """A circle loss for every feature, a triplet loss for those that have a vector for it.

    Shape:
        {name: ``Feature``}, labels (B,) → {name: scalar}
    """

    def __init__(self, config: MDPRConfig, sizes: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.circles = nn.ModuleDict(
            {name: circle_of(config, size, num_classes) for name, size in sizes.items()}
        )
        self.by_class, self.smoothing = config.circle == "class", config.label_smoothing
        self.triplet = BatchHardTriplet(margin=config.triplet_margin)

    def forward(self, output: dict[str, Feature], labels: Tensor) -> dict[str, Tensor]:
        features, all_labels = {name: each.embedding for name, each in output.items()}, labels
        if not self.by_class:
            for name, own in features.items():
                features[name], all_labels = gather_batch(own, labels)
        terms = circle_terms(self.circles, features, all_labels, smoothing=self.smoothing)
        for name, feature in output.items():
            if feature.metric is not None:
                terms[f"triplet_{name}"] = self.triplet(*gather_batch(feature.metric, labels))
        return terms
