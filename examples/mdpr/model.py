"""MDPR, put together from reidblocks: two branches that see a person in their own way, fused.

    images → stem (res-conv1..3) → hard branch: C5 → whole and N stripes
                                 → soft branch: C4, C5 → attention → BAP; whole maps
    the branches' maps → fusion          every feature: embedding block → GeM → BN

Section and equation numbers are the paper's ("Mutual Distillation Learning For Person
Re-identification").
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from config import MDPRConfig
from reidblocks import (
    BAP,
    AttentionGenerator,
    BAPOutput,
    BNNeck,
    ConvBNReLU,
    EmbeddingHead,
    FusionModule,
    GeM,
    GuidedAttention,
    HardPartitionHead,
    HeadOutput,
    split_stripes,
)
from reidblocks.backbones import StagedBackbone

ATTENTION = "attention"  # asked for beside features' names: the attention maps and their BAP


class SoftOutput(NamedTuple):
    """What the soft branch was asked for; None stands for what it was not."""

    g5: HeadOutput | None
    g4: HeadOutput | None
    maps5: Tensor | None  # A5 (B, K, H, W)
    maps4: Tensor | None  # A4 (B, K, H, W)
    bap5: BAPOutput | None
    bap4: BAPOutput | None

    def head(self, name: str) -> HeadOutput:
        """The head g5 or g4, which must have run."""
        head = self.g5 if name == "g5" else self.g4
        if head is None:
            raise KeyError(f"soft_{name} was not computed in this pass")
        return head


class HardOutput(NamedTuple):
    """What the hard branch was asked for; None stands for what it was not."""

    whole: HeadOutput | None
    parts: tuple[HeadOutput | None, ...]

    def head(self, name: str) -> HeadOutput:
        """The head g5, p1, p2 .., which must have run."""
        names = ("g5", *(f"p{n + 1}" for n in range(len(self.parts))))
        head = dict(zip(names, (self.whole, *self.parts), strict=True)).get(name)
        if head is None:
            raise KeyError(f"hard_{name} was not computed in this pass")
        return head


class MDPROutput(NamedTuple):
    """Every part of one pass, by its name in the paper; None stands for what did not run."""

    hard: HardOutput | None
    soft: SoftOutput | None
    fusion: Tensor | None  # f_fusion (B, 4M)

    def feature(self, name: str) -> Tensor:
        """One feature after its BN: hard_g5, hard_p1.., soft_g5, soft_g4 or fusion."""
        if name == "fusion" and self.fusion is not None:
            return self.fusion
        if name.startswith("hard_") and self.hard is not None:
            return self.hard.head(name.removeprefix("hard_")).embedding
        if name.startswith("soft_") and self.soft is not None:
            return self.soft.head(name.removeprefix("soft_")).embedding
        raise KeyError(f"{name} was not computed in this pass")

    def embedding(self, names: Sequence[str]) -> Tensor:
        """The features asked for, side by side (Table I)."""
        return torch.cat([self.feature(name) for name in names], 1)


class HardBranch(nn.Module):
    """Section III-A: stripes of the last map, each with an embedding of its own."""

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.stage4, self.stage5 = backbone.stage4, backbone.stage5
        channels, dim = backbone.stage5_channels, config.embed_dim
        self.head = HardPartitionHead(channels, dim, config.num_parts)

    def forward(self, shared: Tensor, wanted: frozenset[str]) -> HardOutput:
        c5 = self.stage5(self.stage4(shared))
        g5 = "hard_g5" in wanted
        asked = [f"hard_p{n}" in wanted for n in range(1, len(self.head.parts) + 1)]
        if g5 and all(asked):
            return HardOutput(*self.head(c5))  # f_g5, f_p1 .. f_pN, Eq. 1
        parts = zip(self.head.parts, split_stripes(c5, len(asked)), asked, strict=True)
        return HardOutput(
            self.head.whole(c5) if g5 else None,
            tuple(head(stripe) if ask else None for head, stripe, ask in parts),
        )


class SoftBranch(nn.Module):
    """Section III-B: attention maps of two stages, the deeper one leading the other."""

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.stage4, self.stage5 = backbone.stage4, backbone.stage5
        c4, c5 = backbone.stage4_channels, backbone.stage5_channels
        dim, maps = config.embed_dim, config.num_maps
        self.guidance, self.raw4 = config.guidance, config.attention4 == "raw"
        is_block = config.refine4 == "block"
        self.refine4 = ConvBNReLU(c4, c4) if is_block else nn.Conv2d(c4, c4, 1)  # C4 → Ĉ4
        self.attention5 = AttentionGenerator(c5, maps)
        self.attention4 = self._attention4(c4, maps)
        self.bap5 = BAP(c5, dim, maps, pool=GeM() if config.shared_pool else None)
        self.bap4 = BAP(c4, dim, maps, pool=GeM() if config.shared_pool else None)
        self.head5 = EmbeddingHead(c5, dim)
        self.head4 = EmbeddingHead(c4, dim)

    def forward(self, shared: Tensor, wanted: frozenset[str]) -> SoftOutput:
        c4 = self.stage4(shared)
        attentive = ATTENTION in wanted
        c5 = self.stage5(c4) if attentive or "soft_g5" in wanted else None
        refined4 = self.refine4(c4) if attentive or "soft_g4" in wanted else None
        g5 = self.head5(c5) if "soft_g5" in wanted else None
        g4 = self.head4(refined4) if "soft_g4" in wanted else None
        if not attentive:
            return SoftOutput(g5, g4, None, None, None, None)
        maps5, _, raw5 = self.attention5(c5)  # Eq. 2
        seen, guide = (c4, raw5) if self.raw4 else (refined4, maps5)
        maps4 = self.attention4(seen, guide if self.guidance else None).maps
        bap5, bap4 = self.bap5(c5, maps5), self.bap4(refined4, maps4)  # Eq. 3 and 4
        return SoftOutput(g5, g4, maps5, maps4, bap5, bap4)

    def _attention4(self, channels: int, maps: int) -> GuidedAttention:
        """Have A4 led by the maps of A5, by what they were before the softmax, or by nothing."""
        if not (self.guidance and self.raw4):
            return GuidedAttention(channels, maps, guide_channels=maps if self.guidance else 0)
        mix = nn.Sequential(nn.Conv2d(maps + 1, maps + 1, 1, bias=False), nn.ReLU())
        return GuidedAttention(channels, maps, guide_channels=maps + 1, guide_transform=mix)


class Fusion(nn.Module):
    """Section III-C, Fig. 6: the maps of each branch made one, then those of both."""

    def __init__(self, config: MDPRConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.stripes = FusionModule(dim)
        self.hard = FusionModule(2 * dim)
        self.soft = FusionModule(2 * dim)
        self.both = FusionModule(4 * dim)
        self.pool = GeM()
        self.neck = BNNeck(4 * dim)

    def forward(self, hard: HardOutput, soft: SoftOutput) -> Tensor:
        parts = [hard.head(f"p{n}").maps for n in range(1, len(hard.parts) + 1)]
        stripes = self.stripes(torch.cat(parts, 2))  # (B, M, H, W)
        hard_maps = self.hard(hard.head("g5").maps, stripes)  # (B, 2M, H, W)
        soft_maps = self.soft(soft.head("g4").maps, soft.head("g5").maps)  # (B, 2M, H, W)
        fused: Tensor = self.neck(self.pool(self.both(hard_maps, soft_maps)))  # (B, 4M)
        return fused


class MDPR(nn.Module):
    """The network: in training every part runs, in eval only what ``features`` need.

    Args:
        backbone: its stem is shared by the branches; its later stages, and their weights, are
            the start of both. It is copied, not kept.
        config: the fields under "The network".

    Shape:
        (B, 3, H, W) → ``MDPROutput``
    """

    def __init__(self, backbone: StagedBackbone, config: MDPRConfig) -> None:
        super().__init__()
        self.config = config
        self.features = config.feature_names()
        self.checkpoint_branches = config.checkpoint_branches
        self._trained = frozenset((*config.trained_features(), ATTENTION))
        hard, soft = copy.deepcopy(backbone), copy.deepcopy(backbone)
        self.stem = soft.stem if config.branches == "soft" else hard.stem
        two = config.separate_networks and config.branches == "both"
        self.soft_stem = soft.stem if two else None
        self.hard = HardBranch(hard, config) if config.branches != "soft" else None
        self.soft = SoftBranch(soft, config) if config.branches != "hard" else None
        self.fusion = Fusion(config) if "fusion" in self._trained else None

    def forward(self, images: Tensor, wanted: frozenset[str] | None = None) -> MDPROutput:
        wanted = self._needed(wanted)
        hard: HardOutput | None = None
        soft: SoftOutput | None = None
        runs_hard = any(name.startswith("hard") for name in wanted)
        runs_soft = any(name.startswith(("soft", ATTENTION)) for name in wanted)
        if runs_hard or self.soft_stem is None:
            shared = self._run_stem(self.stem, images)  # res-conv1..3
        if self.hard is not None and runs_hard:
            hard = self._run(self.hard, shared, wanted)
        if self.soft is not None and runs_soft:
            own = shared if self.soft_stem is None else self._run_stem(self.soft_stem, images)
            soft = self._run(self.soft, own, wanted)
        fused = self.fusion(hard, soft) if self.fusion is not None and "fusion" in wanted else None
        return MDPROutput(hard, soft, fused)

    def embed(self, images: Tensor) -> Tensor:
        """The vector to search with: the features asked for, side by side (B, D)."""
        output: MDPROutput = self(images)
        return output.embedding(self.features)

    def attention(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A5 and A4, each (B, K, H, W), and nothing else computed."""
        soft = self(images, frozenset((ATTENTION,))).soft
        return soft.maps5, soft.maps4

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        """Run a part; checkpointed, it keeps only its input and is run again on the way back."""
        if not self._checkpoints():
            return part(*inputs)
        contexts = partial(_once_more, part)
        return checkpoint(part, *inputs, use_reentrant=False, context_fn=contexts)

    def _run_stem(self, stem: nn.Module, images: Tensor) -> Any:
        """Run the stem; checkpointed, its last two parts each alone: it is never kept as a whole.

        In a ResNet, whose stem has the largest maps of all, these are res-conv2 and res-conv3.
        """
        if not (self._checkpoints() and isinstance(stem, nn.Sequential) and len(stem) > 2):
            return self._run(stem, images)
        maps = self._run(stem[:-2], images)
        for part in stem[-2:]:
            maps = self._run(part, maps)
        return maps

    def _checkpoints(self) -> bool:
        return self.checkpoint_branches and self.training

    def _needed(self, wanted: frozenset[str] | None) -> frozenset[str]:
        """Everything in training; else what was asked for, fusion with all that it fuses."""
        if wanted is None:
            wanted = self._trained if self.training else frozenset(self.features)
        return self._trained - {ATTENTION} | wanted if "fusion" in wanted else wanted


Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def _once_more(part: nn.Module) -> Contexts:
    """Give what surrounds a checkpointed part at first, and when it is run again."""
    return nullcontext(), _StatisticsKept(part)


class _StatisticsKept(AbstractContextManager[None]):
    """`_statistics_kept`, to be entered again where several terms go back on their own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._entered: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._entered.append(_statistics_kept(self._module))
        self._entered[-1].__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._entered.pop().__exit__(*raised)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Have norms take the batch's statistics as in training, without counting the batch again."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm, _, count in before:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
