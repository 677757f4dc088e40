"""Seeds, means, signals, shares of the gradient, and a world of one."""

import signal

import pytest
import torch
from torch import nn

from reidblocks.training import (
    RunningMeans,
    StopRequest,
    World,
    gradient_shares,
    join_world,
    seed_step,
)


def test_a_step_is_seeded_by_its_place_alone() -> None:
    drawn = {}
    for place in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 10, 0), (0, 1, 00)]:
        torch.rand(7)
        seed_step(*place)
        drawn.setdefault(place, []).append(torch.rand(4))
    assert torch.equal(*drawn.pop((0, 1, 0)))
    assert len({tuple(values.tolist()) for (values,) in drawn.values()}) == len(drawn)


def test_means_go_on_from_a_state() -> None:
    means = RunningMeans()
    assert means.means() == {}
    means.add({"a": 1.0, "b": 4.0})
    other = RunningMeans()
    other.load_state_dict(means.state_dict())
    means.add({"a": 100.0, "b": 100.0})  # the state is a copy
    other.add({"a": 2.0, "b": 6.0})
    assert other.means() == {"a": 1.5, "b": 5.0}


def test_a_first_signal_is_noted_and_a_second_acts() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGINT)
        assert stop.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_shares_are_the_norms_of_each_terms_gradient() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    output = network(torch.rand(5, 3, dtype=torch.float64))
    terms = {
        "a": output.square().sum(), "b": 3 * output[:, 0].sum(), "none": torch.tensor(2.0),
    }  # fmt: skip
    shares = gradient_shares(terms, [*network.parameters(), frozen])
    norms = {}
    for name in ("a", "b"):
        network.zero_grad()
        terms[name].backward(retain_graph=True)
        norms[name] = sum(p.grad.square().sum() for p in network.parameters()).sqrt().item()
    total = sum(norms.values())
    assert shares == pytest.approx({"a": norms["a"] / total, "b": norms["b"] / total, "none": 0})
    network.zero_grad()
    gradient_shares({"a": terms["a"]}, network.parameters())
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())
    assert gradient_shares({"a": 0 * terms["a"]}, network.parameters()) == {"a": 0}


def test_a_world_of_one_shares_with_nobody() -> None:
    world = join_world(torch.device("cpu"))
    assert world == World(0, 1, torch.device("cpu"))
    assert world.is_main
    values = torch.rand(3)
    assert world.mean(values) is values
    assert world.first("a") == "a"
    world.share_buffers(nn.BatchNorm1d(2))
    world.leave()
