"""Convert a checkpoint of the authors' code: python examples/mdpr/released.py RELEASED.pth OUT.pt

evaluate.py reads OUT.pt, and train.py starts from it. To train on with its class weights, name
with --dataset and --data-root the set it was trained on: the released code counts people in the
order of their numbers as text (10 before 9), and the weights are put into ours. Features do not
depend on it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from build import build_backbone, expect_finite, read_data
from commands import script_parser
from config import MDPRConfig, choices
from criterion import Criterion
from model import MDPR
from reidblocks.backbones import read_checkpoint
from reidblocks.training import run_script, save_checkpoint

# How many blocks res-conv4 has, and whether they are bottlenecks: the depth.
DEPTHS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101}
PROFILED = ("total_ops", "total_params")  # counters that the profiler thop leaves at every layer


class Released(NamedTuple):
    """A released checkpoint as a network and a criterion of ours, on the CPU, in float32."""

    config: MDPRConfig
    model: MDPR
    criterion: Criterion
    num_classes: int


def load_released(
    source: str | Path | Mapping[str, Any], classes: Sequence[int] | None = None
) -> Released:
    """Rebuild a released MDPR; depth, IBN, M, K, N, guidance and classes show in its shapes.

    Args:
        source: the file, or what was read from one: a state_dict, alone or under "model".
        classes: the identity behind each of the file's classes. With it the class weights are put
            into the order of the identities, which is the order of our labels; without it they
            stay as they are.

    Raises:
        ValueError: the file cannot be read, is no released MDPR, lacks layers of it or has
            others; ``classes`` are not as many as the file's.
    """
    where = "the mapping" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else read_checkpoint(source)
    weights = content.get("model", content)
    if not isinstance(weights, Mapping) or "generate.backbone.0.weight" not in weights:
        found = ", ".join(map(str, list(weights)[:3])) if isinstance(weights, Mapping) else weights
        raise ValueError(
            f"{where} is no checkpoint of the released MDPR: under 'model' or at its top it "
            f"should have generate.backbone.0.weight and so on, and has {found}"
        )
    weights = {
        name: weight
        for name, weight in weights.items()
        if isinstance(weight, Tensor) and not name.endswith(PROFILED)
    }
    expect_finite(weights, where)
    try:
        config, num_classes = _recognize(weights)
        model = MDPR(build_backbone(config), config)
        criterion = Criterion(config, model.sizes, num_classes)
        both = nn.ModuleDict({"model": model, "criterion": criterion})
        state = _convert(weights, both.state_dict(), _layers(config))
        if classes is not None:
            _sort_classes(state, classes, num_classes)
        both.load_state_dict(state)
    except KeyError as error:
        raise ValueError(f"{where} lacks {error.args[0]} of the released MDPR") from error
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{where} does not fit the released MDPR: {error}") from error
    return Released(config, model, criterion, num_classes)


def _recognize(weights: Mapping[str, Tensor]) -> tuple[MDPRConfig, int]:
    """Read the sizes off, and say in our words where the released code leaves the paper."""

    def count(prefix: str) -> int:  # the numbers that follow it
        return len(
            {name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)}
        )

    blocks, parts = count("generate.backbone_part.0."), count("hard_part_head.")
    bottleneck = "generate.backbone.4.0.conv3.weight" in weights
    if (blocks, bottleneck) not in DEPTHS:
        raise ValueError(f"no ResNet of depth 18, 34, 50 or 101 has {blocks} blocks in res-conv4")
    ibn = "_ibn" if "generate.backbone.4.0.bn1.IN.weight" in weights else ""
    config = MDPRConfig(
        backbone=f"resnet{DEPTHS[blocks, bottleneck]}{ibn}",
        embed_dim=len(weights["generate.embedding_hard_global.bn.weight"]),
        num_maps=len(weights["generate.attention_maker4.bn.weight"]) - 1,
        num_parts=parts,
        guidance="generate.up_attn_4_3.conv.weight" in weights,
        height=16 * parts * max(1, round(24 / parts)),  # 24 rows in the paper
        ceil_pool=True, refine4="block", attention4="raw", shared_pool=True, circle="class",
        diversity="maps",
    )  # fmt: skip
    return config, len(weights["hard_global_head.weight"])


def _layers(config: MDPRConfig) -> dict[str, tuple[str, ...]]:
    """Name, for each of our layers, the released one with its weights; for BAP, one a map.

    The released "4" is the paper's res-conv5, its "3" is res-conv4.
    """
    layers: dict[str, tuple[str, ...]] = {}

    def block(ours: str, *theirs: str) -> None:  # an embedding block
        layers[f"{ours}.conv"] = tuple(f"generate.{name}.embedding" for name in theirs)
        layers[f"{ours}.bn"] = tuple(f"generate.{name}.bn" for name in theirs)

    for ours, number in (("conv1", 0), ("bn1", 1), ("layer1", 4), ("layer2", 5)):
        layers[f"model.stem.{ours}"] = (f"generate.backbone.{number}",)
    for branch, theirs in (("hard", "part"), ("soft", "attn")):
        layers[f"model.{branch}.stage4.layer3"] = (f"generate.backbone_{theirs}.0",)
        layers[f"model.{branch}.stage5.layer4"] = (f"generate.backbone_{theirs}.1",)

    heads = {
        "hard_g5": ("hard.head.whole", "embedding_hard_global", "hard_global_head"),
        "soft_g5": ("soft.head5", "embedding_attn_feature4", "attn_feature4_head"),
        "soft_g4": ("soft.head4", "embedding_attn_feature3", "attn_feature3_head"),
    }
    for n in range(config.num_parts):
        names = f"hard.head.parts.{n}", f"embedding_hard_part.{n}", f"hard_part_head.{n}"
        heads[f"hard_p{n + 1}"] = names
    for feature, (ours, embedding, head) in heads.items():
        block(f"model.{ours}.projection", embedding)
        layers[f"model.{ours}.pool"] = (f"{head}.pool_layer",)
        layers[f"model.{ours}.neck.bn"] = (f"{head}.bottleneck.0",)
        layers[f"criterion.circles.{feature}.weight"] = (f"{head}.weight",)

    block("model.soft.refine4", "em3_1024")
    layers["model.soft.attention4.guide_transform.0"] = ("generate.up_attn_4_3.conv",)
    for ours, theirs in (("attention5", "maker4"), ("attention4.generator", "maker3")):
        for part, name in (("conv1x1", "conv"), ("conv3x3", "conv3"), ("bn", "bn")):
            layers[f"model.soft.{ours}.{part}"] = (f"generate.attention_{theirs}.{name}",)
    for ours, stage in (("bap5", 4), ("bap4", 3)):
        maps = [f"attn_bap{stage}.embedding_layer.{k}" for k in range(config.num_maps)]
        block(f"model.soft.{ours}", *maps)
        layers[f"model.soft.{ours}.pool"] = (f"generate.attn_bap{stage}.pool",)
        layers[f"model.soft.{ours}.neck.bn"] = (f"attn_bap_feature{stage}_head.bottleneck.0",)
        layers[f"criterion.circles.soft_{ours}.weight"] = (f"attn_bap_feature{stage}_head.weight",)

    fused = {"stripes": "merge", "hard": "output_part", "soft": "output_attn", "both": "output"}
    for ours, theirs in fused.items():
        for number, part in enumerate(("conv1x1", "conv3x3", "bn")):
            layers[f"model.fusion.{ours}.{part}"] = (f"fusion.{theirs}.{number}",)
    layers["model.fusion.pool"] = ("fusion_feat_head.pool_layer",)
    layers["model.fusion.neck.bn"] = ("fusion_feat_head.bottleneck.0",)
    layers["criterion.circles.fusion.weight"] = ("fusion_feat_head.weight",)
    for number in (0, 1):  # hard → soft, soft → hard
        layers[f"criterion.distiller.predictors.{number}"] = (f"predictor{number + 1}",)
    return layers


def _convert(
    weights: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
    layers: Mapping[str, tuple[str, ...]],
) -> dict[str, Tensor]:
    """Fill the names of our state_dict; every weight of the file must find its place."""
    state, left = {}, set(weights)
    for name, like in ours.items():
        layer = max((layer for layer in layers if f"{name}.".startswith(f"{layer}.")), key=len)
        theirs = [source + name.removeprefix(layer) for source in layers[layer]]
        if layer.startswith("criterion.distiller") and theirs[0].endswith(".0.bias"):
            state[name] = torch.zeros_like(like)  # theirs has none: the BN after it takes it away
            continue
        pieces = [weights[source] for source in theirs]
        left.difference_update(theirs)
        state[name] = torch.cat(pieces) if pieces[0].dim() else pieces[0]
    if left:
        more = f" and {len(left) - 4} more" if len(left) > 4 else ""
        raise ValueError(f"it should not have {', '.join(sorted(left)[:4])}{more}")
    for branch in ("hard", "soft"):  # whose two maps the released code joins the other way round
        kernel = state[f"model.fusion.{branch}.conv1x1.weight"]
        state[f"model.fusion.{branch}.conv1x1.weight"] = kernel.roll(kernel.shape[1] // 2, 1)
    return state


def _sort_classes(state: dict[str, Tensor], classes: Sequence[int], num_classes: int) -> None:
    """Put the rows of the class weights into the order of the identities."""
    if len(classes) != num_classes:
        raise ValueError(f"it has {num_classes} classes, the data set {len(classes)}")
    order = sorted(range(num_classes), key=classes.__getitem__)
    for name in [name for name in state if name.startswith("criterion.circles.")]:
        state[name] = state[name][order]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("released", type=Path, help="the authors' checkpoint")
    parser.add_argument("out", type=Path, help="where to write ours")
    datasets = choices("dataset")
    parser.add_argument("--dataset", choices=datasets, default="market1501")
    parser.add_argument("--data-root", help="sorts the class weights for that data set")
    options = parser.parse_args(arguments)

    place = {"dataset": options.dataset, "data_root": options.data_root or ""}
    classes = None
    if options.data_root:
        # SynergyReID's people are numbers to the released code, those of other sets are text.
        as_text = options.dataset != "synergyreid"
        classes = sorted(read_data(MDPRConfig(**place)).labels, key=str if as_text else int)
    released = load_released(options.released, classes)
    config = dataclasses.replace(released.config, **place)
    state: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "model": released.model.state_dict(),
    }
    state |= {"criterion": released.criterion.state_dict(), "epoch": 0}
    save_checkpoint(options.out, state)
    sizes = f"M = {config.embed_dim}, K = {config.num_maps}, N = {config.num_parts}"
    print(f"{options.out}: {config.backbone}, {sizes}, {released.num_classes} classes")


if __name__ == "__main__":
    run_script(main)
