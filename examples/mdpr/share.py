"""Share a trained network: python examples/mdpr/share.py RUN FOLDER

FOLDER then holds model.safetensors and config.json: the network, what is done to an image before
it, and which numbers of the embedding are which feature. ``load`` needs nothing else, and
evaluate.py takes FOLDER for RUN. Where the data and the pretrained weights lay stays out of it.
"""

import dataclasses
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

import reidblocks
from assemble import build_model
from baselines import Baseline
from checkpoint import expect_finite, load_checkpoint
from commands import run_script, script_parser
from config import MDPRConfig, from_dict, read_json
from model import MDPR
from reidblocks.backbones import read_checkpoint
from reidblocks.data import IMAGENET_MEAN, IMAGENET_STD, eval_transform
from reidblocks.deploy import Embedder
from reidblocks.training import write_file
from renamed import with_new_names
from runs import write_json

FORMAT = 1  # goes up where older versions cannot read what this one writes
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image of 8 bits a channel before the network sees it."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of each channel, for pixels from 0 to 1
    std: tuple[float, float, float] = IMAGENET_STD
    colour_order: str = "RGB"
    interpolation: str = "bilinear, antialiased"

    def __post_init__(self) -> None:
        for name, known in (("colour_order", "RGB"), ("interpolation", "bilinear, antialiased")):
            if getattr(self, name) != known:
                raise ValueError(f"{name} should be {known}, got {getattr(self, name)}")

    def transform(self) -> Callable[[Any], Tensor]:
        """Prepare a PIL image or a uint8 tensor (3, H, W)."""
        transform: Callable[[Any], Tensor] = eval_transform(
            (self.height, self.width), mean=self.mean, std=self.std
        )
        return transform


class Feature(NamedTuple):
    """One feature's place in the embedding: the numbers from ``start`` up to ``stop``."""

    name: str
    start: int
    stop: int
    size: int
    normalised: bool = False  # whether it has length 1; ours are as BN leaves them


class Embedding(nn.Module):
    """A network as the one function that deployment needs: images → embeddings."""

    def __init__(self, model: MDPR | Baseline) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


class Pretrained(NamedTuple):
    """A network with all that its use takes."""

    model: MDPR | Baseline  # in eval mode, on the CPU, in float32
    config: MDPRConfig
    preprocessing: Preprocessing
    embedding: tuple[Feature, ...]
    version: str  # of reidblocks, which saved it

    def embedder(self) -> Embedder:
        """Put network and preprocessing into one module, which takes pixels and needs no other."""
        prepared = self.preprocessing
        return Embedder(
            Embedding(self.model),
            (prepared.height, prepared.width),
            mean=prepared.mean,
            std=prepared.std,
        ).eval()


def save_pretrained(model: MDPR | Baseline, folder: str | Path) -> Path:
    """Write a folder that ``load`` reads, whole or not at all.

    It is written beside ``folder`` and read again before it gets its name.

    Raises:
        FileExistsError: ``folder`` is there and not empty.
        ValueError: the model is no longer what its configuration says, as after folding.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and not empty; name a new folder")
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    partial.mkdir(parents=True)
    try:
        write_files(model, partial)
        load(partial)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load(folder: str | Path, features: Sequence[str] | None = None) -> Pretrained:
    """Rebuild the network of a folder that ``save_pretrained`` wrote, by this version or older.

    Args:
        features: what the embedding shall hold, where that is not what was saved.

    Raises:
        FileNotFoundError: the folder has no config.json or no model.safetensors.
        ValueError: a file is damaged, does not fit the other, or a newer version wrote it.
    """
    folder = Path(folder)
    config, content, weights = read_files(folder)
    model = rebuild(config, weights, folder / WEIGHTS)
    try:
        preprocessing = Preprocessing(
            **{name: _tuple(value) for name, value in content["preprocessing"].items()}
        )
        if content["embedding"] != [feature._asdict() for feature in embedding_of(model)]:
            raise ValueError("its embedding is not that of its configuration")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG} cannot be used: {error}") from error
    if features:
        config = config.with_features(features)
        model = rebuild(config, weights, folder / WEIGHTS)
    version = content["reidblocks"]
    return Pretrained(model.eval(), config, preprocessing, embedding_of(model), version)


def is_shared(path: Path) -> bool:
    """Whether this is a folder that ``save_pretrained`` wrote."""
    return (path / WEIGHTS).is_file()


def embedding_of(model: MDPR | Baseline) -> tuple[Feature, ...]:
    """List the features side by side in the embedding."""
    parts: list[Feature] = []
    for name in model.features:
        start = parts[-1].stop if parts else 0
        size = model.sizes[name]
        parts.append(Feature(name, start, start + size, size))
    return tuple(parts)


def write_files(model: MDPR | Baseline, folder: Path) -> None:
    """Write the weights and then, since a folder without it is none, the configuration."""
    config = dataclasses.replace(model.config, data_root="", weights="")  # the trainer's paths
    content = {
        "format": FORMAT,
        "reidblocks": reidblocks.__version__,
        "configuration": dataclasses.asdict(config),
        "preprocessing": dataclasses.asdict(Preprocessing(config.height, config.width)),
        "embedding": [feature._asdict() for feature in embedding_of(model)],
    }
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_file(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_json(folder / CONFIG, content)


def read_files(folder: Path) -> tuple[MDPRConfig, dict[str, Any], dict[str, Tensor]]:
    """Read a folder's configuration, all of config.json, and its weights, under today's names."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; share.py writes folders that have")
    try:
        content = read_json(folder / CONFIG)
        written, fields = content["format"], content["configuration"]
        if written > FORMAT:
            raise ValueError(
                f"reidblocks {content['reidblocks']} wrote it, in a format newer than that of "
                f"reidblocks {reidblocks.__version__}: update"
            )
        fields, weights = with_new_names(fields, read_checkpoint(folder / WEIGHTS), written)
        return from_dict(fields), content, weights
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is no configuration of share.py: {error}") from error


def rebuild(
    config: MDPRConfig, weights: Mapping[str, Tensor], source: str | Path
) -> MDPR | Baseline:
    """Build the configuration's network with these weights, all of which must fit."""
    expect_finite(weights, source)
    model = build_model(config, pretrained=False)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        faults = str(error).split("\n\t")[1:]
        more = f" and {len(faults) - 2} faults more" if len(faults) > 2 else ""
        raise ValueError(
            f"{source} does not fit its configuration: {' '.join(faults[:2])}{more}"
        ) from error
    return model


def _tuple(value: Any) -> Any:
    """Give JSON's list as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--features", nargs="+", help="hard, soft, fusion or single ones")
    options = parser.parse_args(arguments)
    state = load_checkpoint(options.run)
    config = from_dict(state["config"])
    if options.features:
        config = config.with_features(options.features)
    save_pretrained(rebuild(config, state["model"], options.run), options.folder)
    size = sum(file.stat().st_size for file in options.folder.iterdir()) / 1e6
    print(f"{options.folder}: {size:.1f} MB, features {', '.join(config.feature_names())}")


if __name__ == "__main__":
    run_script(main)
