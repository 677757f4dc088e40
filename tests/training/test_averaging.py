import copy

import pytest
import torch
from torch import nn

from reidblocks.training import WeightAverage


def test_it_is_the_average_written_out() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    averaged = WeightAverage(module, 0.5)
    expected = copy.deepcopy(module.state_dict())
    for update in range(1, 12):
        module(torch.rand(5, 3, dtype=torch.float64))  # moves the running means
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += torch.rand_like(parameter)
        decay = min(0.5, (1 + update) / (10 + update))
        for name, value in module.state_dict().items():
            new = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            )
            expected[name] = new.clone()
        averaged.update(module)
    torch.testing.assert_close(averaged.average.state_dict(), expected, rtol=1e-12, atol=1e-12)
    assert not averaged.average.training
    assert module.training
    assert not any(parameter.requires_grad for parameter in averaged.average.parameters())


def test_it_goes_on_from_a_state() -> None:
    module = nn.Linear(2, 2)
    one = WeightAverage(module, 0.9)
    nn.init.ones_(module.weight)
    one.update(module)
    other = WeightAverage(nn.Linear(2, 2), 0.9)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for averaged in (one, other):
        averaged.update(module)
    assert torch.equal(one.average.weight, other.average.weight)
    assert other.updates == 2


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_the_decay_must_be_one(decay: float) -> None:
    with pytest.raises(ValueError, match=r"WeightAverage expects decay in \[0, 1\), got"):
        WeightAverage(nn.Linear(1, 1), decay)
