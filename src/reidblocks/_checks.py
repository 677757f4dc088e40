"""What every part asks of its input, said the same way everywhere.

``torch.fx.symbolic_trace`` calls a part with stand-ins (``Proxy``) that have neither shape nor
dtype. Checks of a tensor let them pass; what depends on a dtype is traced as a call of its own.
"""

import torch
from torch import Tensor
from torch.fx import Proxy, wrap


def is_traced(*values: object) -> bool:
    """Return whether any of these is a stand-in of ``torch.fx``, which no check can look at."""
    return any(isinstance(each, Proxy) for each in values)


def expect_shape(caller: str, name: str, tensor: Tensor, shape: str) -> None:
    """Raise unless ``tensor`` has one dimension for each letter of ``shape`` ("B C H W").

    "... B D" asks for at least two.
    """
    if is_traced(tensor):
        return
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{caller} expects {name} as a tensor, got {type(tensor).__name__}")
    letters = shape.split()
    leading = letters[0] == "..."
    if tensor.dim() < len(letters) - leading or (tensor.dim() > len(letters) and not leading):
        raise ValueError(f"{caller} expects {name} ({', '.join(letters)}), got {_shape(tensor)}")


def expect_size(caller: str, name: str, tensor: Tensor, dim: int, size: int) -> None:
    """Raise unless ``tensor`` is ``size`` long in dimension ``dim``."""
    if is_traced(tensor, size) or tensor.shape[dim] == size:
        return
    wanted = ["·"] * tensor.dim()
    wanted[dim] = str(size)
    raise ValueError(f"{caller} expects {name} ({', '.join(wanted)}), got {_shape(tensor)}")


def expect_positive(caller: str, **values: float) -> None:
    """Raise unless every value, named by its keyword, is above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{caller} expects {name} above 0, got {value}")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert half precision and whole numbers to float32; leave float32 and float64."""
    return _at_least_float32(tensor)


@wrap
def _at_least_float32(tensor: Tensor) -> Tensor:
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
