"""Everything a run can be told, in one frozen dataclass, and the paper's settings as presets."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from networks import NETWORKS, check_name
from reidblocks.data import READERS

if TYPE_CHECKING:
    DatasetName = str
else:  # as a type checker cannot read it
    DatasetName = Literal[*READERS, "synthetic"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class MDPRConfig:
    """One run of MDPR; the defaults are the paper's for Market-1501.

    What stands beside a field's type is what ``--help`` says of it.
    """

    # The images
    dataset: Annotated[
        DatasetName,
        "how the data is laid out; csv: a table of your own; synthetic: people drawn here",
    ] = "market1501"
    data_root: Annotated[
        str, "folder of the dataset, or the CSV file; synthetic: folder to draw in, may be empty"
    ] = ""
    height: Annotated[int, "height of the images, in pixels"] = 384
    width: Annotated[int, "width of the images, in pixels"] = 192
    flip: Annotated[float, "share of the images to mirror, 0 to 1"] = 0.5
    erase: Annotated[float, "share of the images to erase a rectangle of, 0 to 1"] = 0.5
    patch: Annotated[float, "share of the images to paste a piece of another on, 0 to 1"] = 0.5
    identities: Annotated[int, "P, identities in a batch, over all processes"] = 16
    images: Annotated[int, "K, images of each identity in a batch"] = 16
    workers: Annotated[int, "processes that load images, for each one that trains"] = 4
    cache: Annotated[bool, "decode all images once and keep them in memory"] = False

    # The network (section III-A to III-C); the others are baselines.py's
    network: Annotated[
        Literal["mdpr", "bnneck", "pcb", "mgn"], "MDPR, or a baseline to hold it against"
    ] = "mdpr"
    backbone: str = dataclasses.field(
        default="resnet101_ibn",
        metadata={"help": f"its layers: {', '.join(NETWORKS)}, torchvision:NAME or timm:NAME"},
    )
    weights: Annotated[
        str, "the backbone's: pretrained (downloaded once), or a file; empty: random"
    ] = ""
    embed_dim: Annotated[int, "M, numbers in each feature; 4 M in the fused one"] = 512
    num_maps: Annotated[int, "attention maps of a stage (K in section III-B)"] = 2
    num_parts: Annotated[int, "N, stripes of the hard branch"] = 2
    branches: Annotated[Literal["both", "hard", "soft"], "which of MDPR's to build"] = "both"
    guidance: Annotated[bool, "the attention of stage 5 (A5) guides that of stage 4 (A4)"] = True
    refine4: Annotated[
        Literal["conv", "block"], "C4 → Ĉ4: a 1×1 convolution, or BN and ReLU too"
    ] = "conv"
    attention4: Annotated[
        Literal["refined", "raw"],
        "A4 from Ĉ4 and A5; or from C4 and A5 before its softmax, convolved",
    ] = "refined"
    shared_pool: Annotated[bool, "one GeM exponent for all maps of a stage"] = False
    ceil_pool: Annotated[bool, "ResNets: the first pooling as in fast-reid"] = False
    fusion: Annotated[bool, "fuse the two branches' maps into one more feature"] = True
    distillation: Annotated[bool, "the branches teach each other (mutual distillation)"] = True
    separate_networks: Annotated[bool, "no stage is shared by the two branches"] = False
    features: Annotated[
        tuple[str, ...], "features or groups of them that make up the embedding"
    ] = ("hard", "soft", "fusion")

    # The objective (section III-D)
    circle: Annotated[Literal["pair", "class"], "circle loss over pairs, or classes"] = "pair"
    circle_margin: Annotated[float, "m of Eq. 5, a cosine"] = 0.35
    circle_gamma: Annotated[float, "γ, scale of Eq. 5"] = 64.0
    label_smoothing: Annotated[float, "0 to 1, of the circle loss over classes"] = 0.1
    triplet_margin: Annotated[float | None, "of Eq. 6, a distance; none: softplus"] = 0.05
    beta: Annotated[float, "weight of the attention diversity, Eq. 7"] = 0.001

    # The training (section IV-B)
    epochs: Annotated[int, "each draws about as many images as there are to train on"] = 60
    warmup_steps: Annotated[int, "steps in which the learning rate rises to --lr"] = 2000
    lr: Annotated[float, "learning rate of Adam after the warm-up, of the heads"] = 3.5e-4
    first_lr: Annotated[float, "learning rate of the first step"] = 3.5e-5
    last_lr: Annotated[float, "learning rate of the last step: a cosine leads there"] = 1e-7
    backbone_lr_factor: Annotated[float, "the backbone's learning rate over the heads'"] = 1.0
    weight_decay: Annotated[float, "L2 penalty on every parameter, added to its gradient"] = 5e-4
    precision: Annotated[
        Precision, "of autocast; auto: half precision on CUDA, float32 elsewhere"
    ] = "auto"
    checkpoint_branches: Annotated[
        bool, "activation checkpointing of stem and branches: less memory, more time"
    ] = False
    eval_every: Annotated[int, "epochs from one test to the next; the last is always tested"] = 10
    seed: Annotated[int, "of the weights, the batches and the augmentation"] = 0

    # How it is run
    sync_bn: Annotated[bool, "batch normalisation over all processes' images"] = False
    clip_grad: Annotated[float | None, "norm above which the gradient is scaled down to it"] = None
    scaler: Annotated[
        Literal["auto", "on", "off"], "scale the loss for small gradients; auto: in float16 only"
    ] = "auto"
    ema: Annotated[float | None, "decay a step of an average of the weights, which is tested"] = (
        None
    )
    checkpoint_every: Annotated[
        int, "steps from one checkpoint to the next; 0: each epoch alone"
    ] = 0
    keep_checkpoints: Annotated[int, "checkpoints to keep, the newest; the best is kept too"] = 2
    pictures: Annotated[bool, "draw curves, ranked lists, attention and a report at the end"] = True
    log_every: Annotated[int, "steps from one line of steps.jsonl to the next; 0: none"] = 50
    gradient_shares: Annotated[
        int, "steps from one measurement of each term's share in the gradient to the next; 0: none"
    ] = 0

    def __post_init__(self) -> None:
        for name in (
            "height", "width", "identities", "embed_dim", "num_maps", "num_parts",
            "epochs", "eval_every", "keep_checkpoints",
        ):  # fmt: skip
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
            "checkpoint_every",
            "log_every",
            "gradient_shares",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        check_name(self.backbone)
        rows = -(-self.height // 16)  # of the last map, with last stride 1
        if rows % self.stripes() and self.backbone in NETWORKS:  # others are measured when built
            if self.network == "mgn":
                raise ValueError(
                    f"height must give rows that 4 stripes divide, as of mgn, got {self.height}: "
                    f"the last map has {rows}"
                )
            raise ValueError(
                f"num_parts must divide the {rows} rows of the last map of an image of height "
                f"{self.height}, got {self.num_parts}"
            )
        if self.images < 2:
            raise ValueError(f"images must be at least 2, got {self.images}: pairs of one identity")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise ValueError(f"clip_grad must be above 0, or none, got {self.clip_grad}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and below 1, or none, got {self.ema}")
        if self.ceil_pool and not self.backbone.startswith("resnet"):
            raise ValueError(f"ceil_pool is an option of the ResNets, not of {self.backbone}")
        self.feature_names()

    def with_network_of(self, other: "MDPRConfig") -> "MDPRConfig":
        """Take over the network of ``other``, to train it on: the rest stays as it is here."""
        network = {name: getattr(other, name) for name in NETWORK}
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
        soft = ("soft_g5", "soft_g4")
        if self.branches == "hard":
            return hard
        if self.branches == "soft":
            return soft
        return hard + soft + (("fusion",) if self.fusion else ())

    def stripes(self) -> int:
        """Count the stripes, of the finest kind, that the last map is cut into."""
        if self.network == "mgn":
            return 4
        cut = self.network == "pcb" or (self.network == "mdpr" and self.branches != "soft")
        return self.num_parts if cut else 1

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


# The fields that may differ where a run is resumed: they do not change what it computes.
MOVABLE = {
    "data_root", "workers", "cache", "checkpoint_every", "keep_checkpoints", "pictures",
    "log_every", "gradient_shares",
}  # fmt: skip


def other_fields(asked: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Name the fields of a run that are not as asked, and may not be changed on resuming it.

    Precision "auto" was settled when the run began: asked for again, it is what the run has.
    """
    return [
        name
        for name, value in asked.items()
        if name not in MOVABLE and value != own[name] and (name, value) != ("precision", "auto")
    ]


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


