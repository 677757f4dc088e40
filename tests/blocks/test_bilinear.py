from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.blocks import BAP, BNNeck, GeM, bilinear_attention_pool, gem_pool
from reidblocks.testing import attention_maps, feature_maps

SIZES = (st.just(5), st.just(4))  # height and width that features and maps share


@given(
    st.integers(1, 3).flatmap(
        lambda b: st.tuples(
            feature_maps(st.just(b), height=SIZES[0], width=SIZES[1]),
            attention_maps(st.just(b), height=SIZES[0], width=SIZES[1]),
        )
    )
)
def test_the_pool_is_the_loop_over_places(pair: tuple[Tensor, Tensor]) -> None:
    features, maps = pair
    pooled = bilinear_attention_pool(features, maps)
    for b in range(len(features)):
        for k in range(maps.shape[1]):
            for c in range(features.shape[1]):
                product = maps[b, k].double() * features[b, c].double()
                expected = sum(product.flatten().tolist()) / product.numel()
                assert pooled[b, k, c].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("precision", [torch.float16, "autocast"], ids=str)
def test_no_sum_overflows_in_half_precision(precision: torch.dtype | str) -> None:
    features, maps = torch.full((1, 2, 24, 12), 300.0), torch.ones(1, 3, 24, 12)  # sum: 86,400
    if isinstance(precision, torch.dtype):
        features, maps = features.to(precision), maps.to(precision)
    with torch.autocast("cpu", torch.float16, enabled=precision == "autocast"):
        pooled = bilinear_attention_pool(features, maps)
    assert pooled.dtype == features.dtype
    torch.testing.assert_close(pooled.float(), torch.full((1, 3, 2), 300.0), rtol=1e-3, atol=0)


def test_whole_numbers_are_taken_as_float32() -> None:
    pooled = bilinear_attention_pool(torch.ones(1, 2, 2, 2).long(), torch.full((1, 1, 2, 2), 0.5))
    torch.testing.assert_close(pooled, torch.full((1, 1, 2), 0.5))


def test_a_map_of_one_rectangle_gives_the_mean_of_a_crop() -> None:
    features, maps = torch.rand(2, 3, 6, 4), torch.zeros(2, 2, 6, 4)
    maps[:, 0, :3] = 1.0
    maps[:, 1, 4:, 1:3] = 1.0
    share = maps.mean((2, 3), keepdim=True)[..., 0]  # of the whole map
    pooled = bilinear_attention_pool(features, maps) / share
    torch.testing.assert_close(pooled[:, 0], features[:, :, :3].mean((2, 3)))
    torch.testing.assert_close(pooled[:, 1], features[:, :, 4:, 1:3].mean((2, 3)))


