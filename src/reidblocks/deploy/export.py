"""Write an embedder as a file that needs no class, run it, and compare before it is kept."""

import copy
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_positive
from reidblocks._files import atomic_path
from reidblocks.deploy.embedder import Embedder, _height_and_width
from reidblocks.deploy.folding import fold_for_inference
from reidblocks.deploy.programs import (
    KEY,
    OnnxNetwork,
    Size,
    Told,
    WholeEmbedder,
    expect_onnx,
    first_line,
    read_program,
)

_CLOSE, _CLOSE_IN_HALF = 1e-4, 2e-2  # of the largest value
# With an end, as torch 2.7 asks of some networks whether a batch is as large as slices may be.
_BATCH = torch.export.Dim("batch", max=2**31 - 1)


def save_embedder(embedder: Embedder, path: str | os.PathLike[str]) -> None:
    """Write an embedder of any network to a file that `load_embedder` reads.

    The file holds the network as a program of torch.export, and tells its preprocessing and its
    embedding: it loads without the network's class, on any device torch can move it to. It takes
    any batch. The file is read again and must give the same embeddings, or it is not kept.

    Args:
        embedder: in eval mode; left as it was.
        path: a file that ends in .pt2.

    Raises:
        TypeError: embedder is no Embedder.
        ValueError: the path does not end in .pt2, the network is in training mode, or torch.export
            cannot trace it.
        RuntimeError: what was written does not give the same embeddings; nothing is kept.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> embedder = Embedder(network, size=(16, 8)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_embedder(embedder, Path(folder, "person.pt2"))
    ...     read_program(Path(folder, "person.pt2")).spec == embedder.spec
    True
    """
    place = _expect("save_embedder", embedder, path, ".pt2")
    ours = _own_storage(copy.deepcopy(embedder).cpu().requires_grad_(False))
    images = ours._prepared(_example_images(2, ours.size))
    program = _traced("save_embedder", ours.network, images, {0: _BATCH})
    told = Told.of(embedder, "normalized", None)
    with atomic_path(place) as partial:
        torch.export.save(program, partial, extra_files={f"{KEY}.json": told.as_json()})
        _compare("save_embedder", embedder, partial, None)


def export_program(
    embedder: Embedder,
    path: str | os.PathLike[str],
    *,
    fold: bool = True,
    image_size: tuple[int, int] | None = None,
) -> float:
    """Write an embedder as a torch.export program, including the preprocessing.

    Args:
        embedder: in eval mode; left as it was.
        path: a file that ends in .pt2.
        fold: fold norms into the layers before them (`fold_for_inference`).
        image_size: height and width of all images, where they are always the same; any size
            unless given. Nothing is resized where they are the embedder's own.

    Returns:
        The largest difference between the file's embeddings and the embedder's, divided by their
        largest value: below 1e-4.

    Raises:
        TypeError, ValueError, RuntimeError, OSError: as `save_embedder`.
    """
    place = _expect("export_program", embedder, path, ".pt2")
    ours, images, free = _prepared("export_program", embedder, fold, image_size)
    program = _traced("export_program", ours, images, free)
    told = Told.of(embedder, "pixels", image_size)
    with atomic_path(place) as partial:
        torch.export.save(program, partial, extra_files={f"{KEY}.json": told.as_json()})
        return _compare("export_program", embedder, partial, image_size)


def export_onnx(
    embedder: Embedder,
    path: str | os.PathLike[str],
    *,
    fold: bool = True,
    image_size: tuple[int, int] | None = None,
    half: bool = False,
) -> float:
    """Write an embedder as an ONNX file that takes pixels, including the preprocessing.

    Its input is "images", uint8 RGB (B, 3, H, W), its output "embeddings", float32 (B, D).

    Args:
        embedder: in eval mode; left as it was.
        path: a file that ends in .onnx.
        fold: fold norms into the layers before them (`fold_for_inference`).
        image_size: height and width of all images, where they are always the same; any size
            unless given. Where they are ``embedder.size``, the file holds no Resize, which
            TensorRT refuses with antialiasing.
        half: weights and computation in float16, from normalized pixels on.

    Returns:
        The largest difference between the file's embeddings and the embedder's, divided by their
        largest value: below 1e-4, with ``half`` below 2e-2.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed (extra ``export``).
        TypeError, ValueError, RuntimeError, OSError: as `save_embedder`, of a file .onnx.
    """
    expect_onnx("export_onnx", writes=True)
    place = _expect("export_onnx", embedder, path, ".onnx")
    ours, images, free = _prepared("export_onnx", embedder, fold, image_size)
    if half:
        ours.network.half()
    program = _traced("export_onnx", ours, images, free)
    written = torch.onnx.export(
        program,
        dynamo=True,
        dynamic_shapes=(free,),  # for their names
        input_names=["images"],
        output_names=["embeddings"],
        verbose=False,
    )
    assert written is not None
    written.model.metadata_props[KEY] = Told.of(embedder, "pixels", image_size).as_json()
    with atomic_path(place) as partial:
        written.save(partial, external_data=False)
        return _compare("export_onnx", embedder, partial, image_size, half=half)


