"""Similarity and distance matrices and pair masks, against loops in float64."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from reidblocks.losses import cosine_similarity_matrix, euclidean_distance_matrix, pair_masks
from reidblocks.testing import embeddings_and_labels

MATRICES = [cosine_similarity_matrix, euclidean_distance_matrix]


def over_pairs(measure, left: Tensor, right: Tensor | None = None) -> Tensor:
    left = left.double()
    right = left if right is None else right.double()
    return torch.stack([torch.stack([measure(x, y) for y in right]) for x in left])


def naive_cosines(left: Tensor, right: Tensor | None = None) -> Tensor:
    def cosine(x: Tensor, y: Tensor) -> Tensor:
        either_zero = not x.any() or not y.any()
        return 0 * (x.sum() + y.sum()) if either_zero else (x / x.norm()) @ (y / y.norm())

    return over_pairs(cosine, left, right)


def naive_distances(left: Tensor, right: Tensor | None = None) -> Tensor:
    return over_pairs(lambda x, y: (x - y).norm(), left, right)


def expect_gradients(matrix, naive, sets: list[Tensor], tolerance: float) -> None:
    """Compare gradients of a sum whose random weights leave no symmetry."""
    found = []
    for function in (matrix, naive):
        inputs = [each.clone().requires_grad_() for each in sets]
        entries = function(*inputs)
        weights = torch.rand(entries.shape, generator=torch.Generator().manual_seed(1))
        (weights * entries).sum().backward()
        found.append([each.grad for each in inputs])
    for ours, loops in zip(*found, strict=True):
        allowed = tolerance * loops.abs().max().item()
        torch.testing.assert_close(ours, loops, rtol=0, atol=allowed)


@given(embeddings_and_labels())
def test_cosines_are_those_of_a_loop(batch):
    embeddings, _ = batch
    found = cosine_similarity_matrix(embeddings)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive_cosines(embeddings), rtol=0, atol=3e-7)


@given(embeddings_and_labels())
def test_distances_are_those_of_a_loop(batch):
    embeddings, _ = batch
    found = euclidean_distance_matrix(embeddings)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive_distances(embeddings), rtol=1e-6, atol=0)


def test_values_worked_out_by_hand():
    left, right = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0], [-3.0, -4.0]])
    torch.testing.assert_close(cosine_similarity_matrix(left, right), torch.tensor([[0.8, -1.0]]))
    expected = torch.tensor([[13.0**0.5, 10.0]])
    torch.testing.assert_close(euclidean_distance_matrix(left, right), expected)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
@pytest.mark.parametrize("dim", [2, 64, 512])
def test_two_tight_clusters_far_from_the_origin_keep_their_distances(offset, dim):
    noise = torch.randn(12, dim)
    side = torch.tensor([1.0, -1.0]).repeat(6)[:, None]
    embeddings = offset * side + 1e-3 * noise
    found = euclidean_distance_matrix(embeddings).double()
    exact = naive_distances(embeddings)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    expect_gradients(euclidean_distance_matrix, naive_distances, [embeddings], 1e-5)


@pytest.mark.parametrize("scale", [1e20, 1.0, 1e-20])
def test_gradients_are_those_of_the_loops_at_any_scale(scale):
    left, right = scale * torch.randn(5, 8), scale * torch.randn(4, 8)
    expect_gradients(euclidean_distance_matrix, naive_distances, [left, right], 1e-5)
    expect_gradients(cosine_similarity_matrix, naive_cosines, [left, right], 1e-5)


def test_cosines_do_not_depend_on_the_length_of_any_vector():
    embeddings = torch.randn(6, 8)
    lengths = torch.tensor([1e20, 1e-20, 1.0, 1e30, 1e-30, 3.0])[:, None]
    torch.testing.assert_close(
        cosine_similarity_matrix(embeddings * lengths),
        cosine_similarity_matrix(embeddings),
        rtol=0,
        atol=3e-7,
    )


def test_nearly_equal_directions_keep_the_digits_of_their_gradient():
    embeddings = 1000 + 1e-3 * torch.randn(6, 16)
    expect_gradients(cosine_similarity_matrix, naive_cosines, [embeddings], 1e-5)


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


def test_the_gradient_at_distance_0_is_0():
    embeddings = torch.ones(3, 4).requires_grad_()
    distances = euclidean_distance_matrix(embeddings)
    assert not distances.any()
    distances.sum().backward()
    assert not embeddings.grad.any()


@pytest.mark.parametrize("matrix", MATRICES)
def test_gradients_are_those_of_the_values(matrix):
    left = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    right = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix, (left,))
    assert torch.autograd.gradcheck(matrix, (left, right))


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(matrix, dtype):
    embeddings = (300 * torch.randn(5, 8)).to(dtype)
    expected = matrix(embeddings.float())
    assert torch.equal(matrix(embeddings), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(matrix(embeddings), expected)


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_same_set_twice_is_one_set(matrix):
    embeddings = torch.randn(3, 4)
    assert torch.equal(matrix(embeddings, embeddings), matrix(embeddings))


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0)])
def test_empty_sets_give_empty_matrices_and_gradients_of_0(matrix, sizes):
    left, right = (torch.randn(size, 4, requires_grad=True) for size in sizes)
    entries = matrix(left, right)
    assert entries.shape == sizes
    entries.sum().backward()
    assert not left.grad.any()
    assert not right.grad.any()


@pytest.mark.parametrize("matrix", MATRICES)
def test_compiles_to_one_graph_and_exports(matrix):
    inputs = torch.randn(4, 3), torch.randn(5, 3)
    compiled = torch.compile(matrix, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), matrix(*inputs))

    class Module(torch.nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return matrix(left, right)

    exported = torch.export.export(Module(), inputs)
    torch.testing.assert_close(exported.module()(*inputs), matrix(*inputs))


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrix_errors(matrix):
    name = matrix.__name__
    with pytest.raises(ValueError, match=rf"{name} expects embeddings \(B, D\), got \(2, 3, 1\)"):
        matrix(torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match=r"second set \(G, 3\) beside embeddings \(2, 3\), got"):
        matrix(torch.ones(2, 3), torch.ones(2, 4))


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


def test_masks_of_some_rows_are_those_rows_of_the_masks():
    labels = torch.tensor([1, 2, 1, 1, 2])
    for part, whole in zip(pair_masks(labels, rows=slice(2, 4)), pair_masks(labels), strict=True):
        assert torch.equal(part, whole[2:4])


def test_mask_errors():
    with pytest.raises(ValueError, match=r"pair_masks expects labels \(B\), got \(2, 1\)"):
        pair_masks(torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"pair_masks expects other_labels \(G\), got \(\)"):
        pair_masks(torch.ones(2), torch.tensor(1))