class NaiveBAP:
    """Eq. 3 and 4 as they are printed: K attended copies, with a convolution, BN and GeM each."""

    def __init__(self, bap: BAP, embed_dim: int) -> None:
        self.num_maps, self.embed_dim = bap.num_maps, embed_dim
        self.eps, self.momentum = bap.bn.eps, bap.bn.momentum
        self.state = {name: value.clone() for name, value in bap.state_dict().items()}
        self.parameters = {
            name: value.requires_grad_()
            for name, value in self.state.items()
            if value.is_floating_point() and "running" not in name
        }

    def normalize(self, name: str, values: Tensor, rows: slice, training: bool) -> Tensor:
        """Batch norm over all but dimension 1, keeping the running statistics of these rows."""
        axes = [axis for axis in range(values.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(values.dim())]
        mean, variance = (self.state[f"{name}.running_{kind}"][rows] for kind in ("mean", "var"))
        if training:
            count = values.numel() // values.shape[1]
            batch_mean = values.mean(axes)
            batch_variance = ((values - batch_mean.view(shape)) ** 2).mean(axes)
            with torch.no_grad():
                mean += self.momentum * (batch_mean - mean)
                variance += self.momentum * (batch_variance * count / (count - 1) - variance)
            mean, variance = batch_mean, batch_variance
        scaled = (values - mean.view(shape)) / (variance.view(shape) + self.eps).sqrt()
        weight, bias = self.state[f"{name}.weight"][rows], self.state[f"{name}.bias"][rows]
        return scaled * weight.view(shape) + bias.view(shape)

    def __call__(self, features: Tensor, maps: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        parts = []
        for k in range(self.num_maps):
            rows = slice(k * self.embed_dim, (k + 1) * self.embed_dim)
            attended = features * maps[:, k : k + 1]  # (B, C, H, W)
            embedded = F.conv2d(attended, self.state["conv.weight"][rows])
            embedded = self.normalize("bn", embedded, rows, training).clamp(min=0)
            p = self.state["pool.p"]
            p = p[k if len(p) > 1 else 0]
            parts.append((embedded.clamp(min=1e-6) ** p).mean((2, 3)) ** (1 / p))
        joined = torch.cat(parts, 1)
        return torch.stack(parts, 1), self.normalize("neck.bn", joined, slice(None), training)


@pytest.mark.parametrize("shared_pool", [False, True])
@pytest.mark.parametrize("num_maps", [1, 2, 4])
def test_is_the_loop_over_attended_copies(num_maps: int, shared_pool: bool) -> None:
    bap = BAP(5, 3, num_maps, pool=GeM() if shared_pool else None).double()
    with torch.no_grad():
        for parameter in bap.parameters():  # no two maps, and no two channels, alike
            parameter.add_(torch.rand_like(parameter))
    naive = NaiveBAP(bap, 3)

    for training in (True, True, False):
        bap.train(training)
        features = torch.randn(4, 5, 7, 3, dtype=torch.float64)
        maps = torch.randn(4, num_maps + 1, 7, 3, dtype=torch.float64).softmax(1)[:, :num_maps]
        got, expected = bap(features, maps), naive(features, maps, training)
        torch.testing.assert_close((got.parts, got.embedding), expected)

        weights = torch.rand_like(got.embedding)
        bap.zero_grad()
        (got.embedding * weights).sum().backward()
        gradients = torch.autograd.grad(
            (expected[1] * weights).sum(), list(naive.parameters.values())
        )
        for name, gradient in zip(naive.parameters, gradients, strict=True):
            if name != "neck.bn.bias":  # not trained
                torch.testing.assert_close(bap.get_parameter(name).grad, gradient)
        for name, value in bap.state_dict().items():
            if "running" in name:
                torch.testing.assert_close(value, naive.state[name])


def test_one_hot_maps_pool_a_crop() -> None:
    bap = BAP(3, 3, 2).eval()
    with torch.no_grad():
        bap.conv.weight.copy_(torch.eye(3).repeat(2, 1)[:, :, None, None])
        bap.pool.p.fill_(1.0)
    features, maps = torch.rand(2, 3, 6, 4) + 0.1, torch.zeros(2, 2, 6, 4)
    maps[:, 0, :2] = 1.0
    maps[:, 1, 2:] = 1.0
    parts = bap(features, maps).parts
    scale = (1 + bap.bn.eps) ** 0.5
    torch.testing.assert_close(parts[:, 0] * 3 * scale, features[:, :, :2].mean((2, 3)))
    torch.testing.assert_close(parts[:, 1] * 3 / 2 * scale, features[:, :, 2:].mean((2, 3)))


def test_one_map_of_ones_is_the_embedding_block_and_gem() -> None:
    bap = BAP(4, 3, 1)
    features = torch.rand(2, 4, 5, 3)
    expected = gem_pool(bap.bn(bap.conv(features)).relu())
    torch.testing.assert_close(bap(features, torch.ones(2, 1, 5, 3)).parts[:, 0], expected)


def test_no_attended_copy_of_the_features_is_made() -> None:
    """The widest tensor kept for the gradient has K·M channels, not K·C."""
    channels, embed_dim, num_maps = 64, 2, 4
    bap = BAP(channels, embed_dim, num_maps)
    features, maps = torch.rand(2, channels, 5, 3), torch.rand(2, num_maps, 5, 3)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        if tensor.dim() >= 4 and tensor.data_ptr() != features.data_ptr():
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        bap(features, maps)
    assert kept
    assert max(kept) <= num_maps * embed_dim * max(channels, 2 * 5 * 3)


def test_the_embedding_is_the_parts_after_the_neck() -> None:
    bap = BAP(4, 3, 2)
    out = bap(torch.rand(4, 4, 5, 3), torch.rand(4, 2, 5, 3))
    torch.testing.assert_close(out.pooled, out.parts.flatten(1), rtol=0, atol=0)
    torch.testing.assert_close(out.embedding, BNNeck(6)(out.pooled))


def test_a_shared_pool_has_one_exponent() -> None:
    assert BAP(4, 3, 2, pool=GeM()).pool.p.shape == (1,)
    assert BAP(4, 3, 2).pool.p.shape == (2,)


def test_maps_of_another_precision_take_the_features_one() -> None:
    bap = BAP(4, 3, 2).bfloat16()
    out = bap(torch.rand(4, 4, 5, 3).bfloat16(), torch.rand(4, 2, 5, 3))
    assert out.embedding.dtype == torch.bfloat16


def test_says_what_it_is() -> None:
    assert "num_maps=2" in repr(BAP(4, 3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BAP(0, 3, 2), "BAP expects in_channels above 0, got 0"),
        (lambda: BAP(4, 0, 2), "BAP expects embed_dim above 0, got 0"),
        (lambda: BAP(4, 3, 0), "BAP expects num_maps above 0, got 0"),
        (
            lambda: BAP(4, 3, 2)(torch.rand(2, 4), torch.rand(2, 2, 5, 3)),
            r"BAP expects features \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: BAP(4, 3, 2)(torch.rand(2, 3, 5, 3), torch.rand(2, 2, 5, 3)),
            r"BAP expects features \(·, 4, ·, ·\), got \(2, 3, 5, 3\)",
        ),
        (
            lambda: BAP(4, 3, 2)(torch.rand(2, 4, 5, 3), torch.rand(2, 5, 3)),
            r"BAP expects maps \(B, K, H, W\), got \(2, 5, 3\)",
        ),
        (
            lambda: BAP(4, 3, 2)(torch.rand(2, 4, 5, 3), torch.rand(2, 3, 5, 3)),
            r"BAP expects 2 maps, got maps \(2, 3, 5, 3\)",
        ),
        (
            lambda: BAP(4, 3, 2)(torch.rand(2, 4, 5, 3), torch.rand(2, 2, 6, 3)),
            r"BAP expects features and maps of one batch, height and width, "
            r"got \(2, 4, 5, 3\) and \(2, 2, 6, 3\)",
        ),
        (
            lambda: BAP(4, 3, 2, pool=nn.AdaptiveAvgPool2d(1))(
                torch.rand(2, 4, 5, 3), torch.rand(2, 2, 5, 3)
            ),
            r"BAP expects pool to give vectors \(B, D\), got \(2, 6, 1, 1\)",
        ),
        (
            lambda: bilinear_attention_pool(torch.rand(2, 4, 5, 3), torch.rand(3, 2, 5, 3)),
            r"bilinear_attention_pool expects features and maps of one batch",
        ),
        (
            lambda: bilinear_attention_pool(torch.rand(2, 4), torch.rand(2, 2, 5, 3)),
            r"bilinear_attention_pool expects features \(B, C, H, W\), got \(2, 4\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
