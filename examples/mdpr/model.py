"""MDPR (Fig. 2): two branches that see a person in their own way, and their fusion.

    images → stem (res-conv1..3) ─┬─ hard branch: C5, whole and in N stripes ───────┬─ fusion
                                  └─ soft branch: C4, C5, attention maps and BAP ───┘

Sections, equations and figures are the paper's. Every feature: embedding block → GeM (Eq. 1) → BN.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from config import MDPRConfig
from reidblocks import blocks
from reidblocks.backbones import StagedBackbone
from reidblocks.blocks import BAPOutput, HardPartitionOutput, HeadOutput


class Feature(NamedTuple):
    """A vector to search with, and the one that the triplet loss acts on, if it does."""

    embedding: Tensor  # (B, D), after its BN
    metric: Tensor | None = None  # (B, D')


class Output(NamedTuple):
    """What a network gives, MDPR or a baseline; empty where there is no such thing."""

    features: dict[str, Feature]
    parts: dict[str, Tensor]  # f̂_bap (B, K, M) of each BAP feature, Eq. 4
    attention: dict[str, Tensor]  # A5 and A4, each (B, K, H, W)

    def embedding(self, names: Sequence[str]) -> Tensor:
        """Put features side by side (Table I)."""
        return torch.cat([self.features[name].embedding for name in names], 1)


class SoftOutput(NamedTuple):
    """Both heads of the soft branch; no maps and no BAP where it does not attend."""

    g5: HeadOutput
    g4: HeadOutput
    attention: dict[str, Tensor]
    bap: dict[str, BAPOutput]


class HardBranch(nn.Module):
    """Section III-A, Fig. 3: the whole of C5 and its stripes, each with an embedding of its own."""

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.stage4, self.stage5 = backbone.stage4, backbone.stage5
        channels = backbone.stage5_channels
        self.head = blocks.HardPartitionHead(channels, config.embed_dim, config.num_parts)

    def forward(self, shared: Tensor) -> HardPartitionOutput:
        output: HardPartitionOutput = self.head(self.stage5(self.stage4(shared)))
        return output  # f_g5, f_p1 .. f_pN, each by Eq. 1


class SoftBranch(nn.Module):
    """Section III-B, Fig. 5: attention maps of two stages, of which A5 guides A4."""

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.stage4, self.stage5 = backbone.stage4, backbone.stage5
        c4, c5 = backbone.stage4_channels, backbone.stage5_channels
        dim, maps = config.embed_dim, config.num_maps
        block = config.refine4 == "block"
        self.refine4 = blocks.ConvBNReLU(c4, c4) if block else nn.Conv2d(c4, c4, 1)  # C4 → Ĉ4
        prior = {"background_bias": config.background_bias}
        self.attention5 = blocks.AttentionGenerator(c5, maps, **prior)
        self.guidance, self.raw = config.guidance, config.attention4 == "raw"
        led, mix = maps if self.guidance else 0, None
        if self.guidance and self.raw:  # as released
            led = maps + 1
            mix = nn.Sequential(nn.Conv2d(led, led, 1, bias=False), nn.ReLU())
        self.attention4 = blocks.GuidedAttention(c4, maps, led, guide_transform=mix, **prior)
        self.bap5 = blocks.BAP(c5, dim, maps, pool=blocks.GeM() if config.shared_pool else None)
        self.bap4 = blocks.BAP(c4, dim, maps, pool=blocks.GeM() if config.shared_pool else None)
        self.head5, self.head4 = blocks.EmbeddingHead(c5, dim), blocks.EmbeddingHead(c4, dim)

    def forward(self, shared: Tensor, attend: bool) -> SoftOutput:
        c4 = self.stage4(shared)
        c5, refined4 = self.stage5(c4), self.refine4(c4)
        g5, g4 = self.head5(c5), self.head4(refined4)
        if not attend:
            return SoftOutput(g5, g4, {}, {})
        a5, _, raw5 = self.attention5(c5)  # Eq. 2
        seen, guide = (c4, raw5) if self.raw else (refined4, a5)
        a4 = self.attention4(seen, guide if self.guidance else None).maps
        bap5, bap4 = self.bap5(c5, a5), self.bap4(refined4, a4)  # Eq. 3 and 4
        return SoftOutput(g5, g4, {"A5": a5, "A4": a4}, {"soft_bap5": bap5, "soft_bap4": bap4})


class Fusion(nn.Module):
    """Section III-C, Fig. 6: the maps of each branch made one, then those of both."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stripes = blocks.FusionModule(dim)
        self.hard, self.soft = blocks.FusionModule(2 * dim), blocks.FusionModule(2 * dim)
        self.both = blocks.FusionModule(4 * dim)
        self.pool, self.neck = blocks.GeM(), blocks.BNNeck(4 * dim)

    def forward(self, hard: HardPartitionOutput, soft: SoftOutput) -> Tensor:
        stripes = self.stripes(torch.cat([part.maps for part in hard.parts], 2))  # (B, M, H, W)
        hard_maps = self.hard(hard.whole.maps, stripes)  # (B, 2M, H, W)
        soft_maps = self.soft(soft.g4.maps, soft.g5.maps)  # (B, 2M, H, W)
        fused: Tensor = self.neck(self.pool(self.both(hard_maps, soft_maps)))  # (B, 4M), Eq. 1
        return fused


