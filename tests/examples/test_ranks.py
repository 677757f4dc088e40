"""Two processes are one: the same losses, parameters and figures, by real processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reidblocks.data import synthetic_people

WORKER = Path(__file__).with_name("ranks_worker.py")
EXAMPLES = WORKER.parents[2] / "examples" / "mdpr"


GPUS = torch.cuda.device_count()
two_gpus = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs, as NCCL takes one a process")


@pytest.fixture(scope="module", params=["gloo", pytest.param("nccl", marks=two_gpus)])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Of one process alone, and of each of two."""
    folder = tmp_path_factory.mktemp("ranks")
    people = synthetic_people(
        folder, num_train_identities=8, num_test_identities=4, images_per_camera=2,
        num_cameras=2, size=(32, 16),
    )  # fmt: skip
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "" if request.param == "gloo" else "0,1",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, WORKER, people, folder, str(port)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    names = ("of-1-rank-0", "of-2-rank-0", "of-2-rank-1")
    return [torch.load(folder / f"{name}.pt", map_location="cpu") for name in names]


@pytest.mark.parametrize("case", ["fixed", "synced"])
@pytest.mark.parametrize("rank", [0, 1])
def test_two_ranks_learn_what_one_does(results: list[dict], case: str, rank: int) -> None:
    one, two = results[0][case], results[1 + rank][case]
    close = {"rtol": 1e-9, "atol": 1e-9}
    for (terms, norm, shares, _), (others, other_norm, other_shares, _) in zip(
        one["taken"], two["taken"], strict=True
    ):
        assert len(terms) > 15
        torch.testing.assert_close(others, terms, **close)
        torch.testing.assert_close(other_norm, norm, **close)
        torch.testing.assert_close(other_shares, shares, rtol=1e-7, atol=1e-9)
    shares = one["taken"][0][2]
    assert len(shares) > 15
    assert sum(shares.values()) == pytest.approx(1)
    losses = [terms["total"] for terms, *_ in one["taken"]]
    assert len(set(losses)) == len(losses)  # it did learn
    for part in ("state", "criterion", "ema"):
        assert one[part].keys() == two[part].keys()
        for name, value in one[part].items():
            torch.testing.assert_close(
                two[part][name], value, **close, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_the_sharded_evaluation_is_the_whole_one_to_the_last_bit(results: list[dict]) -> None:
    one, *two = results
    for rank in two:
        assert torch.equal(rank["query"], one["query"])
        assert torch.equal(rank["gallery"], one["gallery"])
        assert torch.equal(rank["ids"], one["ids"])
        assert rank["figures"] == one["figures"]


def test_the_first_process_picks_the_precision_of_all(results: list[dict]) -> None:
    assert [rank["precision"] for rank in results[1:]] == ["bfloat16", "bfloat16"]