def _expect(
    caller: str, embedder: Any, path: str | os.PathLike[str], suffix: Literal[".pt2", ".onnx"]
) -> Path:
    if not isinstance(embedder, Embedder):
        raise TypeError(
            f"{caller} expects an Embedder, got {type(embedder).__name__}: put the network into "
            "one, which tells its preprocessing: Embedder(network.eval(), size=(256, 128))"
        )
    if embedder.network.training:
        raise ValueError(f"{caller} expects the embedder's network in eval mode; call .eval()")
    if isinstance(embedder, WholeEmbedder) or isinstance(embedder.network, OnnxNetwork):
        raise ValueError(
            f"{caller} expects a network of torch's, or one of save_embedder; got the embedder "
            f"{embedder.name} of an exported file: copy that file"
        )
    if Path(path).suffix != suffix:
        raise ValueError(f"{caller} expects a path that ends in {suffix}, got {path}")
    return Path(path)


def _prepared(
    caller: str, embedder: Embedder, fold: bool, image_size: Size | None
) -> tuple[Embedder, Tensor, dict[int, Any]]:
    """Return a copy to trace, an image to trace it with, and which of its sizes are free."""
    ours = copy.deepcopy(embedder).cpu().requires_grad_(False)
    if fold:
        ours.network = fold_for_inference(ours.network)
    _own_storage(ours)
    free: dict[int, Any] = {0: _BATCH}
    if image_size is None:
        free |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
        return ours, _example_images(2, (ours.size[0] + 5, ours.size[1] + 3)), free
    fixed = _height_and_width(image_size, caller, "image_size")
    expect_positive(caller, **{"height of image_size": fixed[0], "width of image_size": fixed[1]})
    ours._resizes = fixed != ours.size
    return ours, _example_images(2, fixed), free


def _own_storage(embedder: Embedder) -> Embedder:
    """Give each tensor plain memory of its own, as torch's files have it without a warning."""
    for tensor in (*embedder.parameters(), *embedder.buffers()):
        if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() > tensor.nbytes:
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return embedder


def _traced(
    caller: str, network: nn.Module, images: Tensor, free: dict[int, Any]
) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(network, (images,), dynamic_shapes=(free,))
    except Exception as error:  # whatever the user's forward pass meets
        raise ValueError(
            f"{caller} expects a network that torch.export can trace for any batch: "
            f"{first_line(error)}"
        ) from error


@torch.no_grad()
def _compare(
    caller: str, embedder: Embedder, path: Path, image_size: Size | None, *, half: bool = False
) -> float:
    """Run a file and return how far it is from the embedder, against the largest value."""
    ours, theirs, worst = copy.deepcopy(embedder).cpu(), read_program(path), 0.0
    half = half or any(weight.dtype.itemsize < 4 for weight in ours.parameters())
    close = _CLOSE_IN_HALF if half else _CLOSE
    height, width = embedder.size
    for batch, other in ((1, (height, width)), (3, (height + height // 2 + 1, width - 1))):
        images = _example_images(batch, image_size or other)
        expected = ours(images)
        found = (theirs(images) - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
        worst = max(worst, float(found)) if found.isfinite() else float("inf")
    if worst > close:
        raise RuntimeError(
            f"{caller} wrote a file whose embeddings differ from the embedder's by {worst:.1e} of "
            f"the largest value, more than {close:g}: it was not kept"
        )
    return worst


def _example_images(batch: int, size: Size) -> Tensor:
    """Smooth noise, the same each time: nearer to pictures than single pixels of chance."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 8, 4, generator=generator)
    images = nn.functional.interpolate(coarse, size, mode="bicubic")
    return images.mul(255).clamp(0, 255).to(torch.uint8)
