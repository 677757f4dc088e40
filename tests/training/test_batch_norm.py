"""Batch normalisation over two real processes is that of one with the whole batch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from reidblocks.training import SyncBatchNorm, synchronize_batch_norm

WORKER = Path(__file__).with_name("batch_norm_worker.py")


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("batch_norm_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GPUS = torch.cuda.device_count()


@pytest.mark.parametrize(
    ("backend", "devices"),
    [
        ("gloo", ("cpu", "cpu")),
        # On GPUs it is torch's own, whose processes may share one unless they talk by NCCL.
        pytest.param(
            "gloo", ("cuda:0", "cuda:0"), marks=pytest.mark.skipif(GPUS < 1, reason="needs a GPU")
        ),
        pytest.param(
            "nccl",
            ("cuda:0", "cuda:1"),
            marks=pytest.mark.skipif(GPUS < 2, reason="needs two GPUs"),
        ),
    ],
)
def test_two_ranks_normalise_as_one(
    worker, tmp_path: Path, backend: str, devices: tuple[str, str]
) -> None:
    outputs = [tmp_path / f"rank{rank}.pt" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [
                sys.executable, WORKER, str(rank), "2", tmp_path / "rendezvous", output, backend,
                devices[rank],
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    ranks = [torch.load(output, map_location="cpu") for output in outputs]
    whole = worker.results(worker.network(), list(range(6)))
    close = {"rtol": 1e-10, "atol": 1e-10}
    for name in ("output", "images", "eval"):
        joined = torch.cat([rank[name] for rank in ranks])
        torch.testing.assert_close(joined, whole[name], **close)
    summed = [a + b for a, b in zip(*(rank["parameters"] for rank in ranks), strict=True)]
    torch.testing.assert_close(summed, whole["parameters"], **close)
    for rank in ranks:
        torch.testing.assert_close(rank["state"], whole["state"], **close)


def test_alone_it_is_batch_norm_and_keeps_the_tensors() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3, momentum=0.2))
    plain[1].bias.requires_grad_(False)
    images = torch.rand(5, 3, 2, 2)
    expected = plain(images)
    plain[1].reset_running_stats()
    before = dict(plain.named_parameters()) | dict(plain.named_buffers())
    synced = synchronize_batch_norm(plain, torch.device("cpu"))
    assert type(synced[1]) is SyncBatchNorm
    assert (synced[1].eps, synced[1].momentum) == (1e-3, 0.2)
    after = dict(synced.named_parameters()) | dict(synced.named_buffers())
    assert all(after[name] is tensor for name, tensor in before.items())
    assert not synced[1].bias.requires_grad
    assert torch.equal(synced(images), expected)
    assert type(
        synchronize_batch_norm(nn.Sequential(nn.BatchNorm1d(3)).eval(), torch.device("cpu"))[0]
    )
    assert not synced.eval()[1].training


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"SyncBatchNorm expects \(B, C, ...\), got \(3,\)"):
        SyncBatchNorm(3)(torch.rand(3))
