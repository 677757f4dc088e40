"""What every part asks of its input, said the same way everywhere."""

import torch
from torch import Tensor


def expect_shape(caller: str, name: str, tensor: Tensor, shape: str) -> None:
    """Raise unless ``tensor`` has one dimension for each letter of ``shape`` ("B C H W")."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{caller} expects {name} as a tensor, got {type(tensor).__name__}")
    if tensor.dim() != len(shape.split()):
        raise ValueError(
            f"{caller} expects {name} ({', '.join(shape.split())}), got {tuple(tensor.shape)}"
        )


def expect_size(caller: str, name: str, tensor: Tensor, dim: int, size: int) -> None:
    """Raise unless ``tensor`` is ``size`` long in dimension ``dim``."""
    if tensor.shape[dim] != size:
        wanted = ["·"] * tensor.dim()
        wanted[dim] = str(size)
        raise ValueError(
            f"{caller} expects {name} ({', '.join(wanted)}), got {tuple(tensor.shape)}"
        )


def expect_positive(caller: str, **values: float) -> None:
    """Raise unless every value, named by its keyword, is above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{caller} expects {name} above 0, got {value}")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Raise half precision to float32; leave float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
