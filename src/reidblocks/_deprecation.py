"""Keep an old public name for one minor version: see docs/contributing/deprecation.md."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(new: Callable[P, R], old_name: str, *, removed_in: str) -> Callable[P, R]:
    """Return a function or class under its old name, which warns at every call.

    Args:
        new: what replaces it; called with the same arguments.
        old_name: the name that users still write.
        removed_in: the version that has the old name no more.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     renamed(abs, "absolute", removed_in="0.3")(-1)
    1
    >>> print(caught[0].message)
    absolute is now abs; the old name is removed in 0.3
    """
    message = f"{old_name} is now {new.__name__}; the old name is removed in {removed_in}"

    @functools.wraps(new, assigned=("__module__", "__doc__"))
    def under_old_name(*args: P.args, **kwargs: P.kwargs) -> R:
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return new(*args, **kwargs)

    under_old_name.__name__ = under_old_name.__qualname__ = old_name
    return under_old_name
