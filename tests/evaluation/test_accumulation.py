from types import SimpleNamespace

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from reidblocks._distributed import leave_group
from reidblocks.evaluation import FeatureAccumulator, Features, extract_features


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


def test_a_batch_may_be_overwritten_after_it_was_given():
    batch = {
        "values": torch.randn(2, 3),
        "ids": torch.tensor([1, 2]),
        "cameras": torch.tensor([3, 4]),
        "sequences": torch.tensor([5, 6]),
        "positions": torch.tensor([0, 1]),
    }
    before = {name: given.clone() for name, given in batch.items()}
    side = FeatureAccumulator()
    side.update(**batch)
    for given in batch.values():
        given.zero_()
    found = side.compute()
    for name in ("values", "ids", "cameras", "sequences"):
        assert torch.equal(getattr(found, name), before[name])


def test_labels_and_positions_may_be_lists():
    side = FeatureAccumulator()
    side.update(torch.tensor([[1.0], [0.0]]), [7, 8], positions=[1, 0])
    assert side.compute().values.tolist() == [[0.0], [1.0]]
    assert side.compute().ids.tolist() == [8, 7]


def test_bad_input_is_refused_by_name():
    side = FeatureAccumulator()
    side.update(torch.randn(2, 3), torch.arange(2))
    with pytest.raises(ValueError, match="expects values, ids in every batch, got values, ids, ca"):
        side.update(torch.randn(2, 3), torch.arange(2), torch.arange(2))
    with pytest.raises(ValueError, match=r"positions \(2,\), one for each row.*got \(3,\)"):
        side.update(torch.randn(2, 3), torch.arange(2), positions=torch.arange(3))
    with pytest.raises(TypeError, match="positions as whole numbers, got 'a' in row 0"):
        side.update(torch.randn(2, 3), torch.arange(2), positions=["a", "b"])
    with pytest.raises(ValueError, match=r"values \(B, 3\) as in the batches before, got \(2, 4\)"):
        side.update(torch.randn(2, 4), torch.arange(2))
    assert len(side.compute()) == 2


def batch(image, n):
    told = {"label": torch.tensor([n]), "camera": torch.tensor([1]), "path": [f"{n}.png"]}
    return SimpleNamespace(image=image, position=torch.tensor([n]), **told)


def gather_on_one_rank(rank, folder, values):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    side = FeatureAccumulator()
    positions = torch.arange(rank, 6, 2) % 5  # five images over two ranks: image 0 comes twice
    side.update(values[positions], positions, positions=positions)
    found = side.compute(gather=True)
    assert torch.equal(found.values, values)
    assert found.ids.tolist() == [0, 1, 2, 3, 4]
    side.reset()
    side.update(values, torch.arange(5) + 10 * rank)
    found = side.compute(gather=True)  # without positions all count, by rank
    assert torch.equal(found.values, torch.cat([values, values]))
    assert found.ids.tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    side.reset()
    side.update(values, positions[:1].expand(5), positions[:1].expand(5) if rank else None)
    with pytest.raises(ValueError, match="expects the same labels from every process"):
        side.compute(gather=True)
    side.reset()
    side.update(values[:, : 2 + rank], torch.arange(5))
    with pytest.raises(ValueError, match="of one size from every process, got 2 and 3"):
        side.compute(gather=True)
    loaders = ([0, 2, 4], [1, 3, 0]), ([0, 1, 2, 3, 4], [])  # the second gives one rank nothing
    for places in (both[rank] for both in loaders):
        loader = [batch(values[[n]], n) for n in places]
        found = extract_features(torch.nn.Identity(), loader, gather=True)
        assert torch.equal(found.values, values)
        assert found.ids.tolist() == [0, 1, 2, 3, 4]
        assert found.paths == ["0.png", "1.png", "2.png", "3.png", "4.png"]
        own = extract_features(torch.nn.Identity(), loader) if loader else []
        assert len(own) == len(places)
    with pytest.raises(ValueError, match="of one size from every process, got 2 and 3"):
        extract_features(torch.nn.Identity(), [batch(values[:1, : 2 + rank], 0)], gather=True)
    with pytest.raises(ValueError, match="expects at least one batch, got an empty loader"):
        extract_features(torch.nn.Identity(), [], gather=True)
    leave_group()


def test_every_rank_gets_each_image_once_or_an_error(tmp_path):
    multiprocessing.spawn(gather_on_one_rank, (tmp_path, torch.randn(5, 3)), nprocs=2)


def test_clothes_and_times_are_kept():
    side = Features(torch.randn(6, 3), range(6), clothes=[0, 0, 1, 1, -1, 2], times=[0, 1, 2] * 2)
    found = FeatureAccumulator()
    for rows in ([4, 5], [0, 1], [2, 3]):
        part = side[rows]
        found.update(part.values, part.ids, positions=rows, clothes=part.clothes, times=part.times)
    assert found.compute() == side
