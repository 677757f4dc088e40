"""Cosines and pair masks, against loops in float64."""

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reidblocks.losses import (
    BatchHardTriplet,
    CircleLoss,
    batch_hard_triplet_loss,
    circle_loss,
    cosine_similarity_matrix,
    pair_masks,
)
from reidblocks.testing import embeddings_and_labels


def over_pairs(measure, left: Tensor, right: Tensor | None = None) -> Tensor:
    left = left.double()
    right = left if right is None else right.double()
    return torch.stack([torch.stack([measure(x, y) for y in right]) for x in left])


def naive_cosines(left: Tensor, right: Tensor | None = None) -> Tensor:
    def cosine(x: Tensor, y: Tensor) -> Tensor:
        either_zero = not x.any() or not y.any()
        return 0 * (x.sum() + y.sum()) if either_zero else (x / x.norm()) @ (y / y.norm())

    return over_pairs(cosine, left, right)


@given(embeddings_and_labels())
def test_cosines_are_those_of_a_loop(batch):
    embeddings, _ = batch
    found = cosine_similarity_matrix(embeddings)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive_cosines(embeddings), rtol=0, atol=3e-7)


def test_cosines_do_not_depend_on_the_length_of_any_vector():
    embeddings = torch.randn(6, 8)
    lengths = torch.tensor([1e20, 1e-20, 1.0, 1e30, 1e-30, 3.0])[:, None]
    torch.testing.assert_close(
        cosine_similarity_matrix(embeddings * lengths),
        cosine_similarity_matrix(embeddings),
        rtol=0,
        atol=3e-7,
    )


def test_a_zero_vector_has_cosine_0_and_no_gradient():
    embeddings = torch.randn(4, 3)
    embeddings[1] = 0
    embeddings.requires_grad_()
    cosines = cosine_similarity_matrix(embeddings)
    assert not cosines[1].any()
    assert not cosines[:, 1].any()
    cosines.square().sum().backward()
    assert not embeddings.grad[1].any()
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad[0].any()


def test_gradients_are_those_of_the_values():
    left = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    right = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cosine_similarity_matrix, (left,))
    assert torch.autograd.gradcheck(cosine_similarity_matrix, (left, right))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    embeddings = (300 * torch.randn(5, 8)).to(dtype)
    expected = cosine_similarity_matrix(embeddings.float())
    assert torch.equal(cosine_similarity_matrix(embeddings), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cosine_similarity_matrix(embeddings), expected)


def test_the_same_set_twice_is_one_set():
    embeddings = torch.randn(3, 4)
    assert torch.equal(
        cosine_similarity_matrix(embeddings, embeddings), cosine_similarity_matrix(embeddings)
    )


@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0)])
def test_empty_sets_give_empty_matrices_and_gradients_of_0(sizes):
    left, right = (torch.randn(size, 4, requires_grad=True) for size in sizes)
    entries = cosine_similarity_matrix(left, right)
    assert entries.shape == sizes
    entries.sum().backward()
    assert not left.grad.any()
    assert not right.grad.any()


def test_compiles_to_one_graph_and_exports():
    inputs = torch.randn(4, 3), torch.randn(5, 3)
    compiled = torch.compile(cosine_similarity_matrix, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), cosine_similarity_matrix(*inputs))

    class Module(torch.nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return cosine_similarity_matrix(left, right)

    exported = torch.export.export(Module(), inputs)
    torch.testing.assert_close(exported.module()(*inputs), cosine_similarity_matrix(*inputs))


def test_masks():
    labels = torch.tensor([5, 6, 5])
    positives, negatives = pair_masks(labels)
    assert positives.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    assert negatives.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_against_a_second_set_every_pair_counts():
    labels = torch.tensor([5, 6])
    positives, negatives = pair_masks(labels, labels.clone())
    assert positives.tolist() == [[True, False], [False, True]]
    assert negatives.tolist() == [[False, True], [True, False]]


def test_values_worked_out_by_hand():
    left, right = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0], [-3.0, -4.0]])
    torch.testing.assert_close(cosine_similarity_matrix(left, right), torch.tensor([[0.8, -1.0]]))


