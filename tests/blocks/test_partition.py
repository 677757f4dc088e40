from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.blocks import BNNeckHead, HardPartitionHead, split_stripes
from reidblocks.testing import feature_maps


@given(feature_maps(), st.integers(1, 9))
def test_stripes_are_equal_and_top_to_bottom_or_an_error(maps: Tensor, num_parts: int) -> None:
    height = maps.shape[2]
    if height % num_parts:
        with pytest.raises(ValueError, match=f"expects a height that {num_parts} stripes divide"):
            split_stripes(maps, num_parts)
        return
    stripes = split_stripes(maps, num_parts)
    assert len(stripes) == num_parts
    size = height // num_parts
    for index, stripe in enumerate(stripes):
        assert torch.equal(stripe, maps[:, :, index * size : (index + 1) * size])
        assert stripe.untyped_storage().data_ptr() == maps.untyped_storage().data_ptr()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_each_stripe_and_the_whole_have_a_head_of_their_own(num_parts: int, training: bool) -> None:
    head = HardPartitionHead(4, 3, num_parts).train(training)
    features = torch.rand(4, 4, 6, 3)
    out = head(features)
    assert out.whole.maps.shape == (4, 3, 6, 3)
    torch.testing.assert_close(tuple(out.whole), tuple(head.whole(features)))
    assert len(out.parts) == num_parts
    height = 6 // num_parts
    for index, (part, own) in enumerate(zip(out.parts, head.parts, strict=True)):
        crop = features[:, :, index * height : (index + 1) * height]
        torch.testing.assert_close(tuple(part), tuple(own(crop)))
        assert part.maps.shape == (4, 3, height, 3)
    pointers = [parameter.data_ptr() for parameter in head.parameters()]
    assert len(set(pointers)) == len(pointers) == (num_parts + 1) * 5  # conv, 2 of BN, p, 1 of BN


def test_the_heads_are_built_by_the_caller() -> None:
    built = list[tuple[int, int]]()

    def head(in_channels: int, embed_dim: int) -> nn.Module:
        built.append((in_channels, embed_dim))
        return BNNeckHead(in_channels)

    out = HardPartitionHead(4, 3, num_parts=2, head=head)(torch.rand(2, 4, 6, 3))
    assert built == [(4, 3)] * 3
    assert out.whole.embedding.shape == out.parts[1].embedding.shape == (2, 4)


def test_one_stripe_is_the_whole_map() -> None:
    head = HardPartitionHead(4, 3, num_parts=1)
    head.parts[0].load_state_dict(head.whole.state_dict())
    out = head(torch.rand(4, 4, 5, 3))
    torch.testing.assert_close(tuple(out.parts[0]), tuple(out.whole))


def test_a_stripe_sees_nothing_of_the_others() -> None:
    head = HardPartitionHead(4, 3, num_parts=3).eval()
    features = torch.rand(2, 4, 6, 3, requires_grad=True)
    head(features).parts[1].embedding.sum().backward()
    assert features.grad is not None
    seen = features.grad.abs().sum((0, 1, 3)) > 0  # by row
    assert not seen[:2].any()
    assert seen[2:4].any()
    assert not seen[4:].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HardPartitionHead(4, 3, 0), "HardPartitionHead expects num_parts above 0, got 0"),
        (
            lambda: HardPartitionHead(0, 3, 2),
            "HardPartitionHead expects in_channels above 0, got 0",
        ),
        (lambda: HardPartitionHead(4, 0, 2), "HardPartitionHead expects embed_dim above 0, got 0"),
        (
            lambda: HardPartitionHead(4, 3, 2)(torch.rand(2, 4, 7, 3)),
            r"HardPartitionHead expects a height that 2 stripes divide evenly, got features "
            r"\(2, 4, 7, 3\); "
            "choose an image height whose feature map is a multiple of 2 high",
        ),
        (
            lambda: HardPartitionHead(4, 3, 2)(torch.rand(2, 4)),
            r"HardPartitionHead expects features \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: HardPartitionHead(4, 3, 2)(torch.rand(2, 5, 6, 3)),
            r"HardPartitionHead expects features \(·, 4, ·, ·\), got \(2, 5, 6, 3\)",
        ),
        (
            lambda: split_stripes(torch.rand(2, 4), 2),
            r"split_stripes expects maps \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: split_stripes(torch.rand(2, 4, 7, 3), 2),
            r"split_stripes expects a height that 2 stripes .* got maps \(2, 4, 7, 3\)",
        ),
        (
            lambda: split_stripes(torch.rand(2, 4, 6, 3), 0),
            "split_stripes expects num_parts above 0, got 0",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
