import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reidblocks.blocks import BNNeck
from reidblocks.deploy import fold_for_inference
from reidblocks.testing import embeddings_and_labels


@given(embeddings_and_labels(batch=st.integers(2, 8)))
def test_normalizes_each_dimension_over_the_batch(batch: tuple[Tensor, Tensor]) -> None:
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
        optimizer = torch.optim.Adam(
            [parameter for parameter in neck.parameters() if parameter.requires_grad], lr=0.1
        )
        for _ in range(3):
            neck(torch.randn(4, 3)).sum().backward()
            optimizer.step()
    assert not fixed.bn.bias.any()
    assert trained.bn.bias.all()
    assert fixed.state_dict().keys() == trained.state_dict().keys()


def averaged(neck: BNNeck, use_buffers: bool) -> BNNeck:
    model = AveragedModel(neck, use_buffers=use_buffers)
    for _ in range(3):
        model.update_parameters(neck)
    return model.module


def loaded(neck: BNNeck, assign: bool) -> BNNeck:
    other = BNNeck(3)
    other.load_state_dict(neck.state_dict(), assign=assign)
    return other


def synchronized(neck: BNNeck) -> BNNeck:
    return nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(neck))


def from_meta(neck: BNNeck) -> BNNeck:
    moved = copy.deepcopy(neck).to("meta").to_empty(device="cpu")
    moved.load_state_dict(neck.state_dict())
    return moved


def moved_alone(neck: BNNeck) -> BNNeck:
    neck.bn.half().float()  # without a word to the neck
    return neck


CARRIED: dict[str, Callable[[BNNeck], BNNeck]] = {
    "as it is": lambda neck: neck,
    "deepcopy": copy.deepcopy,
    "pickle": lambda neck: pickle.loads(pickle.dumps(neck)),
    "dtype": lambda neck: copy.deepcopy(neck).half().float(),
    "meta": from_meta,
    "load": lambda neck: loaded(neck, assign=False),
    "load with assign": lambda neck: loaded(neck, assign=True),
    "SyncBatchNorm": synchronized,
    "SyncBatchNorm of another dtype": lambda neck: synchronized(neck.half().float()),
    "SyncBatchNorm of an assigned load": lambda neck: synchronized(loaded(neck, assign=True)),
    "SyncBatchNorm twice": lambda neck: synchronized(synchronized(neck).half().float()),
    "SyncBatchNorm of a norm moved alone": lambda neck: synchronized(moved_alone(neck)),
    "averaged": lambda neck: averaged(neck, use_buffers=False),
    "averaged with buffers": lambda neck: averaged(neck, use_buffers=True),
    "folded": lambda neck: fold_for_inference(neck.eval()),
}


@pytest.mark.parametrize("way", CARRIED)
def test_nothing_trains_a_fixed_bias_by_accident(way: str) -> None:
    neck = BNNeck(3)
    with torch.no_grad():
        neck.bn.bias.fill_(0.5)  # as a checkpoint may hold it
        neck.bn.running_var.fill_(1 - neck.bn.eps)
    neck = CARRIED[way](neck).requires_grad_(True)
    assert list(dict(neck.named_parameters())) == ["bn.weight"]
    optimizer = torch.optim.AdamW(neck.parameters(), lr=0.1, weight_decay=1.0)
    vectors = torch.randn(4, 3)
    for _ in range(3):
        neck.eval()(vectors).square().sum().backward()
        optimizer.step()
    assert (neck.bn.weight != 1).all()
    assert set(neck.state_dict()) == set(BNNeck(3, bias=True).state_dict())
    torch.testing.assert_close(neck.state_dict()["bn.bias"], torch.full((3,), 0.5))
    torch.testing.assert_close(neck(torch.zeros(1, 3)), torch.full((1, 3), 0.5))


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "dtype", "SyncBatchNorm", "averaged"])
def test_a_trained_bias_stays_a_parameter(way: str) -> None:
    neck = CARRIED[way](BNNeck(3, bias=True))
    assert sorted(dict(neck.named_parameters())) == ["bn.bias", "bn.weight"]


def test_transforms_of_the_parameters_leave_a_fixed_bias_out() -> None:
    neck, vectors = BNNeck(3).eval(), torch.randn(4, 3)
    parameters = dict(neck.named_parameters())
    gradients = torch.func.grad(
        lambda values: torch.func.functional_call(neck, values, (vectors,)).square().sum()
    )(parameters)
    assert list(gradients) == ["bn.weight"]


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
