"""MDPR and its losses straight from the paper's text, as a first version writes them.

Separate convolutions, K attended copies of the features, everything computed in every pass, and
per-anchor loops in the losses. It takes over the weights of our model, so that both give the same
values; `python benchmarks/mdpr.py` says by how much they differ.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainGeM(nn.Module):
    def __init__(self, p: Tensor) -> None:
        super().__init__()
        self.p = nn.Parameter(p.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class PlainHead(nn.Module):
    """Embedding block, GeM, BN."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*copy.deepcopy([head.projection.conv, head.projection.bn]))
        self.pool, self.bn = PlainGeM(head.pool.p), copy.deepcopy(head.neck.bn)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.block(x).relu()
        return maps, self.bn(self.pool(maps))


class PlainAttention(nn.Module):
    """Eq. 2."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv3, self.bn = copy.deepcopy(
            (generator.conv1x1, generator.conv3x3, generator.bn)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv1(x) + self.conv3(x)).relu().softmax(1)[:, :-1]


class PlainBAP(nn.Module):
    """Eq. 3 and 4, an embedding block for each attended copy of the features."""

    def __init__(self, bap: nn.Module) -> None:
        super().__init__()
        self.blocks, self.pools = nn.ModuleList(), nn.ModuleList()
        size = bap.conv.out_channels // bap.num_maps
        for k in range(bap.num_maps):
            rows = slice(k * size, (k + 1) * size)
            conv, bn = nn.Conv2d(bap.conv.in_channels, size, 1, bias=False), nn.BatchNorm2d(size)
            with torch.no_grad():
                conv.weight.copy_(bap.conv.weight[rows])
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(bn, name).copy_(getattr(bap.bn, name)[rows])
            self.blocks.append(nn.Sequential(conv, bn, nn.ReLU()))
            self.pools.append(PlainGeM(bap.pool.p[min(k, len(bap.pool.p) - 1)]))
        self.bn = copy.deepcopy(bap.neck.bn)

    def forward(self, x: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            pool(block(maps[:, k : k + 1] * x))
            for k, (block, pool) in enumerate(zip(self.blocks, self.pools, strict=True))
        ]
        return torch.stack(parts, 1), self.bn(torch.cat(parts, 1))


class PlainFusion(nn.Module):
    """Fig. 6."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv3, self.bn = copy.deepcopy((fusion.conv1x1, fusion.conv3x3, fusion.bn))

    def forward(self, *maps: Tensor) -> Tensor:
        return self.bn(self.conv3(self.conv1(torch.cat(maps, 1)))).relu()


class PlainMDPR(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        hard, soft, fusion = model.hard, model.soft, model.fusion
        self.stem = copy.deepcopy(model.stem)
        self.hard = copy.deepcopy(nn.Sequential(hard.stage4, hard.stage5))
        self.soft4, self.soft5, self.refine = copy.deepcopy(
            (soft.stage4, soft.stage5, soft.refine4)
        )
        self.whole = PlainHead(hard.head.whole)
        self.parts = nn.ModuleList(PlainHead(part) for part in hard.head.parts)
        self.phi5 = PlainAttention(soft.attention5)
        self.phi4 = PlainAttention(soft.attention4.generator)
        self.bap5, self.bap4 = PlainBAP(soft.bap5), PlainBAP(soft.bap4)
        self.head5, self.head4 = PlainHead(soft.head5), PlainHead(soft.head4)
        names = ("stripes", "hard", "soft", "both")
        self.fusions = nn.ModuleDict({f"of_{n}": PlainFusion(getattr(fusion, n)) for n in names})
        self.pool, self.bn = PlainGeM(fusion.pool.p), copy.deepcopy(fusion.neck.bn)

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Give the features of Table I, with those of BAP, and the parts before their BN."""
        f: dict[str, Tensor] = {}
        shared = self.stem(images)
        c5 = self.hard(shared)
        maps_g5, f["hard_g5"] = self.whole(c5)
        stripes = []
        for n, (part, stripe) in enumerate(
            zip(self.parts, c5.chunk(len(self.parts), 2), strict=True), start=1
        ):
            maps, f[f"hard_p{n}"] = part(stripe)
            stripes.append(maps)
        c4 = self.soft4(shared)
        c5 = self.soft5(c4)
        c4_hat = self.refine(c4)
        a5 = self.phi5(c5)
        a4 = self.phi4(torch.cat((c4_hat, a5), 1))
        soft5, f["soft_g5"] = self.head5(c5)
        soft4, f["soft_g4"] = self.head4(c4_hat)
        fuse = self.fusions
        hard = fuse["of_hard"](maps_g5, fuse["of_stripes"](torch.cat(stripes, 2)))
        fused = fuse["of_both"](hard, fuse["of_soft"](soft4, soft5))
        f["fusion"] = self.bn(self.pool(fused))
        parts5, f["soft_bap5"] = self.bap5(c5, a5)
        parts4, f["soft_bap4"] = self.bap4(c4_hat, a4)
        return f, [parts5, parts4]

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat([x for name, x in self(images)[0].items() if "bap" not in name], 1)


def plain_losses(
    features: dict[str, Tensor], parts: list[Tensor], labels: Tensor, distiller: nn.Module
) -> Tensor:
    """Eq. 5 to 9, anchor by anchor."""
    features = {name: x.float() for name, x in features.items()}
    total = torch.zeros(())
    for name, f in features.items():
        unit = F.normalize(f)
        circle, triplet = [], []
        for i in range(len(labels)):
            same = labels == labels[i]
            others = same.clone()
            others[i] = False
            s = unit @ unit[i]
            p, n = s[others], s[~same]
            a_p, a_n = (1.35 - p.detach()).relu(), (n.detach() + 0.35).relu()
            negatives = torch.logsumexp(64 * a_n * (n - 0.35), 0)
            positives = torch.logsumexp(-64 * a_p * (p - 0.65), 0)
            circle.append(F.softplus(negatives + positives))
            d = (f - f[i] + 1e-12).norm(dim=1)
            triplet.append((0.05 + d[others].max() - d[~same].min()).relu())
        total = total + torch.stack(circle).mean()
        if "bap" not in name:
            total = total + torch.stack(triplet).mean()
    for vectors in parts:
        num_maps = vectors.shape[1]
        for i in range(num_maps):
            for j in range(num_maps):
                if i != j:
                    cosines = F.cosine_similarity(vectors[:, i].float(), vectors[:, j].float())
                    total = total + cosines.mean()
        total = total + 0.001 * vectors.float().abs().sum((1, 2)).mean()
    hard, soft = features["hard_g5"], features["soft_g5"]
    for predictor, (x, y) in zip(distiller.predictors, ((hard, soft), (soft, hard)), strict=True):
        total = total - F.cosine_similarity(predictor(x), y.detach()).mean() / 2
    return total
