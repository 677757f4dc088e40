"""Which devices have float64, and what is done on those that have not."""

import warnings
from functools import cache

import torch
from torch import Tensor


@cache
def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64: Apple's MPS and some XPUs do not."""
    if device.type in ("cpu", "cuda", "meta"):
        return True
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def where_float64_is(tensor: Tensor) -> Tensor:
    """Return the tensor on a device with float64: on its own, or on the CPU, and say so once."""
    if has_float64(tensor.device):
        return tensor
    _say_once(tensor.device.type)
    return tensor.cpu()


@cache
def _say_once(kind: str) -> None:
    warnings.warn(
        f"evaluation compares in float64, which {kind} devices do not have: features are moved to "
        "the CPU. Training and embedding stay where they are",
        stacklevel=4,
    )
