from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reidblocks.blocks import BNNeck
from reidblocks.testing import embeddings_and_labels


@given(embeddings_and_labels(batch=st.integers(2, 8)))
def test_normalises_each_dimension_over_the_batch(batch: tuple[Tensor, Tensor]) -> None:
    vectors = batch[0].double()
    neck = BNNeck(vectors.shape[1]).double()
    with torch.no_grad():
        neck.bn.weight.uniform_(0.5, 2.0)
    mean = vectors.mean(0)
    variance = ((vectors - mean) ** 2).mean(0)
    expected = neck.bn.weight * (vectors - mean) / (variance + neck.bn.eps).sqrt()
    torch.testing.assert_close(neck(vectors), expected)


def test_in_eval_uses_what_training_has_seen() -> None:
    neck = BNNeck(3).double()
    vectors = torch.randn(5, 3, dtype=torch.float64) * 2 + 1
    neck(vectors)
    mean = 0.1 * vectors.mean(0)
    variance = 0.9 + 0.1 * vectors.var(0)
    expected = (vectors - mean) / (variance + neck.bn.eps).sqrt()
    torch.testing.assert_close(neck.eval()(vectors), expected)


def test_its_bias_stays_0_unless_asked_for() -> None:
    fixed, trained = BNNeck(3), BNNeck(3, bias=True)
    for neck in (fixed, trained):
        optimiser = torch.optim.Adam(
            [parameter for parameter in neck.parameters() if parameter.requires_grad], lr=0.1
        )
        for _ in range(3):
            neck(torch.randn(4, 3)).sum().backward()
            optimiser.step()
    assert not fixed.bn.bias.any()
    assert trained.bn.bias.all()
    assert fixed.state_dict().keys() == trained.state_dict().keys()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BNNeck(0), "BNNeck expects num_features above 0, got 0"),
        (
            lambda: BNNeck(4)(torch.rand(2, 4, 6, 3)),
            r"BNNeck expects vectors \(B, D\), got \(2, 4, 6, 3\)",
        ),
        (
            lambda: BNNeck(4)(torch.rand(3, 5)),
            r"BNNeck expects vectors \(·, 4\), got \(3, 5\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