def from_dict(values: dict[str, Any]) -> MDPRConfig:
    """Read a configuration back from what ``dataclasses.asdict`` or JSON made of it."""
    return MDPRConfig(**check_fields(values))


def check_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse fields that are unknown or of another type; make lists the tuples they were."""
    hints = typing.get_type_hints(MDPRConfig)
    if unknown := sorted(set(values) - set(hints)):
        near = [*difflib.get_close_matches(unknown[0], hints, 1), None][0]
        hint = f"; is {near} meant?" if near else ""
        raise ValueError(f"unknown fields in the configuration: {', '.join(unknown)}{hint}")
    checked = {}
    for name, value in values.items():
        fits, wanted = _fits(hints[name], value)
        if not fits:
            raise ValueError(f"{name} must be {wanted}, got {json.dumps(value, default=str)}")
        checked[name] = tuple(value) if isinstance(value, list) else value
    return checked


def _fits(hint: Any, value: Any) -> tuple[bool, str]:
    """Whether a value is of a field's type, and what the type is called."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return value in choices, f"one of {', '.join(choices)}"
    if typing.get_origin(hint) is tuple:
        words = isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
        return words, "a list of words"
    if typing.get_origin(hint) is types.UnionType:
        return number or value is None, "a number or null"
    if hint is float:
        return number, "a number"
    if hint is int:
        return number and isinstance(value, int), "a whole number"
    return isinstance(value, hint), {bool: "true or false", str: "text"}[hint]
