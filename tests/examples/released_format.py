"""The format of the authors' checkpoints: names, seeded weights, and what they compute.

The forward pass is written from the layers' names with plain functions, apart from our modules.
"""

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def released_shapes(
    depth: int, *, ibn: bool, dim: int, maps: int, parts: int, classes: int, guided: bool = True
) -> Shapes:
    """Every name in the state_dict of a released MDPR, and its shape."""
    shapes: Shapes = {}
    wide = 1 if depth < 50 else 4
    c4, c5 = 256 * wide, 512 * wide

    def conv(name: str, outputs: int, inputs: int, size: int = 1) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)

    def bn(name: str, size: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def stage(name: str, number: int) -> None:
        inner, outer = 64 * 2**number, 64 * 2**number * wide
        for block in range(BLOCKS[depth][number]):
            here = f"{name}.{block}"
            before = outer if block else (outer // 2 if number else 64)
            for n, size in enumerate((1, 3, 1) if wide == 4 else (3, 3), 1):
                inputs = before if n == 1 else inner
                conv(f"{here}.conv{n}", inner if n < 3 else outer, inputs, size)
                if n == 1 and ibn and number < 3:
                    shapes[f"{here}.bn1.IN.weight"] = shapes[f"{here}.bn1.IN.bias"] = (inner // 2,)
                    bn(f"{here}.bn1.BN", inner - inner // 2)
                else:
                    bn(f"{here}.bn{n}", inner if n < 3 else outer)
            if block == 0 and (number or wide == 4):
                conv(f"{here}.downsample.0", outer, before)
                bn(f"{here}.downsample.1", outer)

    def embedding(name: str, inputs: int, outputs: int = dim) -> None:
        conv(f"{name}.embedding", outputs, inputs)
        bn(f"{name}.bn", outputs)

    def head(name: str, size: int = dim, pooled: bool = True) -> None:
        shapes[f"{name}.weight"] = (classes, size)
        bn(f"{name}.bottleneck.0", size)
        if pooled:
            shapes[f"{name}.pool_layer.p"] = (1,)

    conv("generate.backbone.0", 64, 3, 7)
    bn("generate.backbone.1", 64)
    stage("generate.backbone.4", 0)
    stage("generate.backbone.5", 1)
    for branch in ("part", "attn"):
        stage(f"generate.backbone_{branch}.0", 2)
        stage(f"generate.backbone_{branch}.1", 3)
    embedding("generate.embedding_hard_global", c5)
    embedding("generate.embedding_attn_feature4", c5)
    embedding("generate.embedding_attn_feature3", c4)
    embedding("generate.em3_1024", c4, c4)
    for part in range(parts):
        embedding(f"generate.embedding_hard_part.{part}", c5)
        head(f"hard_part_head.{part}")
    if guided:
        conv("generate.up_attn_4_3.conv", maps + 1, maps + 1)
    for number, inputs in ((4, c5), (3, c4 + guided * (maps + 1))):
        conv(f"generate.attention_maker{number}.conv", maps + 1, inputs)
        conv(f"generate.attention_maker{number}.conv3", maps + 1, inputs, 3)
        bn(f"generate.attention_maker{number}.bn", maps + 1)
    for number, inputs in ((4, c5), (3, c4)):
        shapes[f"generate.attn_bap{number}.pool.p"] = (1,)
        for k in range(maps):
            embedding(f"generate.attn_bap{number}.embedding_layer.{k}", inputs)
        head(f"attn_bap_feature{number}_head", maps * dim, pooled=False)
    for name in ("hard_global", "attn_feature4", "attn_feature3"):
        head(f"{name}_head")
    head("fusion_feat_head", 4 * dim)
    fusions = {"merge": dim, "output_part": 2 * dim, "output_attn": 2 * dim, "output": 4 * dim}
    for name, size in fusions.items():
        conv(f"fusion.{name}.0", size, size)
        conv(f"fusion.{name}.1", size, size, 3)
        bn(f"fusion.{name}.2", size)
    for number in (1, 2):
        shapes[f"predictor{number}.0.weight"] = shapes[f"predictor{number}.3.weight"] = (dim, dim)
        bn(f"predictor{number}.1", dim)
        shapes[f"predictor{number}.3.bias"] = (dim,)
    return shapes


def seeded_weights(shapes: Shapes, seed: int = 0) -> Weights:
    """Weights that depend on nothing but their name, their shape and the seed; float32."""
    return {name: _seeded(name, tuple(shape), seed) for name, shape in shapes.items()}


def _seeded(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    normal = random.standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        value = 0.5 + random.random_sample(shape)
    elif name.endswith("running_mean"):
        value = 0.1 * normal
    elif name.endswith(".p"):
        value = 2.5 + random.random_sample(shape)
    elif name.endswith("bn3.weight"):
        value = 0.1 * (0.5 + random.random_sample(shape))
    elif len(shape) == 1:
        value = 0.5 + random.random_sample(shape) if name.endswith("weight") else 0.2 * normal
    else:
        value = normal * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


def released_forward(weights: Weights, images: Tensor) -> dict[str, Tensor]:
    """Compute the features, attention maps and pooled BAP vectors in float64, in eval mode."""
    w = {name: tensor.double() for name, tensor in weights.items()}

    def bn(x: Tensor, name: str) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(w[f"{name}.{leaf}"] for leaf in leaves))

    def norm1(x: Tensor, name: str) -> Tensor:
        if f"{name}.IN.weight" not in w:
            return bn(x, name)
        half = len(w[f"{name}.IN.weight"])
        var, mean = torch.var_mean(x[:, :half], (2, 3), correction=0, keepdim=True)
        scaled = (x[:, :half] - mean) / (var + 1e-5).sqrt() * w[f"{name}.IN.weight"].view(-1, 1, 1)
        first = scaled + w[f"{name}.IN.bias"].view(-1, 1, 1)
        return torch.cat((first, bn(x[:, half:], f"{name}.BN")), 1)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = w[f"{name}.weight"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)

    def stage(x: Tensor, name: str, stride: int) -> Tensor:
        block = 0
        while f"{name}.{block}.conv1.weight" in w:
            here, first = f"{name}.{block}", stride if block == 0 else 1
            bottleneck = f"{here}.conv3.weight" in w
            y = conv(x, f"{here}.conv1", 1 if bottleneck else first)
            y = conv(norm1(y, f"{here}.bn1").relu(), f"{here}.conv2", first if bottleneck else 1)
            y = bn(y, f"{here}.bn2")
            if bottleneck:
                y = bn(conv(y.relu(), f"{here}.conv3"), f"{here}.bn3")
            if f"{here}.downsample.0.weight" in w:
                x = bn(conv(x, f"{here}.downsample.0", first), f"{here}.downsample.1")
            x, block = (x + y).relu(), block + 1
        return x

    def embed(x: Tensor, name: str) -> Tensor:
        return bn(conv(x, f"generate.{name}.embedding"), f"generate.{name}.bn").relu()

    def gem(x: Tensor, name: str) -> Tensor:
        p = w[f"{name}.p"]
        return x.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)

    def head(x: Tensor, name: str) -> Tensor:
        return bn(gem(x, f"{name}.pool_layer"), f"{name}.bottleneck.0")

    def draw(x: Tensor, number: int) -> Tensor:
        name = f"generate.attention_maker{number}"
        return bn(conv(x, f"{name}.conv") + conv(x, f"{name}.conv3"), f"{name}.bn").relu()

    def bap(x: Tensor, maps: Tensor, number: int) -> Tensor:
        name, vectors = f"attn_bap{number}", []
        for k in range(maps.shape[1]):
            attended = embed(x * maps[:, k : k + 1], f"{name}.embedding_layer.{k}")
            vectors.append(gem(attended, f"generate.{name}.pool"))
        return torch.stack(vectors, 1)

    def fuse(name: str, *maps: Tensor) -> Tensor:
        x = conv(conv(torch.cat(maps, 1), f"fusion.{name}.0"), f"fusion.{name}.1")
        return bn(x, f"fusion.{name}.2").relu()

    x = bn(conv(images.double(), "generate.backbone.0", 2), "generate.backbone.1").relu()
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = stage(stage(x, "generate.backbone.4", 1), "generate.backbone.5", 2)
    hard = stage(stage(x, "generate.backbone_part.0", 2), "generate.backbone_part.1", 1)
    c4 = stage(x, "generate.backbone_attn.0", 2)
    c5 = stage(c4, "generate.backbone_attn.1", 1)
    whole = embed(hard, "embedding_hard_global")
    num_parts = sum(name.startswith("hard_part_head.") and name.endswith(".p") for name in w)
    parts = [
        embed(stripe, f"embedding_hard_part.{n}")
        for n, stripe in enumerate(hard.chunk(num_parts, 2))
    ]
    raw5, seen4 = draw(c5, 4), c4
    if "generate.up_attn_4_3.conv.weight" in w:
        seen4 = torch.cat((c4, conv(raw5, "generate.up_attn_4_3.conv").relu()), 1)
    maps5, maps4 = raw5.softmax(1)[:, :-1], draw(seen4, 3).softmax(1)[:, :-1]
    refined4 = embed(c4, "em3_1024")
    g5, g4 = embed(c5, "embedding_attn_feature4"), embed(refined4, "embedding_attn_feature3")
    both = fuse(
        "output",
        fuse("output_part", fuse("merge", torch.cat(parts, 2)), whole),
        fuse("output_attn", g5, g4),
    )
    features = [head(whole, "hard_global_head")]
    features += [head(part, f"hard_part_head.{n}") for n, part in enumerate(parts)]
    features += [head(g5, "attn_feature4_head"), head(g4, "attn_feature3_head")]
    features += [head(both, "fusion_feat_head")]
    return {
        "embedding": torch.cat(features, 1),
        "maps5": maps5,
        "maps4": maps4,
        "bap5_pooled": bap(c5, maps5, 4),
        "bap4_pooled": bap(refined4, maps4, 3),
    }
