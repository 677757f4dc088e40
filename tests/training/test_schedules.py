"""Warm-up and cosine are those of the formula, for each group by its own rate."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.training import warmup_cosine


def rates(steps: int, warmup: int, first: float, last: float) -> list[list[float]]:
    """Return the rates of two groups, 1 and 0.1, before each step and after the last."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    schedule = warmup_cosine(optimizer, steps=steps, warmup_steps=warmup, first=first, last=last)
    found = [schedule.get_last_lr()]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(schedule.get_last_lr())
    return found


@given(st.integers(1, 30), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1))
def test_it_is_the_formula(steps: int, warmup: int, first: float, last: float) -> None:
    for step, (one, tenth) in enumerate(rates(steps, warmup, first, last)):
        if step < warmup:
            expected = first + (1 - first) * step / warmup
        else:
            done = (step - warmup) / max(1, steps - warmup)
            expected = last + (1 - last) * (1 + math.cos(math.pi * min(1, done))) / 2
        assert one == pytest.approx(expected, abs=1e-12)
        assert tenth == pytest.approx(0.1 * expected, abs=1e-12)


def test_its_ends_are_those_asked_for() -> None:
    found = [one for one, _ in rates(10, 4, 0.25, 0.01)]
    assert (found[0], found[4], found[-1]) == (0.25, 1.0, 0.01)
    assert found[:5] == sorted(found[:5])
    assert found[4:] == sorted(found[4:], reverse=True)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of at least 0, got 4, -1, 0\.5 and 0"):
        rates(4, -1, 0.5, 0)
