"""Everything a run can be told, in one frozen dataclass, and the paper's settings as presets."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from networks import NETWORKS, check_name


@dataclass(frozen=True)
class MDPRConfig:
    """One run of MDPR; the defaults are the paper's for Market-1501."""

    # The images
    dataset: Literal["market1501", "dukemtmc", "synergyreid", "csv", "synthetic"] = "market1501"
    data_root: str = ""  # folder of the dataset, or the CSV file; "" where the data is drawn
    height: int = 384
    width: int = 192
    flip: float = 0.5  # probabilities
    erase: float = 0.5
    patch: float = 0.5
    identities: int = 16  # P and K of a batch, over all processes
    images: int = 16
    workers: int = 4  # processes that load images, for each process that trains
    cache: bool = False  # decode all images once, and keep them in memory

    # The network (section III-A to III-C); the others are baselines.py's
    network: Literal["mdpr", "bnneck", "pcb", "mgn"] = "mdpr"
    backbone: str = dataclasses.field(
        default="resnet101_ibn",
        metadata={"help": f"{', '.join(NETWORKS)}, torchvision:NAME or timm:NAME"},
    )
    weights: str = ""  # file of pretrained weights for the backbone; "" starts at random
    embed_dim: int = 512  # M
    num_maps: int = 2  # K
    num_parts: int = 2  # N
    branches: Literal["both", "hard", "soft"] = "both"
    guidance: bool = True  # A5 guides A4
    refine4: Literal["conv", "block"] = "conv"  # C4 → Ĉ4: a 1×1 convolution, or BN and ReLU too
    # A4 is drawn from Ĉ4 and A5; or, raw, from C4 itself and what A5 was before its softmax,
    # background and all, through a 1×1 convolution and ReLU.
    attention4: Literal["refined", "raw"] = "refined"
    shared_pool: bool = False  # one GeM exponent for all maps of a stage instead of one each
    ceil_pool: bool = False  # ResNets: the first pooling as in fast-reid, for weights trained so
    fusion: bool = True
    distillation: bool = True
    separate_networks: bool = False  # no stage is shared by the two branches
    features: tuple[str, ...] = ("hard", "soft", "fusion")  # what makes up the embedding

    # The objective (section III-D)
    circle: Literal["pair", "class"] = "pair"
    circle_margin: float = 0.35
    circle_gamma: float = 64.0
    label_smoothing: float = 0.1  # of the class-level form
    triplet_margin: float | None = 0.05  # none: softplus
    beta: float = 0.001  # of the attention diversity

    # The training (section IV-B)
    epochs: int = 60
    warmup_steps: int = 2000
    lr: float = 3.5e-4
    first_lr: float = 3.5e-5
    last_lr: float = 1e-7
    backbone_lr_factor: float = 1.0  # the backbone's learning rate as a share of the heads'
    weight_decay: float = 5e-4
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    checkpoint_branches: bool = False  # compute them again on the way back: less memory, more time
    eval_every: int = 10  # epochs
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("height", "width", "identities", "embed_dim", "num_maps", "num_parts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("flip", "erase", "patch", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("lr", "first_lr", "circle_gamma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in (
            "workers",
            "warmup_steps",
            "weight_decay",
            "beta",
            "last_lr",
            "backbone_lr_factor",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        check_name(self.backbone)
        rows = -(-self.height // 16)  # of the last map, with last stride 1
        if rows % self.num_parts and self.backbone in NETWORKS:  # others are measured when built
            raise ValueError(
                f"num_parts must divide the {rows} rows of the last map of an image of height "
                f"{self.height}, got {self.num_parts}"
            )
        if self.images < 2:
            raise ValueError(f"images must be at least 2, got {self.images}: pairs of one identity")
        if self.epochs < 1 or self.eval_every < 1:
            raise ValueError("epochs and eval_every must be at least 1")
        if self.ceil_pool and not self.backbone.startswith("resnet"):
            raise ValueError(f"ceil_pool is an option of the ResNets, not of {self.backbone}")
        self.feature_names()

    def with_network_of(self, other: "MDPRConfig") -> "MDPRConfig":
        """Take over the network of ``other``, to train it on: the rest stays as it is here."""
        network = {name: getattr(other, name) for name in NETWORK}
        return dataclasses.replace(self, weights="", **network)

    def trained_features(self) -> tuple[str, ...]:
        """Name every feature that MDPR has, in the order of the paper's Table I.

        A baseline names its own, and they are not chosen from.
        """
        if self.network != "mdpr":
            return ()
        hard = ("hard_g5", *(f"hard_p{part + 1}" for part in range(self.num_parts)))
        soft = ("soft_g5", "soft_g4")
        if self.branches == "hard":
            return hard
        if self.branches == "soft":
            return soft
        return hard + soft + (("fusion",) if self.fusion else ())

    def feature_size(self, name: str) -> int:
        """Count the numbers of one feature."""
        return 4 * self.embed_dim if name == "fusion" else self.embed_dim

    def feature_names(self, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
        """Spell out ``wanted`` (or ``features``): "hard" stands for hard_g5, hard_p1 and so on.

        A group that this network has not ("fusion" where it is off) counts for nothing; a single
        feature that it has not is an error.
        """
        if self.network != "mdpr":
            return ()
        trained = self.trained_features()
        names: list[str] = []
        for word in self.features if wanted is None else wanted:
            group = [name for name in trained if name.split("_")[0] == word]
            if not group and word not in (*trained, "hard", "soft", "fusion"):
                raise ValueError(
                    f"unknown feature {word!r}; this network has {', '.join(trained)}, "
                    "and the groups hard, soft and fusion"
                )
            names += group or [word] * (word in trained)
        if not names:
            raise ValueError(
                f"none of the features {self.features if wanted is None else tuple(wanted)} is in "
                f"this network, which has {', '.join(trained)}"
            )
        return tuple(dict.fromkeys(names))


# The fields that decide which layers there are: a checkpoint fits only a network of the same.
NETWORK = (
    "network", "backbone", "embed_dim", "num_maps", "num_parts", "branches", "guidance", "refine4",
    "attention4", "shared_pool", "ceil_pool", "fusion", "separate_networks",
)  # fmt: skip

PRESETS = {
    "market1501": MDPRConfig(),
    "dukemtmc": MDPRConfig(dataset="dukemtmc"),
    "synergyreid": MDPRConfig(dataset="synergyreid", epochs=40, warmup_steps=200),
    # The default: people drawn by the program, a network that two CPU cores train in minutes.
    "synthetic": MDPRConfig(
        dataset="synthetic",
        height=128,
        width=64,
        erase=0.3,
        patch=0.1,
        identities=8,
        images=4,
        workers=1,
        backbone="small_resnet",
        embed_dim=64,
        circle="class",
        triplet_margin=None,
        epochs=9,
        warmup_steps=60,
        lr=1.5e-3,
        first_lr=1.5e-4,
        eval_every=3,
    ),
}


def parse(arguments: Sequence[str], **extra: dict[str, Any]) -> tuple[MDPRConfig, dict[str, Any]]:
    """Read a preset and the fields that flags change; ``extra`` are options of the caller's own.

    The second result holds the extra options, and under "changed" the fields that flags named.
    """
    parser = argparse.ArgumentParser(
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    preset = parser.add_argument("--preset", choices=sorted(PRESETS), help="to start from")
    preset.default = argparse.SUPPRESS
    for name, options in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    hints = typing.get_type_hints(MDPRConfig)
    fields = parser.add_argument_group("fields of the configuration (default: the preset's)")
    for field in dataclasses.fields(MDPRConfig):
        flag = f"--{field.name.replace('_', '-')}"
        reader = _reader(hints[field.name]) | dict(field.metadata)
        fields.add_argument(flag, default=argparse.SUPPRESS, **reader)
    changed = vars(parser.parse_args(arguments))
    options = {name: changed.pop(name) for name in extra}
    options["changed"] = dict(changed)
    try:
        return dataclasses.replace(PRESETS[changed.pop("preset", "market1501")], **changed), options
    except ValueError as error:
        parser.error(str(error))


def from_dict(values: dict[str, Any]) -> MDPRConfig:
    """Read a configuration back from what ``dataclasses.asdict`` or JSON made of it."""
    known = {field.name for field in dataclasses.fields(MDPRConfig)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown fields in the configuration: {', '.join(unknown)}")
    return MDPRConfig(**{**values, "features": tuple(values["features"])})


def _reader(hint: Any) -> dict[str, Any]:
    """Say how a flag of this type is read."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return {"choices": typing.get_args(hint)}
    if origin is tuple:
        return {"nargs": "+", "action": _Tuple}
    if origin is types.UnionType:
        return {"type": _number_or_none, "metavar": "X|none"}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": hint, "metavar": hint.__name__.upper()}


class _Tuple(argparse.Action):
    """Keep several words as a tuple, as a frozen field wants them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _number_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)
