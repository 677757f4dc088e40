"""Seeds, signals and the fractions of a gradient."""

import signal

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reidblocks.training import StopRequest, ema_with_warmup, gradient_shares, seed_step


def test_a_step_is_seeded_by_its_place_alone() -> None:
    drawn = {}
    for place in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 10, 0), (0, 1, 00)]:
        torch.rand(7)
        seed_step(*place)
        drawn.setdefault(place, []).append(torch.rand(4))
    assert torch.equal(*drawn.pop((0, 1, 0)))
    assert len({tuple(values.tolist()) for (values,) in drawn.values()}) == len(drawn)


def test_a_first_signal_is_noted_and_a_second_acts() -> None:
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        _first_and_second_signal()
    finally:
        signal.signal(signal.SIGINT, own)


def _first_and_second_signal() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGINT)
        assert stop.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarm")
def test_a_loaders_process_outlives_the_signal_for_a_while() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        StopRequest.outlive(0)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert 0 < signal.alarm(0) <= 20  # seconds that it had left
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


class WithoutFloat64(TorchDispatchMode):
    """A device that has no float64, as Apple's."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        assert all(tensor.dtype != torch.float64 for tensor in made), function
        return result


def test_a_device_needs_no_float64() -> None:
    weight = nn.Parameter(torch.ones(3))
    average = AveragedModel(nn.Linear(3, 2), multi_avg_fn=ema_with_warmup(0.999), use_buffers=True)
    with WithoutFloat64():
        assert gradient_shares({"a": weight.sum()}, [weight]) == {"a": 1}
        for _ in range(3):
            average.update_parameters(nn.Linear(3, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shares_of_half_precision_do_not_overflow(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.ones(16, dtype=dtype))
    shares = gradient_shares({"a": 3e4 * weight.sum(), "b": 1e4 * weight.sum()}, [weight])
    assert shares == pytest.approx({"a": 0.75, "b": 0.25}, rel=1e-2)


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
