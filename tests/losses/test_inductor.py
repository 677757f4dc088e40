"""The losses through torch's own compiler, batch after batch of another size."""

import pytest
import torch

from reidblocks.losses import batch_hard_triplet_loss, circle_loss, euclidean_distance_matrix

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loss", [circle_loss, batch_hard_triplet_loss])
def test_compiled_losses_are_those_of_eager(loss):
    compiled = torch.compile(loss, fullgraph=True)
    labels = torch.arange(24) // 3
    for size in (24, 18, 9):
        embeddings = torch.randn(size, 64, requires_grad=True)
        found, expected = (call(embeddings, labels[:size]) for call in (compiled, loss))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, embeddings), torch.autograd.grad(expected, embeddings)
        )


def test_the_rounding_that_distances_rest_on_survives_the_compiler():
    side = torch.tensor([1.0, -1.0]).repeat(12)[:, None]
    embeddings = 1000 * side + 1e-3 * torch.randn(24, 64)
    compiled = torch.compile(euclidean_distance_matrix, fullgraph=True)
    exact = torch.cdist(
        embeddings.double(), embeddings.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    torch.testing.assert_close(compiled(embeddings).double(), exact, rtol=1e-6, atol=0)
