"""A model that embeds images, from whatever file or repository holds it."""

import difflib
import os
import re
from pathlib import Path

from reidblocks.backbones import read_checkpoint
from reidblocks.deploy.embedder import Embedder
from reidblocks.deploy.programs import first_line, read_program
from reidblocks.deploy.published import ARCHITECTURES, architectures_that_fit, published

_HUB = "hub:"
_PROGRAMS = (".pt2", ".onnx")
_CHECKPOINTS = (".pth", ".pt", ".tar", ".safetensors", ".ckpt", ".bin", ".npz")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@\S+)?")


def load_embedder(source: str | os.PathLike[str], architecture: str | None = None) -> Embedder:
    """Load a model from pixels to embeddings, by its file, folder or repository.

    A ``.pt2`` or ``.onnx`` file is a program: load it from those you trust. Nothing in a checkpoint
    is run (`reidblocks.backbones.read_checkpoint`).

    Args:
        source: one of

            - what `save_embedder`, `export_program` or `export_onnx` wrote, by its path;
            - another program, ``.pt2`` or ``.onnx`` (ONNX Runtime, extra ``export``), that takes
              float images of one size: its preprocessing is taken to be ImageNet's, with a warning;
            - a folder with one of these in it, as ``examples/mdpr/share.py`` writes it;
            - such a folder as a repository of the Hugging Face Hub (extra ``hub``),
              ``"OWNER/NAME"`` or ``"hub:OWNER/NAME@REVISION"``; a file of one,
              ``"hub:OWNER/NAME/FILE"``;
            - a checkpoint of torchreid or fast-reid, with its ``architecture``.
        architecture: of a checkpoint: ``"osnet_x1_0"``, ``"osnet_x0_75"``, ``"osnet_x0_5"``,
            ``"osnet_x0_25"``, the same with ``ibn_`` or ``ain_`` before the x (torchreid), or
            ``"fastreid_resnet50"``, 18, 34 or 101, with ``_ibn`` or without (fast-reid's baseline,
            not verified against fast-reid).

    Returns:
        The embedder in eval mode, on the CPU, with its size, preprocessing, dimension and `spec`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the architecture is missing, unknown, or not that of the checkpoint, whose own
            is then named; it is given for a program; the file holds no model; a folder has no
            program, or several.
        ImportError: the extra ``export`` or ``hub`` is missing, which the message names.
        ConnectionError: the repository cannot be downloaded.

    >>> import tempfile
    >>> from torch import nn
    >>> from reidblocks.deploy import save_embedder
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_embedder(Embedder(network, size=(16, 8)).eval(), f"{folder}/person.pt2")
    ...     load_embedder(f"{folder}/person.pt2").dimension
    8
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(str(architecture), ARCHITECTURES, n=1)
        hint = f", the nearest is {near[0]!r}" if near else ""
        raise ValueError(
            f"load_embedder expects architecture to be one of {', '.join(ARCHITECTURES)}, got "
            f"{architecture!r}{hint}"
        )
    path = _located(source)
    if path.suffix in _PROGRAMS:
        if architecture is not None:
            raise ValueError(
                f"load_embedder expects architecture for a checkpoint; {path} is a program that "
                f"needs none, got {architecture!r}"
            )
        return read_program(path)
    content = read_checkpoint(path)
    if architecture is None:
        fitting = architectures_that_fit(content)
        which = " or ".join(map(repr, fitting)) or f"one of {', '.join(ARCHITECTURES)}"
        verb = "its weights fit" if fitting else "expected"
        raise ValueError(
            f"load_embedder expects architecture for {path}, which is a checkpoint: {verb} {which}"
        )
    return published(content, architecture, path)


def _located(source: str | os.PathLike[str]) -> Path:
    """Return the file that a source names, downloaded if it lies on the Hub."""
    text = os.fspath(source)
    if text.startswith(_HUB):
        return _from_hub(text.removeprefix(_HUB))
    path = Path(text).expanduser()
    if path.is_dir():
        return _program_in(path)
    if path.exists():
        return path
    known = Path(text).suffix in (*_PROGRAMS, *_CHECKPOINTS)
    if isinstance(source, str) and _REPOSITORY.fullmatch(text) and not known:
        return _from_hub(text)
    raise FileNotFoundError(f"load_embedder: there is no file or folder {text}")


def _program_in(folder: Path) -> Path:
    """Return the one program in a folder."""
    for suffix in _PROGRAMS:
        found = sorted(folder.glob(f"*{suffix}"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"load_embedder expects one program in {folder}, got {names}: name it")
        if found:
            return found[0]
    advice = "name a file in it"
    if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
        advice = (
            "it holds a network whose class is in examples/mdpr. Write a program: "
            "python examples/mdpr/share.py FOLDER person.pt2"
        )
    raise ValueError(f"load_embedder expects a .pt2 or .onnx file in the folder {folder}: {advice}")


def _from_hub(name: str) -> Path:
    """Download a repository's programs, or one file of it, and return the file."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"load_embedder: there is no file or folder {name} here, and a repository of the "
            "Hugging Face Hub needs huggingface_hub: pip install 'reidblocks[hub]'"
        ) from error
    place, _, revision = name.partition("@")
    owner, _, rest = place.partition("/")
    repository, _, file = rest.partition("/")
    identity = f"{owner}/{repository}"
    try:
        if file:
            got = huggingface_hub.hf_hub_download(identity, file, revision=revision or None)
            return Path(got)
        patterns = [f"*{suffix}" for suffix in _PROGRAMS]
        folder = huggingface_hub.snapshot_download(
            identity, allow_patterns=patterns, revision=revision or None
        )
    except Exception as error:  # its own errors, and those of whichever client it uses
        raise ConnectionError(
            f"load_embedder cannot download {name} from the Hugging Face Hub "
            f"({first_line(error)}); there is no file or folder {name} here either"
        ) from error
    return _program_in(Path(folder))
