"""Where a run was made: code, versions and machine."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def describe_environment(folder: str | Path) -> dict[str, Any]:
    """Return the environment of a run (command, versions, machine) for JSON.

    Args:
        folder: where the run's code is, in git or not.

    Returns:
        ``command``; ``commit``, with "+" where files differ from it, None outside of git;
        ``devices``, the GPUs; ``machine``; ``python`` and ``versions`` of reidblocks, torch and
        torchvision; ``world_size``, the number of processes.

    >>> describe_environment(".")["world_size"]
    1
    """
    return {
        "command": sys.argv,
        "commit": _commit(folder),
        "devices": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("reidblocks", "torch", "torchvision")},
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }


def _processor() -> str:
    """Return the processor's name where the system tells it, else its kind."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text("utf-8", errors="replace").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from its folder
        return None


def _commit(folder: str | Path) -> str | None:
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" * bool(changes)
