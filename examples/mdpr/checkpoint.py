"""Checkpoints of train.py: what must be in them, and which one of a folder is meant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidblocks import training
from reidblocks.training import read_records, save_checkpoint

__all__ = ["expect_finite", "load_checkpoint", "read_records", "save_checkpoint"]


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, or the newest of a run's folder; nothing in it is ever executed."""
    if path.is_dir():
        try:
            state, path, refused = training.Checkpoints(path).newest(device)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"no checkpoint at {path / 'last.pt'}; train.py writes last.pt and best.pt"
            ) from error
        for reason in refused:
            print(f"{reason}\ngoing on with the older {path}")
    else:
        state = training.load_checkpoint(path, device)
    if not {"config", "model", "epoch"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of train.py: it has no config, model and epoch")
    return state


def expect_finite(weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise where a network's weights hold NaN or infinite values."""
    if bad := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(bad)} of its {len(weights)} weights, "
            f"such as {bad[0]}: take a checkpoint from before the training diverged"
        )
