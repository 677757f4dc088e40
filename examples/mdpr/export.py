"""Write a run's network for deployment: python examples/mdpr/export.py RUN OUT

OUT ends in .onnx (for ONNX Runtime and others) or .pt2 (for torch.export.load). RUN is the folder
that train.py wrote, one of its checkpoints, or a folder of share.py. The file takes uint8 RGB
images (B, 3, H, W), any B and, unless --height and --width fix them, any size; resizing and
normalising are inside. The file is run and compared with the network itself before the command
ends. Needs the extra "export" for .onnx.
"""

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines import Baseline
from checkpoint import load_checkpoint
from commands import run_script, script_parser
from config import from_dict
from evaluate import load_model
from model import MDPR
from reidblocks.deploy import Embedder, fold_for_inference
from reidblocks.training import atomic_path
from share import CONFIG, WEIGHTS, Embedding, Preprocessing, is_shared, load

CLOSE = 1e-4  # how far the file may be from the network, against the largest value


def build_embedder(
    run: Path,
    features: Sequence[str] | None = None,
    *,
    fold: bool = True,
    unit_length: bool = False,
) -> Embedder:
    """Rebuild the network of a run, checkpoint or shared folder, folded, with its preprocessing."""
    if is_shared(run):
        shared = load(run, features)
        model, prepared = shared.model, shared.preprocessing
    else:
        state = load_checkpoint(run)
        config = from_dict(state["config"])
        model, prepared = load_model(state, features), Preprocessing(config.height, config.width)
    network = Embedding(model).eval().to(memory_format=torch.channels_last)
    network = fold_for_inference(network) if fold else network.requires_grad_(False)
    return Embedder(
        network,
        (prepared.height, prepared.width),
        mean=prepared.mean,
        std=prepared.std,
        unit_length=unit_length,
    ).eval()


def export(embedder: Embedder, path: Path, size: tuple[int, int] | None = None) -> None:
    """Write the embedder with a free batch and, unless ``size`` is given, free image sizes."""
    images = example_images(2, size or (128, 64))
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if size is None:
        free |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    if path.suffix == ".pt2":
        program = torch.export.export(embedder, (images,), dynamic_shapes=(free,))
        with atomic_path(path) as partial, partial.open("wb") as file:
            torch.export.save(program, file)
    elif path.suffix == ".onnx":
        written = torch.onnx.export(
            embedder,
            (images,),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=["images"],
            output_names=["embeddings"],
            verbose=False,
        )
        assert written is not None
        with atomic_path(path) as partial:
            written.save(partial, external_data=False)
    else:
        raise ValueError(f"OUT must end in .onnx or .pt2, got {path.name}")


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """Read what ``export`` wrote, as a function."""
    if path.suffix == ".pt2":
        module: Callable[[Tensor], Tensor] = torch.export.load(path).module()
        return module
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def example_images(batch: int, size: tuple[int, int]) -> Tensor:
    """Smooth noise, the same each time: nearer to pictures than single pixels of chance."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 8, 4, generator=generator)
    images = nn.functional.interpolate(coarse, size, mode="bicubic")
    return images.mul(255).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def difference(first: nn.Module, second: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Give the largest difference of the two outputs, as a share of the largest value."""
    expected = first(images)
    worst = (second(images) - expected).abs().max()
    return float(worst / expected.abs().max())


def expect_onnx() -> None:
    """Raise unless what writes and runs ONNX is installed."""
    needed = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ImportError(
            f"OUT.onnx needs {', '.join(missing)}: pip install 'reidblocks[export]', or write a "
            ".pt2 file"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, checkpoint or shared folder")
    parser.add_argument("out", type=Path, help="file to write: .onnx or .pt2")
    parser.add_argument("--features", nargs="+", help="hard, soft, fusion or single ones")
    parser.add_argument("--fold", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--unit-length", action="store_true", help="embeddings of length 1")
    parser.add_argument("--height", type=int, help="of the images, where it is always the same")
    parser.add_argument("--width", type=int)
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".onnx", ".pt2"):
        parser.error(f"OUT must end in .onnx or .pt2, got {options.out.name}")
    if (options.height is None) != (options.width is None):
        parser.error("give both --height and --width, or neither")
    size = None if options.height is None else (options.height, options.width)
    if size and min(size) < 1:
        parser.error(f"--height and --width must be at least 1, got {size[0]} and {size[1]}")
    if options.out.suffix == ".onnx":
        expect_onnx()
    folder = options.run.parent
    if options.run.name in (WEIGHTS, CONFIG) and options.run.is_file() and is_shared(folder):
        parser.error(f"{options.run} is a file of a shared folder; give the folder, {folder}")

    plain = build_embedder(
        options.run, options.features, fold=False, unit_length=options.unit_length
    )
    embedder = build_embedder(
        options.run, options.features, fold=options.fold, unit_length=options.unit_length
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    export(embedder, options.out, size)
    written = read(options.out)
    worst = max(
        difference(plain, written, example_images(batch, size or other))
        for batch, other in ((1, (128, 64)), (3, (200, 90)))
    )
    model = plain.network.model
    assert isinstance(model, MDPR | Baseline)
    print(f"features {', '.join(model.features)}: {plain(example_images(1, (128, 64))).shape[1]}")
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MB")
    print(f"differs from the network itself by {worst:.1e} of the largest value")
    if worst > CLOSE:
        raise SystemExit(f"that is more than {CLOSE:g}: do not use the file")


if __name__ == "__main__":
    run_script(main)
