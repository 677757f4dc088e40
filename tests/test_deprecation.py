"""An old name works, warns at the caller's line, and says what to write."""

import warnings

import pytest

from reidblocks._deprecation import renamed


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def test_an_old_name_works_and_says_the_new_one() -> None:
    old = renamed(add, "plus", removed_in="0.3")
    said = r"^plus is now add; the old name is removed in 0\.3$"
    with pytest.warns(DeprecationWarning, match=said) as caught:
        assert old(2, b=3) == 5
    assert caught[0].filename == __file__  # the user's line, not ours
    assert (old.__name__, old.__doc__) == ("plus", "Add.")


def test_the_new_name_is_silent() -> None:
    renamed(add, "plus", removed_in="0.3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert add(1) == 2


def test_an_error_of_the_new_function_comes_through() -> None:
    old = renamed(int, "number", removed_in="0.3")
    with (
        pytest.warns(DeprecationWarning, match="number is now int"),
        pytest.raises(ValueError, match="invalid literal"),
    ):
        old("one")
