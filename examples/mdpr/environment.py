"""Where a run was made: versions, machine, the commit of the code."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def describe_environment(folder: str | Path) -> dict[str, Any]:
    """Return versions, machine and the commit of the code in ``folder``, to be kept with a run."""
    return {
        "command": sys.argv,
        "commit": _commit(folder),
        "devices": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("reidblocks", "torch", "torchvision")},
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from its folder
        return None


def _commit(folder: str | Path) -> str | None:
    """Return the commit checked out, with "+" where files differ from it; None outside of git."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True, text=True, check=True, timeout=10,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" * bool(changes)