class MDPR(nn.Module):
    """The network, on a copy of the backbone, whose later stages are the start of both branches.

    In training all of it runs, in eval mode the branches that ``features`` need, and no attention.
    """

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.config = config
        self.features, self.sizes = config.feature_names(), config.feature_sizes()
        hard, soft = copy.deepcopy(backbone), copy.deepcopy(backbone)
        self.stem = soft.stem if config.branches == "soft" else hard.stem
        both = config.branches == "both"
        self.soft_stem = soft.stem if both and config.separate_networks else None
        self.hard = HardBranch(hard, config) if config.branches != "soft" else None
        self.soft = SoftBranch(soft, config) if config.branches != "hard" else None
        self.fusion = Fusion(config.embed_dim) if both and config.fusion else None

    def forward(self, images: Tensor, everything: bool | None = None) -> Output:
        """Compute what ``features`` need, or everything, as in training: the attention too."""
        attend = self.training if everything is None else everything
        groups = {name.split("_")[0] for name in self.features}
        run_fusion = attend or "fusion" in groups
        run_hard, run_soft = run_fusion or "hard" in groups, run_fusion or "soft" in groups
        heads: dict[str, HeadOutput] = {}
        bap: dict[str, BAPOutput] = {}
        attention: dict[str, Tensor] = {}
        shared = self.stem(images) if run_hard or self.soft_stem is None else None  # res-conv1..3
        if run_hard and self.hard is not None:
            hard = self.hard(shared)  # Fig. 3
            heads.update({"hard_g5": hard.whole})
            heads.update({f"hard_p{n}": part for n, part in enumerate(hard.parts, start=1)})
        if run_soft and self.soft is not None:
            soft = self.soft(shared if self.soft_stem is None else self.soft_stem(images), attend)
            heads.update({"soft_g5": soft.g5, "soft_g4": soft.g4})  # Fig. 5
            bap, attention = soft.bap, soft.attention
        features = {name: Feature(head.embedding, head.embedding) for name, head in heads.items()}
        if run_fusion and self.fusion is not None:
            fused = self.fusion(hard, soft)  # Fig. 6
            features["fusion"] = Feature(fused, fused)
        features.update({name: Feature(each.embedding) for name, each in bap.items()})
        return Output(features, {name: each.parts for name, each in bap.items()}, attention)

    def embed(self, images: Tensor) -> Tensor:
        """Return the vector to search with: the features asked for, side by side (B, D)."""
        output: Output = self(images)
        return output.embedding(self.features)

    def attention(self, images: Tensor) -> dict[str, Tensor]:
        """Return A5 and A4, each (B, K, H, W); nothing where there is no soft branch."""
        if self.soft is None:
            return {}
        soft: SoftOutput = self.soft((self.soft_stem or self.stem)(images), attend=True)
        return soft.attention
