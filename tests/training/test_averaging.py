import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from reidblocks.training import averaged_model, ema_with_warmup


def average_of(module: nn.Module, decay: float) -> AveragedModel:
    averaged = AveragedModel(module, multi_avg_fn=ema_with_warmup(decay), use_buffers=True)
    averaged.update_parameters(module)  # the first time it copies
    return averaged


def test_it_is_the_average_written_out() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    averaged = average_of(module, 0.5)
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
        averaged.update_parameters(module)
    torch.testing.assert_close(averaged.module.state_dict(), expected, rtol=1e-12, atol=1e-12)


def test_it_resumes_from_a_state() -> None:
    module = nn.Linear(2, 2)
    one = average_of(module, 0.9)
    nn.init.ones_(module.weight)
    one.update_parameters(module)
    other = average_of(nn.Linear(2, 2), 0.9)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for averaged in (one, other):
        averaged.update_parameters(module)
    assert torch.equal(one.module.weight, other.module.weight)
    assert other.n_averaged == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_late_in_a_run_the_decay_holds(dtype: torch.dtype) -> None:
    """Where 1 − decay is small, it keeps its digits, and a count beyond float16 is no error."""
    update = ema_with_warmup(0.9999)
    for count in (100_000, torch.tensor(100_000)):
        average = torch.zeros(1, dtype=dtype)
        update([average], [torch.ones(1, dtype=dtype)], count)
        expected = torch.tensor([1 - 0.9999], dtype=torch.float64).to(dtype)
        torch.testing.assert_close(average, expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_the_decay_must_be_one(decay: float) -> None:
    with pytest.raises(ValueError, match=r"ema_with_warmup expects decay in \[0, 1\), got"):
        ema_with_warmup(decay)


def test_an_averaged_model_is_a_copy_to_evaluate() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout())
    averaged, other = averaged_model(module, 0.9), average_of(module, 0.9)
    assert not averaged.module.training
    assert module.training
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())
    for _ in range(3):
        module(torch.rand(4, 2))
        nn.init.normal_(module[0].weight)
        averaged.update_parameters(module)
        other.update_parameters(module)
    for name, value in other.state_dict().items():
        assert torch.equal(averaged.state_dict()[name], value), name
