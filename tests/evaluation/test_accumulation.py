import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from reidblocks.evaluation import FeatureAccumulator


def test_batches_are_joined_in_order():
    values, ids, cameras = torch.randn(7, 3), torch.arange(7), torch.arange(7) % 2
    side = FeatureAccumulator()
    for rows in torch.arange(7).split(3):
        side.update(values[rows], ids[rows], cameras[rows])
    found = side.compute()
    assert torch.equal(found.values, values)
    assert torch.equal(found.ids, ids)
    assert torch.equal(found.cameras, cameras)
    assert found.sequences is None
    side.reset()
    with pytest.raises(ValueError, match="at least one batch"):
        side.compute()


def test_positions_restore_the_order_and_drop_repeated_images():
    values = torch.randn(5, 2)
    side = FeatureAccumulator()
    for positions in (torch.tensor([4, 0, 2]), torch.tensor([1, 3, 0])):
        side.update(values[positions], positions * 10, positions=positions)
    found = side.compute()
    assert torch.equal(found.values, values)
    assert found.ids.tolist() == [0, 10, 20, 30, 40]


def test_a_batch_keeps_no_graph():
    side = FeatureAccumulator()
    side.update(torch.randn(2, 3, requires_grad=True) * 2, torch.arange(2))
    assert not side.compute().values.requires_grad


def test_bad_input_is_refused_by_name():
    side = FeatureAccumulator()
    side.update(torch.randn(2, 3), torch.arange(2))
    with pytest.raises(ValueError, match="expects values, ids in every batch, got values, ids, ca"):
        side.update(torch.randn(2, 3), torch.arange(2), torch.arange(2))
    with pytest.raises(ValueError, match=r"positions \(2,\), got \(3,\)"):
        side.update(torch.randn(2, 3), torch.arange(2), positions=torch.arange(3))


def gather_on_one_rank(rank, folder, values):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    side = FeatureAccumulator()
    positions = torch.arange(rank, 6, 2) % 5  # five images over two ranks: image 0 comes twice
    side.update(values[positions], positions, positions=positions)
    found = side.compute(gather=True)
    assert torch.equal(found.values, values)
    assert found.ids.tolist() == [0, 1, 2, 3, 4]
    dist.destroy_process_group()


def test_every_rank_gets_each_image_once(tmp_path):
    multiprocessing.spawn(gather_on_one_rank, (tmp_path, torch.randn(5, 3)), nprocs=2)
