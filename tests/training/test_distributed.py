"""One process alone, and two real ones, which talk by gloo."""

import os
import socket
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn

from reidblocks._distributed import sum_over_ranks, world_size
from reidblocks.training import DistributedContext, gradient_shares, init_distributed


def test_alone_everything_stays_as_it_is() -> None:
    context = init_distributed(torch.device("cpu"))
    assert context == DistributedContext(0, 1, torch.device("cpu"))
    assert context.is_main
    assert world_size() == 1
    values = torch.rand(3)
    assert torch.equal(context.mean(values), values)
    assert sum_over_ranks(values) is values
    assert context.broadcast("a") == "a"
    context.broadcast_buffers(nn.BatchNorm1d(2))
    context.destroy()


def test_a_build_of_torch_without_processes_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    monkeypatch.delattr(distributed, "is_initialized")
    weight = nn.Parameter(torch.ones(1))
    assert gradient_shares({"a": 2 * weight.sum()}, [weight]) == {"a": 1}
    assert world_size() == 1


@pytest.mark.parametrize(
    ("device", "has_nccl", "backend"),
    [("cuda", True, "nccl"), ("cuda", False, "gloo"), ("cpu", True, "gloo")],
)
def test_gpus_talk_by_nccl_where_torch_has_it(
    device: str, has_nccl: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "is_nccl_available", lambda: has_nccl)
    monkeypatch.setattr(distributed, "init_process_group", begun.append)
    assert init_distributed(torch.device(device)).world_size == 2
    assert begun == [backend]


def on_one_rank(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    context = init_distributed(torch.device("cpu"))
    assert context == DistributedContext(rank, 2, torch.device("cpu"))
    assert context.is_main == (rank == 0)

    values = torch.arange(6.0).view(2, 3).T + 10 * rank  # not contiguous
    before = values.clone()
    assert torch.equal(sum_over_ranks(values), 2 * torch.arange(6.0).view(2, 3).T + 10)
    assert torch.equal(context.mean(values), torch.arange(6.0).view(2, 3).T + 5)
    assert torch.equal(values, before)

    told: dict[str, Any] = {"rank": rank, "name": "é" * (1 + rank)}
    assert context.broadcast(told) == {"rank": 0, "name": "é"}

    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(rank + 1)
    norm.num_batches_tracked.fill_(rank + 5)
    norm.weight.data.fill_(rank)
    context.broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [1, 1]
    assert norm.num_batches_tracked == 5
    assert norm.weight.tolist() == [rank, rank]  # parameters are DDP's

    weight = nn.Parameter(torch.zeros(2))  # a: (1, 0) and (1, 2); b: (1, 0) and (-1, 0)
    terms = {"a": weight[0] + 2 * rank * weight[1], "b": (1 - 2 * rank) * weight[0]}
    assert gradient_shares(terms, [weight]) == {"a": 1, "b": 0}

    context.destroy()
    context.destroy()  # again does no harm
    assert world_size() == 1


def test_two_processes_share_sums_values_and_buffers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(on_one_rank, (port,), nprocs=2)