@pytest.mark.parametrize("scale", [1e20, 1.0, 1e-20])
def test_gradients_are_those_of_the_loops_at_any_scale(scale):
    weights = torch.rand(5, 4)  # leave no symmetry
    found = []
    for function in (cosine_similarity_matrix, naive_cosines):
        sets = [scale * torch.arange(k * 8.0).view(k, 8).sin().requires_grad_() for k in (5, 4)]
        found.append(torch.autograd.grad((weights * function(*sets)).sum(), sets))
    for ours, loops in zip(*found, strict=True):
        torch.testing.assert_close(ours, loops, rtol=0, atol=1e-5 * loops.abs().max().item())


def test_leading_dimensions_are_kept():
    left, right = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    found = cosine_similarity_matrix(left, right)
    assert found.shape == (2, 3, 4, 6)
    torch.testing.assert_close(found[1, 2], cosine_similarity_matrix(left[1, 2], right[1, 2]))


def test_whole_numbers_are_vectors_like_any_others():
    vectors = torch.tensor([[3, 4], [4, 3]])
    found = cosine_similarity_matrix(vectors)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.96], [0.96, 1.0]]))


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("other_dtype", INTEGERS)
def test_labels_may_be_of_any_integer_dtype_and_of_two(dtype, other_dtype):
    labels = torch.tensor([5, 6, 5])
    expected = pair_masks(labels, labels.clone())
    found = pair_masks(labels.to(dtype), labels.to(other_dtype))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64])
def test_labels_of_another_dtype_are_refused_by_name(dtype):
    labels = torch.ones(3).to(dtype)
    with pytest.raises(TypeError, match=rf"labels of an integer dtype, .* {dtype}; labels.long"):
        pair_masks(labels)
    with pytest.raises(TypeError, match=f"other_labels of an integer dtype, .* got {dtype}"):
        pair_masks(torch.arange(3), labels)


def test_errors():
    name = "cosine_similarity_matrix"
    with pytest.raises(ValueError, match=rf"{name} expects embeddings \(..., B, D\), got \(3,\)"):
        cosine_similarity_matrix(torch.ones(3))
    with pytest.raises(ValueError, match=rf"{name} expects others \(5, 2, 3\), got \(2, 3\)"):
        cosine_similarity_matrix(torch.ones(5, 4, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match=rf"{name} expects others \(2, 3\), got \(2, 4\)"):
        cosine_similarity_matrix(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"pair_masks expects labels \(B\), got \(2, 1\)"):
        pair_masks(torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"pair_masks expects other_labels \(B\), got \(\)"):
        pair_masks(torch.arange(2), torch.tensor(1))


@pytest.mark.parametrize("loss", [CircleLoss, BatchHardTriplet])
def test_a_loss_prints_its_chunks_where_it_has_any(loss: type[nn.Module]) -> None:
    assert "chunk_size=8" in repr(loss(chunk_size=8))
    assert "chunk_size" not in repr(loss())


@pytest.mark.parametrize("loss", [CircleLoss(), BatchHardTriplet()])
@pytest.mark.parametrize("second", [False, True])
def test_complex_embeddings_are_refused(loss: nn.Module, second: bool) -> None:
    embeddings, labels = torch.randn(4, 8), torch.tensor([0, 0, 1, 1])
    others = (embeddings + 0j, labels) if second else ()
    with pytest.raises(TypeError, match=r"expects real embeddings, got torch.complex64"):
        loss(embeddings if second else embeddings + 0j, labels, *others)


class LiveTensors(TorchDispatchMode):
    """Count the bytes of all tensors that were made within and are still there, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        there = {n: each for n, each in self.storages.items() if not each[0].expired()}
        for each in tree_leaves(results):
            if isinstance(each, Tensor):
                storage = each.untyped_storage()
                reference = StorageWeakRef(storage)
                there[reference.cdata] = reference, storage.nbytes()
        self.storages = there
        self.peak = max(self.peak, sum(size for _, size in there.values()))
        return results


@pytest.mark.parametrize("loss", [circle_loss, batch_hard_triplet_loss])
def test_chunks_bound_what_is_held(loss) -> None:
    """Of 4,096 embeddings of 512 numbers at most 256 MB, in the backward pass too."""
    embeddings = torch.randn(4096, 512, requires_grad=True)
    labels = torch.arange(256).repeat_interleave(16)
    peaks = {}
    for chunk_size in (None, 256):
        with LiveTensors() as live:
            loss(embeddings, labels, chunk_size=chunk_size).backward()
        peaks[chunk_size] = live.peak
    assert peaks[256] < 256 * 2**20
    matrix = 4 * 4096**2  # without chunks there is at least one of all pairs
    assert peaks[None] > matrix > 0.5 * peaks[256]
