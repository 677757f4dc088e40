"""Download weights once into torch's cache, and hold each file to the hash in its name."""

import hashlib
import re
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from torchvision import models

from reidblocks._files import make_folder
from reidblocks.backbones.checkpoints import load_backbone_weights
from reidblocks.backbones.staged import StagedBackbone

Weights = Literal["imagenet"]

# The files of the release v1.0 of IBN-Net; each name ends with the first digits of its SHA-256.
IBN_NET = {
    depth: f"https://github.com/XingangPan/IBN-Net/releases/download/v1.0/{name}.pth"
    for depth, name in {
        18: "resnet18_ibn_a-2f571257",
        34: "resnet34_ibn_a-94bc1577",
        50: "resnet50_ibn_a-d9d0bb7b",
        101: "resnet101_ibn_a-59ea0ac6",
    }.items()
}
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def expect_weights(caller: str, weights: str | None) -> None:
    """Raise ValueError unless weights are "imagenet" or None."""
    if weights not in ("imagenet", None):
        raise ValueError(
            f'{caller} expects weights="imagenet", or None for random ones, got {weights!r}; '
            "load_backbone_weights reads a file"
        )


def torchvision_url(name: str, weights: str = "DEFAULT") -> str:
    """Return where torchvision's weights for one of its networks lie."""
    url: str = models.get_model_weights(name)[weights].url
    return url


def load_from_url(caller: str, backbone: StagedBackbone, url: str) -> None:
    """Fill a backbone with the weights that lie at a URL, all of them.

    Raises:
        ConnectionError: there is no such file in the cache and it cannot be downloaded.
        ValueError: the file is not the one that its name promises.
    """
    load_backbone_weights(backbone, _cached(caller, url))


def offline(call: str, what: str, error: Exception, remedy: str) -> ConnectionError:
    """Say that weights cannot be downloaded, and what to do without a network."""
    why = str(error).partition("\n")[0] or type(error).__name__
    return ConnectionError(
        f"{call} cannot download {what} ({why}). {remedy}, or build the backbone with random "
        "weights and give load_backbone_weights a file that you have"
    )


def _cached(caller: str, url: str) -> Path:
    """Return where the file of a URL lies in torch's cache, downloaded if it was not there."""
    path = Path(torch.hub.get_dir()).expanduser() / "checkpoints" / Path(urlsplit(url).path).name
    named = _HASH.search(path.name)
    if named is None:
        raise ValueError(f"{caller} expects a file whose name ends with its hash, got {url}")
    if not path.exists():
        make_folder(path.parent)
        shown = sys.stderr is not None and sys.stderr.isatty()
        if shown:
            print(f"downloading {url} to {path}", file=sys.stderr)
        try:
            # Written beside, checked and then renamed: a broken download leaves nothing.
            torch.hub.download_url_to_file(url, str(path), named[1], progress=shown)
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            remedy = f"Download it on another machine and put it at {path}"
            raise offline(f'{caller} with weights="imagenet"', url, error, remedy) from error
        except RuntimeError as error:
            raise ValueError(
                f"{caller} got another file from {url} than its name promises: {error}. Something "
                "between here and there may have changed it; try another network"
            ) from error
        return path
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise ValueError(
            f"{path} is not the file that its name promises: its SHA-256 begins with {found[:8]}. "
            "It may be truncated; remove it, and it is downloaded again"
        )
    return path
