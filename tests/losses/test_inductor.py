"""The losses through torch's own compiler, batch after batch of another size."""

import pytest
import torch

from reidblocks._vectors import in_two_parts
from reidblocks.losses import batch_hard_triplet_loss, circle_loss

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


def test_the_rounding_that_the_choice_of_pairs_rests_on_survives_the_compiler():
    points = 2 * torch.rand(24, 64) - 1
    compiled = torch.compile(in_two_parts, fullgraph=True)
    for found, expected in zip(compiled(points, points), in_two_parts(points, points), strict=True):
        assert torch.equal(found, expected)
