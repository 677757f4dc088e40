"""Hand on a trained network: python examples/mdpr/share.py RUN OUT

RUN is the folder that train.py wrote, one of its checkpoints, or what this command wrote. OUT is

- a folder: model.safetensors and config.json, the network, what is done to an image before it, and
  which numbers of the embedding are which feature. ``load`` needs nothing else, and evaluate.py
  takes it for RUN. Where the data and the pretrained weights lay stays out of it. Beside them lies
  embedder.pt2, the same as a program, for reidblocks.deploy.load_embedder without this example;
- a file .onnx (for ONNX Runtime and others; extra: export) or .pt2 (for torch.export.load). It
  takes uint8 RGB images (B, 3, H, W), any B and, unless --size fixes it, any size; resizing and
  normalizing are inside. It is run and compared with the network before it is kept;
  reidblocks.deploy.load_embedder reads it.
"""

import argparse
import dataclasses
import difflib
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

import reidblocks
from baselines import Network
from build import load_checkpoint, load_model, rebuild
from commands import script_parser
from config import MDPRConfig, from_dict, read_json
from reidblocks.backbones import read_checkpoint
from reidblocks.data import IMAGENET_MEAN, IMAGENET_STD, eval_transform
from reidblocks.deploy import Embedder, export_onnx, export_program, save_embedder
from reidblocks.training import run_script, write_file

FORMAT = 1  # goes up where older versions cannot read what this one writes
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Preprocessing(NamedTuple):
    """What is done to an RGB image of 8 bits a channel before the network sees it."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of each channel, for pixels from 0 to 1
    std: tuple[float, float, float] = IMAGENET_STD

    def transform(self) -> Callable[[Any], Tensor]:
        """Prepare a PIL image or a uint8 tensor (3, H, W)."""
        size = (self.height, self.width)
        transform: Callable[[Any], Tensor] = eval_transform(size, mean=self.mean, std=self.std)
        return transform


class Span(NamedTuple):
    """One feature's place in the embedding: the numbers from ``start`` up to ``stop``."""

    name: str
    start: int
    stop: int
    size: int
    normalised: bool = False  # whether it has length 1; ours are as BN leaves them


