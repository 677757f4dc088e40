"""Which model filled a gallery, so that a search need not name it."""

import json
import os
from pathlib import Path

from reidblocks._files import write_file
from reidblocks.gallery.table import folder_of

MODEL = "model.json"


def remember_model(folder: Path, model: str, architecture: str | None) -> None:
    """Write down where the model is; a file or folder by its absolute path."""
    here = os.path.abspath(model) if os.path.exists(model) else model
    told = json.dumps({"model": here, "architecture": architecture}) + "\n"
    if not (folder / MODEL).exists() or (folder / MODEL).read_text("utf-8") != told:
        write_file(folder / MODEL, told)


def model_of(path: str) -> tuple[str, str | None]:
    """Return the model, and its architecture, that `remember_model` wrote down.

    Raises:
        FileNotFoundError: none was, or it is no longer there.
    """
    folder = folder_of(path)
    if folder is None or not (folder / MODEL).is_file():
        raise FileNotFoundError(f"the gallery {path} does not tell its model; name it by --model")
    told = json.loads((folder / MODEL).read_text("utf-8"))
    model: str = told["model"]
    if os.path.isabs(model) and not os.path.exists(model):
        raise FileNotFoundError(
            f"the gallery {path} was filled with the model {model}, which is not there; name it by "
            "--model"
        )
    return model, told["architecture"]
