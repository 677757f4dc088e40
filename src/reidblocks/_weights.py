"""Tensors found in what a toolbox saved, and held to be weights of a network."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def flatten(content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested mappings, each under the path that leads to it."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{path}{key}.")
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            native = value.astype(value.dtype.newbyteorder("="))  # a copy, in this machine's order
            yield f"{path}{key}", torch.from_numpy(native)
        elif isinstance(value, Tensor):
            yield f"{path}{key}", value


def expect_usable(taken: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Raise where a weight is no number of the network's precision, or a variance is negative."""
    if absent := [name for name, value in taken.items() if value.is_meta]:
        raise ValueError(
            f"{where} is on the meta device: {absent[0]} has a shape and no values. Read it with "
            'map_location="cpu"'
        )
    for name, value in taken.items():
        plain = value.layout == torch.strided and value.is_floating_point()
        if own[name].is_floating_point() and not plain:
            kind = value.dtype if value.layout == torch.strided else value.layout
            raise ValueError(
                f"{where} holds {kind} in {name}: expected plain floating-point weights, as "
                "state_dict() of a trained network gives them"
            )
    bad = [name for name, value in taken.items() if not value.to(own[name].dtype).isfinite().all()]
    if bad:
        raise ValueError(
            f"{where} holds values that are NaN or infinite in {own[bad[0]].dtype} for {len(bad)} "
            f"of {len(taken)} weights, such as {bad[0]}: take a checkpoint from before the "
            "training diverged"
        )
    for name, value in taken.items():
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{where} holds a negative variance in {name}: the file is damaged")
