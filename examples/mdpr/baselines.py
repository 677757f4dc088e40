"""What MDPR is measured against, from the same blocks: three known heads on one backbone.

Each gives named features as MDPR does, and the criterion is MDPR's: a circle loss for every one, a
triplet loss for those that have a vector for it. `train.py --network bnneck` trains one as it
trains MDPR; a branch of MDPR alone is `--branches hard` or `--branches soft`.
"""

import copy

from torch import Tensor, nn

from config import MDPRConfig
from model import MDPR, Feature, Output
from reidblocks import BNNeckHead, EmbeddingHead, HardPartitionHead, split_stripes
from reidblocks.backbones import StagedBackbone


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
            output = head(stage(c4))
            vector = output.whole.embedding
            features[f"whole_of_{count}"] = Feature(vector, vector)
            for n, part in enumerate(output.parts, start=1):
                features[f"p{n}_of_{count}"] = Feature(part.embedding)
        return features


class Baseline(nn.Module):
    """The network that ``config.network`` names, on a copy of the backbone.

    Shape:
        (B, 3, H, W) → ``Output``
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
        self.sizes = self.head.sizes  # the width of every feature
        self.features = tuple(self.sizes)

    def forward(self, images: Tensor) -> Output:
        return Output(self.head(self.stage4(self.stem(images))), {}, {})

    def embed(self, images: Tensor) -> Tensor:
        """Return the vector to search with: every feature, side by side (B, D)."""
        output: Output = self(images)
        return output.embedding(self.features)


Network = MDPR | Baseline
