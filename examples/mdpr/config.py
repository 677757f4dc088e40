"""Everything a run can be told, in one frozen dataclass, and the paper's settings as presets."""

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from networks import NETWORKS, check_name
from reidblocks.data import READERS

if TYPE_CHECKING:
    DatasetName = str
else:  # as a type checker cannot read it
    DatasetName = Literal[*READERS, "synthetic"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


def setting(
    default: Any,
    told: str,
    *,
    group: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    network: bool = False,
    movable: bool = False,
    part: Literal["", "mdpr", "hard", "soft", "both"] = "",
) -> Any:
    """Describe a field: what ``--help`` says of it, the heading before it, the numbers it may be.

    Args:
        network: it decides which layers there are: a checkpoint fits a network of the same alone.
        movable: it may differ where a run is resumed, as it does not change what is computed.
        part: what it is a setting of: MDPR, one of its branches, or what takes both.
    """
    words = {"told": told, "group": group, "network": network, "movable": movable, "part": part}
    limits = {"least": least, "above": above, "most": most}
    return dataclasses.field(default=default, metadata=words | limits)


@dataclass(frozen=True)
class MDPRConfig:
    """One run of MDPR; the defaults are the paper's for Market-1501.

    ``circle`` alone is the released code's: over pairs MDPR lost 5 points of mAP, at 16×4.
    """

    # fmt: off
    dataset: DatasetName = setting(
        "market1501", "layout of the data; csv: a table of your own; synthetic: drawn here",
        group="the images")
    data_root: str = setting(
        "", "folder of the dataset, or the CSV file; synthetic: where to draw", movable=True)
    height: int = setting(384, "height of the images, in pixels", least=1)
    width: int = setting(192, "width of the images, in pixels", least=1)
    flip: float = setting(0.5, "share of images to mirror, 0 to 1", least=0, most=1)
    erase: float = setting(0.5, "share of images to erase a part of, 0 to 1", least=0, most=1)
    patch: float = setting(0.5, "share of images to paste a patch on, 0 to 1", least=0, most=1)
    identities: int = setting(16, "P, identities in a batch, over all processes", least=1)
    images: int = setting(16, "K, images of each identity in a batch", least=2)
    workers: int = setting(4, "processes that load, for each that trains", least=0, movable=True)
    cache: bool = setting(False, "decode all images once and keep them in memory", movable=True)

    network: Literal["mdpr", "bnneck", "pcb", "mgn"] = setting(
        "mdpr", "MDPR, or a baseline to hold it against", network=True,
        group="the network (sections III-A to III-C)")
    backbone: str = setting(
        "resnet101_ibn", f"its layers: {', '.join(NETWORKS)}, torchvision:NAME or timm:NAME",
        network=True)
    weights: str = setting("", "the backbone's: pretrained (downloaded), or a file; empty: random")
    embed_dim: int = setting(512, "M, numbers in each feature, fused: 4 M", least=1, network=True)
    num_maps: int = setting(2, "K, attention maps of a stage", least=1, network=True, part="soft")
    num_parts: int = setting(2, "N, stripes of the hard branch", least=1, network=True, part="hard")
    branches: Literal["both", "hard", "soft"] = setting(
        "both", "which of MDPR's to build", network=True, part="mdpr")
    guidance: bool = setting(
        True, "the maps A5 of stage 5 guide the maps A4 of stage 4", network=True, part="soft")
    refine4: Literal["conv", "block"] = setting(
        "conv", "C4 → Ĉ4: a 1×1 convolution, or BN and ReLU too", network=True, part="soft")
    attention4: Literal["refined", "raw"] = setting(
        "refined", "A4 from Ĉ4 and A5; or C4 and A5 before its softmax", network=True, part="soft")
    background_bias: float | None = setting(None, "maps begin where features respond", part="soft")
    shared_pool: bool = setting(False, "one GeM exponent for all maps", network=True, part="soft")
    ceil_pool: bool = setting(False, "ResNets: the first pooling as in fast-reid", network=True)
    fusion: bool = setting(True, "fuse the branches' maps: a feature", network=True, part="both")
    distillation: bool = setting(True, "the branches teach each other", part="both")
    separate_networks: bool = setting(False, "no stage is shared", network=True, part="both")
    features: tuple[str, ...] = setting(
        ("hard", "soft", "fusion"), "features or groups of them that make up the embedding",
        part="mdpr")

    circle: Literal["pair", "class"] = setting(
        "class", "over classes, as released; or over pairs, Eq. 5 as printed",
        group="the objective (section III-D)")
    circle_margin: float = setting(0.35, "m of Eq. 5, a cosine")
    circle_gamma: float = setting(64.0, "γ, scale of Eq. 5", above=0)
    label_smoothing: float = setting(0.1, "of the circle loss over classes", least=0, most=1)
    triplet_margin: float | None = setting(0.05, "of Eq. 6, a distance; none: softplus")
    beta: float = setting(0.001, "of Eq. 7, the weight of what is sparse", least=0, part="soft")
    diversity: Literal["parts", "maps"] = setting(
        "parts", "Eq. 7 over ordered pairs, sparse parts; released: each pair once, sparse maps",
        part="soft")

    epochs: int = setting(
        60, "each draws about as many images as there are to train on", least=1,
        group="the training (section IV-B)")
    warmup_steps: int = setting(2000, "steps in which the learning rate rises to --lr", least=0)
    lr: float = setting(3.5e-4, "learning rate of Adam after the warm-up, of the heads", above=0)
    first_lr: float = setting(3.5e-5, "learning rate of the first step", above=0)
    last_lr: float = setting(1e-7, "learning rate of the last step: a cosine leads there", least=0)
    backbone_lr_factor: float = setting(1.0, "backbone's learning rate over the heads'", least=0)
    weight_decay: float = setting(5e-4, "L2 penalty on every parameter, by its gradient", least=0)
    precision: Precision = setting("auto", "of autocast; auto: half on CUDA, float32 elsewhere")
    checkpoint_branches: bool = setting(
        False, "recompute activations of stem and branches: less memory", part="mdpr")
    eval_every: int = setting(10, "epochs between tests; the last is always tested", least=1)
    seed: int = setting(0, "of the weights, the batches and the augmentation")

    sync_bn: bool = setting(
        False, "batch normalization over all processes' images", group="how it is run")
    compile: bool = setting(False, "compile model and criterion; on a GPU with CUDA graphs")
    clip_grad: float | None = setting(None, "norm that the gradient is scaled down to", above=0)
    scaler: Literal["auto", "on", "off"] = setting("auto", "of the loss; auto: in float16 only")
    ema: float | None = setting(None, "decay a step of an average of the weights, which is tested")
    checkpoint_every: int = setting(0, "steps; 0: each epoch alone", least=0, movable=True)
    keep_checkpoints: int = setting(2, "the newest, and the best", least=1, movable=True)
    pictures: bool = setting(True, "draw curves, ranked lists, attention, a report", movable=True)
    log_every: int = setting(50, "steps between lines of steps.jsonl", least=0, movable=True)
    gradient_shares: int = setting(0, "steps between measurements; 0: none", least=0, movable=True)
    # fmt: on

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))  # of a flag or JSON: a list
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                check_limits(field, getattr(self, field.name))
        check_name(self.backbone)
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and below 1, or none, got {self.ema}")
        if self.compile and self.gradient_shares:
            raise ValueError(
                "gradient_shares takes the gradient of each term by itself, which a compiled step "
                "cannot: leave out one of --compile and --gradient-shares"
            )
        if self.ceil_pool and not self.backbone.startswith("resnet"):
            raise ValueError(f"ceil_pool is an option of the ResNets, not of {self.backbone}")
        self.feature_names()

    def with_network_of(self, other: "MDPRConfig") -> "MDPRConfig":
        """Take over the network of ``other``, to train it on: the rest stays as it is here."""
        network = {name: getattr(other, name) for name in settings("network")}
        return dataclasses.replace(self, weights="", **network)

    def with_features(self, words: Sequence[str]) -> "MDPRConfig":
        """Have the embedding hold these features or groups, all of which must be there."""
        if self.network != "mdpr":
            raise ValueError(
                f"the embedding of the baseline {self.network} always holds all of its features: "
                "leave out --features"
            )
        for word in words:
            self.feature_names([word])
        return dataclasses.replace(self, features=tuple(words))

    def trained_features(self) -> tuple[str, ...]:
        """Name every feature that MDPR has, in the order of the paper's Table I.

        A baseline names its own, and they are not chosen from.
        """
        if self.network != "mdpr":
            return ()
        hard = ("hard_g5", *(f"hard_p{part + 1}" for part in range(self.num_parts)))
        soft, fused = ("soft_g5", "soft_g4"), ("fusion",) * self.fusion
        return {"hard": hard, "soft": soft, "both": hard + soft + fused}[self.branches]

    def feature_sizes(self) -> dict[str, int]:
        """Count the dimensions of every feature that is trained, those of BAP last."""
        dim = self.embed_dim
        sizes = {name: 4 * dim if name == "fusion" else dim for name in self.trained_features()}
        bap = ("soft_bap5", "soft_bap4") if "soft_g5" in sizes else ()
        return sizes | dict.fromkeys(bap, self.num_maps * dim)

    def feature_names(self, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
        """Spell out ``wanted`` (or ``features``): "hard" stands for hard_g5, hard_p1 and so on.

        A group that this network has not ("fusion" where it is off) counts for nothing; a single
        feature that it has not is an error.
        """
        trained, words = self.trained_features(), self.features if wanted is None else wanted
        if not trained:
            return ()
        names: dict[str, None] = {}
        for word in words:
            group = [name for name in trained if word in (name, name.split("_")[0])]
            if not group and word not in ("hard", "soft", "fusion"):
                raise ValueError(
                    f"unknown feature {word!r}; this network has {', '.join(trained)}, "
                    "and the groups hard, soft and fusion"
                )
            names |= dict.fromkeys(group)
        if not names:
            raise ValueError(
                f"none of the features {tuple(words)} is in this network, which has "
                f"{', '.join(trained)}"
            )
        return tuple(names)


def settings(kind: Literal["network", "movable"]) -> tuple[str, ...]:
    """Name the fields of a kind; see ``setting``."""
    return tuple(field.name for field in dataclasses.fields(MDPRConfig) if field.metadata[kind])


def choices(name: str) -> tuple[str, ...]:
    """Name what a field may be."""
    return typing.get_args(typing.get_type_hints(MDPRConfig)[name])


def check_limits(field: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a word or a number that its field may not be."""
    known = choices(field.name)
    if known and isinstance(known[0], str) and value not in known:
        raise ValueError(f"{field.name} must be one of {', '.join(known)}, got {value}")
    least, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    limits = {
        f"from {least} to {most}": most is None or least <= value <= most,
        f"above {above}": above is None or value > above,
        f"at least {least}": least is None or value >= least,
    }
    if wanted := [words for words, kept in limits.items() if not kept]:
        none = ", or none" if field.default is None else ""
        why = ": pairs of one identity" if field.name == "images" else ""
        raise ValueError(f"{field.name} must be {wanted[0]}{none}, got {value}{why}")


def other_fields(asked: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Name the fields of a run that are not as asked, and may not be changed on resuming it.

    Precision "auto" was settled when the run began: asked for again, it is what the run has.
    """
    movable = settings("movable")
    return [
        name
        for name, value in asked.items()
        if name not in movable and value != own[name] and (name, value) != ("precision", "auto")
    ]


def unlike(names: Sequence[str], own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Say what these fields are, and what they would have to be."""
    return ", ".join(f"{name} {own[name]} and not {other[name]}" for name in names)


# fmt: off
PRESETS = {
    "market1501": MDPRConfig(),
    "dukemtmc": MDPRConfig(dataset="dukemtmc"),
    "synergyreid": MDPRConfig(dataset="synergyreid", epochs=40, warmup_steps=200),
    "synthetic": MDPRConfig(
        dataset="synthetic", height=128, width=64, erase=0.3, patch=0.1, identities=8, images=4,
        workers=1, backbone="small_resnet", embed_dim=64, refine4="block", background_bias=2.0,
        triplet_margin=None, epochs=8, warmup_steps=60, lr=1.5e-3, first_lr=1.5e-4, eval_every=3,
    ),
}
# fmt: on


def from_dict(values: Mapping[str, Any]) -> MDPRConfig:
    """Read a configuration back from what ``dataclasses.asdict`` or JSON made of it."""
    expect_fields(values)
    return MDPRConfig(**values)


def expect_fields(names: Iterable[str]) -> None:
    """Refuse what is no field of the configuration."""
    known = [field.name for field in dataclasses.fields(MDPRConfig)]
    if unknown := sorted(set(names) - set(known)):
        near = "".join(difflib.get_close_matches(unknown[0], known, 1))
        hint = f"; is {near} meant?" if near else ""
        raise ValueError(f"unknown fields in the configuration: {', '.join(unknown)}{hint}")


def read_json(path: Path) -> Any:
    """Read JSON in UTF-8 or UTF-16, with the mark at its beginning that Windows' editors write."""
    content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"cannot read {path}, which should hold JSON: {error}") from error
