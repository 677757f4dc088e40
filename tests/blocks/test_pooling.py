import io
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reidblocks.blocks import GeM, gem_pool
from reidblocks.testing import feature_maps

LOW, HIGH = GeM.BOUNDS


def power_mean(maps: Tensor, p: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Eq. 1 as it is printed, place by place, in float64 and relative to the largest value."""
    batch, channels = maps.shape[:2]
    exponents = torch.as_tensor(p, dtype=torch.float64).flatten()
    pooled = torch.zeros(batch, channels, dtype=torch.float64)
    for b in range(batch):
        for c in range(channels):
            exponent = exponents[c * len(exponents) // channels].item()
            values = [max(value, eps) for value in maps[b, c].double().flatten().tolist()]
            peak = max(values)
            mean = sum((value / peak) ** exponent for value in values) / len(values)
            pooled[b, c] = peak * mean ** (1 / exponent)
    return pooled


@given(feature_maps(), st.floats(0.1, HIGH))
def test_is_the_power_mean(maps: Tensor, p: float) -> None:
    torch.testing.assert_close(gem_pool(maps, p).double(), power_mean(maps, p), rtol=1e-4, atol=0)


@given(feature_maps(channels=st.just(6)), st.lists(st.floats(LOW, HIGH), min_size=3, max_size=3))
def test_each_group_has_its_exponent(maps: Tensor, exponents: list[float]) -> None:
    p = torch.tensor(exponents)
    torch.testing.assert_close(gem_pool(maps, p).double(), power_mean(maps, p), rtol=1e-4, atol=0)


def test_a_floor_that_vanishes_beside_the_peak_does_no_harm() -> None:
    maps = torch.tensor([[[[1e38, 0.0]]]], requires_grad=True)  # 1e-12 / 1e38 is 0 in float32
    gem = GeM(eps=1e-12)
    pooled = gem(maps)
    pooled.sum().backward()
    assert pooled.item() == pytest.approx(1e38 / 2 ** (1 / 3), rel=1e-5)
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert gem.p.grad is not None
    assert gem.p.grad.isfinite().all()


def test_each_channel_has_its_exponent() -> None:
    maps, p = torch.rand(2, 3, 4, 5), torch.tensor([0.5, 3.0, 60.0])
    pooled = gem_pool(maps, p)
    for channel in range(3):
        alone = gem_pool(maps[:, channel : channel + 1], p[channel].item())
        torch.testing.assert_close(pooled[:, channel : channel + 1], alone)


def test_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [2.0, 3.0]]]])
    expected = {3.0: (44 / 4) ** (1 / 3), 0.5: ((1 + 2 * 2**0.5 + 3**0.5) / 4) ** 2}
    for p, value in expected.items():
        assert gem_pool(maps, p).item() == pytest.approx(value, rel=1e-5)


def test_whole_numbers_are_taken_as_float32() -> None:
    pooled = gem_pool(torch.tensor([[[[1, 2, 2, 2]]]]), 1.0)
    torch.testing.assert_close(pooled, torch.tensor([[1.75]]))


def test_one_is_the_average_and_much_is_the_maximum() -> None:
    maps = torch.rand(2, 8, 6, 3)
    torch.testing.assert_close(gem_pool(maps, 1.0), maps.mean((2, 3)))
    torch.testing.assert_close(gem_pool(maps, 1e6), maps.amax((2, 3)))


@given(feature_maps(), st.floats(LOW, HIGH), st.floats(LOW, HIGH))
def test_grows_with_the_exponent(maps: Tensor, one: float, other: float) -> None:
    lower, higher = gem_pool(maps, min(one, other)), gem_pool(maps, max(one, other))
    assert (lower <= higher * (1 + 1e-4)).all()


def test_has_the_gradient_of_its_value() -> None:
    maps = (torch.rand(2, 4, 3, 2, dtype=torch.float64) + 0.1).requires_grad_()
    p = torch.tensor([0.7, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gem_pool, (maps, p))
    assert torch.autograd.gradgradcheck(gem_pool, (maps, p))


def plain(maps: Tensor, p: Tensor, eps: float = 1e-6) -> Tensor:
    """Eq. 1 in torch's own operators, whose derivatives are torch's own."""
    exponents = p.repeat_interleave(maps.shape[1] // len(p))[:, None, None]
    powers = maps.clamp(min=eps) ** exponents
    return powers.mean((2, 3)) ** (1 / exponents[:, 0, 0])


@given(
    feature_maps(channels=st.just(4), height=st.integers(1, 3), width=st.integers(1, 3)),
    st.lists(st.floats(1.1, 6), min_size=2, max_size=2),
)
def test_has_the_derivatives_of_eq_1_to_the_second_order(
    maps: Tensor, exponents: list[float]
) -> None:
    maps, p = maps.double().abs() % 1 + 0.01, torch.tensor(exponents, dtype=torch.float64)

    def value(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda maps, p: function(maps, p).sin().sum()

    changes = torch.randn_like(maps), torch.randn_like(p)
    found = torch.func.jvp(gem_pool, (maps, p), changes)
    torch.testing.assert_close(found, torch.func.jvp(plain, (maps, p), changes))
    expected = torch.autograd.functional.hessian(value(plain), (maps, p))
    ways = {
        "reverse over reverse": torch.autograd.functional.hessian(value(gem_pool), (maps, p)),
        **{
            f"{outer.__name__} of {inner.__name__}": outer(
                inner(value(gem_pool), argnums=(0, 1)), argnums=(0, 1)
            )(maps, p)
            for outer in (torch.func.jacrev, torch.func.jacfwd)
            for inner in (torch.func.jacrev, torch.func.jacfwd)
        },
    }
    for way, second in ways.items():
        torch.testing.assert_close(second, expected, msg=lambda text, way=way: f"{way}: {text}")


@pytest.mark.parametrize("dims", [(0, 0), (4, 1)])
def test_is_vectorized(dims: tuple[int, int]) -> None:
    gem, maps = GeM(groups=2), torch.rand(3, 2, 4, 5, 2)
    expected = torch.stack([gem(each) for each in maps], dims[1])
    got = torch.func.vmap(gem, in_dims=dims[0], out_dims=dims[1])(maps.movedim(0, dims[0]))
    torch.testing.assert_close(got, expected)


def test_a_gradient_for_each_image() -> None:
    gem, maps = GeM(groups=2), torch.rand(3, 4, 5, 2)
    parameters = {"p": gem.p.detach()}

    def pooled(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(gem, parameters, (image[None],)).sum()

    each = torch.func.vmap(torch.func.grad(pooled), in_dims=(None, 0))(parameters, maps)["p"]
    for image, gradient in zip(maps, each, strict=True):
        gem.p.grad = None
        gem(image[None]).sum().backward()
        torch.testing.assert_close(gradient, gem.p.grad)


@pytest.mark.parametrize("trainable", [True, False])
def test_torchscript_traces_it(trainable: bool) -> None:
    file, gem, maps = io.BytesIO(), GeM(trainable=trainable).eval(), torch.rand(2, 4, 3, 2)
    torch.jit.save(torch.jit.trace(gem, maps), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(2 * maps), gem(2 * maps))


def test_torch_fx_takes_the_function_for_one_step() -> None:
    traced = torch.fx.symbolic_trace(lambda maps, p: gem_pool(maps, p) + gem_pool(maps))
    maps, p = torch.rand(2, 4, 3, 2), torch.tensor([1.5, 2.0])
    torch.testing.assert_close(traced(maps, p), gem_pool(maps, p) + gem_pool(maps))
    with pytest.raises(ValueError, match="gem_pool expects a multiple of 2 channels"):
        traced(maps[:, :3], p)


def test_keeps_the_maps_alone_for_the_way_back() -> None:
    maps, gem = torch.rand(2, 8, 6, 3, requires_grad=True), GeM()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, id):
        gem(maps)
    of_their_own = [each for each in kept if each.data_ptr() != maps.data_ptr()]
    assert any(each.data_ptr() == maps.data_ptr() for each in kept)
    assert sum(each.numel() for each in of_their_own) <= 2 * maps.shape[1]  # the exponents


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [LOW, 3.0, HIGH])
@pytest.mark.parametrize("kind", ["largest", "largest and 0", "zeros", "smallest", "negative"])
def test_half_precision_is_finite_and_accurate(dtype: torch.dtype, p: float, kind: str) -> None:
    largest = torch.finfo(dtype).max
    maps = {
        "largest": torch.full((2, 4, 6, 3), largest),
        "largest and 0": largest * (torch.rand(2, 4, 6, 3) > 0.5),
        "zeros": torch.zeros(2, 4, 6, 3),
        "smallest": torch.full((2, 4, 6, 3), torch.finfo(dtype).tiny),
        "negative": torch.full((2, 4, 6, 3), -largest),
    }[kind].to(dtype)
    maps.requires_grad_()
    gem = GeM(p)
    pooled = gem(maps)
    assert pooled.dtype == dtype
    # 1e-6 is not a number of float16: what is nearest to it is 5% away
    expected = power_mean(maps.detach(), p).to(dtype)
    torch.testing.assert_close(pooled, expected, rtol=1e-2, atol=1e-7)
    pooled.float().mean().backward()  # the sum's true gradient would not fit into float32
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert gem.p.grad is not None
    assert gem.p.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_works_wholly_in_half_precision(dtype: torch.dtype) -> None:
    maps = torch.full((1, 2, 3, 3), torch.finfo(dtype).max, dtype=dtype)
    torch.testing.assert_close(GeM().to(dtype)(maps), maps[:, :, 0, 0])


def test_a_zero_map_pools_to_the_floor() -> None:
    torch.testing.assert_close(
        gem_pool(torch.zeros(1, 2, 3, 3), eps=1e-4), torch.full((1, 2), 1e-4)
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=300.0, momentum=0.9),
        lambda parameters: torch.optim.Adam(parameters, lr=1.0, betas=(0.9, 0.9)),
    ],
    ids=["SGD", "Adam"],
)
@pytest.mark.parametrize("direction", [1, -1], ids=["up", "down"])
def test_training_neither_leaves_the_bounds_nor_sticks_to_one(
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer], direction: int
) -> None:
    gem = GeM()
    optimize = optimizer([gem.p])
    maps = torch.rand(4, 2, 6, 3)
    least, most = gem_pool(maps, LOW), gem_pool(maps, HIGH)
    rounding = 1e-5  # of float32's logarithms and powers

    def train(direction: int, steps: int) -> None:
        for _ in range(steps):
            optimize.zero_grad()
            (-direction * gem(maps).sum()).backward()  # more p, more of everything
            optimize.step()
            pooled = gem(maps)
            assert (pooled >= least * (1 - rounding)).all()
            assert (pooled <= most * (1 + rounding)).all()

    train(direction, 200)
    bound = most if direction > 0 else least
    torch.testing.assert_close(gem(maps), bound, rtol=rounding, atol=0)
    train(-direction, 200)
    assert ((gem(maps) - bound).abs() > 0.01 * bound).all()


@pytest.mark.parametrize(("p", "inward"), [(LOW, 1), (LOW - 1, 1), (HIGH, -1), (HIGH + 50, -1)])
def test_at_a_bound_only_gradients_that_lead_back_arrive(p: float, inward: int) -> None:
    gem = GeM()
    with torch.no_grad():
        gem.p.fill_(p)
    for direction in (inward, -inward):
        gem.p.grad = None
        (-direction * gem(torch.rand(1, 1, 4, 4))).sum().backward()
        assert gem.p.grad is not None
        step = -gem.p.grad.item()  # of gradient descent
        assert step * inward > 0 if direction == inward else step == 0


def test_a_fixed_exponent_is_a_buffer() -> None:
    fixed = GeM(2.0, trainable=False)
    assert not list(fixed.parameters())
    assert fixed.state_dict()["p"].tolist() == [2.0]


def test_the_parameter_has_the_size_of_its_groups() -> None:
    assert GeM().p.shape == (1,)
    assert GeM(groups=8).p.shape == (8,)


def test_says_what_it_is() -> None:
    assert repr(GeM()) == "GeM(p=3, groups=1, eps=1e-06)"
    assert repr(GeM(1.5, groups=4, trainable=False)) == "GeM(p=1.5, groups=4, eps=1e-06, fixed)"


def test_says_which_exponents_are_in_use() -> None:
    gem = GeM(groups=3)
    with torch.no_grad():
        gem.p.copy_(torch.tensor([1e-4, 3.0, 200.0]))  # as weight decay and large steps leave them
    assert repr(gem) == "GeM(p=1 to 100, groups=3, eps=1e-06)"
    assert repr(gem.to("meta")) == "GeM(p=on meta, groups=3, eps=1e-06)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GeM(0.0), "GeM expects p above 0, got 0.0"),
        (lambda: GeM(float("nan")), "GeM expects p above 0, got nan"),
        (lambda: GeM(0.5), r"GeM expects p within \(1.0, 100.0\), got 0.5"),
        (lambda: GeM(101.0), r"GeM expects p within \(1.0, 100.0\), got 101.0"),
        (lambda: gem_pool(torch.rand(1, 3, 4, 4), p=0.0), "gem_pool expects p above 0, got 0.0"),
        (lambda: gem_pool(torch.rand(1, 3, 4, 4), eps=0), "gem_pool expects eps above 0, got 0"),
        (lambda: GeM(eps=0.0), "GeM expects eps above 0, got 0.0"),
        (lambda: GeM(groups=0), "GeM expects groups above 0, got 0"),
        (
            lambda: gem_pool(torch.rand(2, 3)),
            r"gem_pool expects maps \(B, C, H, W\), got \(2, 3\)",
        ),
        (
            lambda: GeM(groups=2)(torch.rand(1, 3, 4, 4)),
            r"GeM expects a multiple of 2 channels for 2 exponents, got maps \(1, 3, 4, 4\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