class Embedding(nn.Module):
    """A network as the one function that deployment needs: images → embeddings."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)

    def extra_repr(self) -> str:  # which the weights do not tell
        return f"features={', '.join(self.model.features)}"


class Pretrained(NamedTuple):
    """A network with all that its use takes."""

    model: Network  # in eval mode, on the CPU, in float32
    config: MDPRConfig
    preprocessing: Preprocessing
    embedding: tuple[Span, ...]
    origin: str  # the version of reidblocks that saved it, or the epoch of a run

    def embedder(self, *, unit_length: bool = False) -> Embedder:
        """Put network and preprocessing into one module, which takes pixels and needs no other."""
        height, width, mean, std = self.preprocessing
        name = f"{self.config.network} on {self.config.backbone}"
        how: dict[str, Any] = {"mean": mean, "std": std, "normalize": unit_length, "name": name}
        return Embedder(Embedding(self.model), (height, width), **how).eval()


def save_pretrained(model: Network, folder: str | Path) -> Path:
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
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; share.py writes folders that have")
    content = read_json(folder / CONFIG)
    try:
        if content["format"] > FORMAT:
            raise ValueError(
                f"reidblocks {content['reidblocks']} wrote it, in a format newer than that of "
                f"reidblocks {reidblocks.__version__}: update"
            )
        config, told = from_dict(content["configuration"]), content["preprocessing"]
        mean_and_std = tuple(told["mean"]), tuple(told["std"])
        preprocessing = Preprocessing(told["height"], told["width"], *mean_and_std)
        spans = tuple(Span(**span) for span in content["embedding"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG} is none that share.py wrote: {error}") from error
    weights = read_checkpoint(folder / WEIGHTS)
    model = rebuild(config, weights, folder / WEIGHTS)
    if spans != embedding_of(model):
        raise ValueError(f"{folder / CONFIG}: its embedding is not that of its configuration")
    if features:
        config = config.with_features(features)
        model = rebuild(config, weights, folder / WEIGHTS)
    origin = f"saved by {content['reidblocks']}"
    return Pretrained(model.eval(), config, preprocessing, embedding_of(model), origin)


def load_any(source: Path, features: Sequence[str] | None = None) -> Pretrained:
    """Load the network of a run, of a checkpoint, or of what ``load`` reads."""
    folder = source.parent if source.name in (WEIGHTS, CONFIG) else source
    if (folder / WEIGHTS).is_file():
        return load(folder, features)
    state = load_checkpoint(source)
    model = load_model(state, features).eval()
    prepared = Preprocessing(model.config.height, model.config.width)
    origin = f"epoch {state['epoch']}"
    return Pretrained(model, model.config, prepared, embedding_of(model), origin)


def embedding_of(model: Network) -> tuple[Span, ...]:
    """List the features side by side in the embedding."""
    spans: list[Span] = []
    for name in model.features:
        start = spans[-1].stop if spans else 0
        spans.append(Span(name, start, start + model.sizes[name], model.sizes[name]))
    return tuple(spans)


def write_files(model: Network, folder: Path) -> None:
    """Write the weights and then, since a folder without it is none, the configuration."""
    config = dataclasses.replace(model.config, data_root="", weights="")  # the trainer's paths
    fixed = {"colour_order": "RGB", "interpolation": "bilinear, antialiased"}
    content = {
        "format": FORMAT,
        "reidblocks": reidblocks.__version__,
        "configuration": dataclasses.asdict(config),
        "preprocessing": Preprocessing(config.height, config.width)._asdict() | fixed,
        "embedding": [span._asdict() for span in embedding_of(model)],
    }
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_file(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_file(folder / CONFIG, json.dumps(content, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, checkpoint or shared folder")
    parser.add_argument("out", type=Path, help="folder, or file .onnx or .pt2")
    parser.add_argument("--features", nargs="+", help="hard, soft, fusion or single ones")
    of_file = parser.add_argument_group("of a file")
    fold = argparse.BooleanOptionalAction
    of_file.add_argument("--fold", action=fold, help="fold norms into convolutions; default yes")
    of_file.add_argument("--unit-length", action="store_true", help="embeddings of length 1")
    of_file.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
                         help="of the images, where it is always the same")  # fmt: skip
    options = parser.parse_args(arguments)
    out, suffix = options.out, options.out.suffix
    write = {".pt2": export_program, ".onnx": export_onnx}.get(suffix)
    near = difflib.get_close_matches(suffix.lower(), [".onnx", ".pt2"], 1, cutoff=0.7)
    if near and not write:
        parser.error(f"OUT ends in {suffix}: is {near[0]} meant? Name a folder without {suffix}")
    if not write and (options.unit_length or options.fold is not None or options.size):
        parser.error(
            "--fold, --unit-length and --size are of a file: OUT must end in .onnx or .pt2, got "
            f"{out.name}"
        )

    shared = load_any(options.run, options.features)
    print(f"features {', '.join(shared.model.features)}: {shared.embedding[-1].stop}")
    if write:
        out.parent.mkdir(parents=True, exist_ok=True)
        embedder = shared.embedder(unit_length=options.unit_length)
        size = options.size and tuple(options.size)
        worst = write(embedder, out, fold=options.fold is not False, image_size=size)
        print(f"{out}: {out.stat().st_size / 2**20:.1f} MB")
        print(f"differs from the network itself by {worst:.1e} of the largest value")
    else:
        save_pretrained(shared.model, out)
        save_embedder(shared.embedder(), out / "embedder.pt2")
        megabytes = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        print(f"{out}: {megabytes:.1f} MB")


if __name__ == "__main__":
    run_script(main)
