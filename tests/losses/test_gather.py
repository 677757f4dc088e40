"""The losses of a gathered batch, in real processes: their gradients are those of one process."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reidblocks.losses import gather_batch

WORKER = Path(__file__).with_name("gather_worker.py")


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("gather_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("gather")
    outputs = [folder / f"rank{rank}.pt" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), "2", folder / "rendezvous", output],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return [torch.load(output) for output in outputs]


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (8, 0)])
@pytest.mark.parametrize("loss_name", ["circle", "triplet", "classes"])
def test_averaged_gradients_are_those_of_the_whole_batch(ranks, worker, loss_name, sizes):
    expected = worker.gradients(loss_name, worker.images(), worker.LABELS)
    assert any(gradient.any() for gradient in expected.values())
    for found in ranks:
        torch.testing.assert_close(found[loss_name, *sizes], expected, rtol=1e-10, atol=1e-10)


def test_own_anchors_against_the_gathered_batch_get_the_true_gradient(ranks, worker):
    """Each rank's anchors against all, itself included; so is every anchor in one process."""
    network = worker.Network()
    embeddings = network.embed(worker.images())
    # a copy as the second set: there, too, each anchor meets itself
    second = {"other_embeddings": embeddings.clone(), "other_labels": worker.LABELS}
    losses = worker.circle_loss(embeddings, worker.LABELS, reduction="none", **second)
    (losses.sum() / 8).backward()
    for found in ranks:
        gradient = found["own anchors", 4, 4]["embed.weight"]
        torch.testing.assert_close(gradient, network.embed.weight.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (8, 0)])
def test_parts_come_in_the_order_of_the_ranks(ranks, worker, sizes):
    for found in ranks:
        assert torch.equal(found["gathered", *sizes], worker.images())
        assert torch.equal(found["labels", *sizes], worker.LABELS)


def test_without_processes_it_is_the_tensor_itself():
    embeddings, labels = torch.randn(3, 2, requires_grad=True), torch.arange(3)
    gathered, all_labels = gather_batch(embeddings, labels)
    assert gathered is embeddings
    assert all_labels is labels


def test_without_processes_it_compiles():
    compiled = torch.compile(gather_batch, fullgraph=True, backend="aot_eager")
    embeddings, labels = compiled(torch.ones(3, 2), torch.arange(3))
    assert embeddings.shape == (3, 2)
    assert labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (8, 0)])
def test_second_derivatives_are_those_of_the_whole_batch(ranks, worker, sizes):
    """Every process has the whole loss, and so two times the gradient and four times its square."""
    expected = worker.penalty(worker.images(), worker.LABELS)
    assert expected.any()
    found = torch.cat([each["penalty", *sizes] for each in ranks])
    torch.testing.assert_close(found, 4 * expected, rtol=1e-9, atol=1e-9)


def test_errors():
    message = r"gather_batch expects a label for each embedding, got labels \(2,\) and .* \(3, 2\)"
    with pytest.raises(ValueError, match=message):
        gather_batch(torch.ones(3, 2), torch.arange(2))
    with pytest.raises(ValueError, match=r"expects embeddings \(B, ...\), got \(\)"):
        gather_batch(torch.tensor(1.0), torch.tensor(1))
