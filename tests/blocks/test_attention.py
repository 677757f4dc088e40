from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from reidblocks.blocks import AttentionGenerator, GuidedAttention
from reidblocks.testing import feature_maps


def drawn_separately(generator: AttentionGenerator, maps: Tensor) -> Tensor:
    """Eq. 2 with its two convolutions, all K+1 maps before the softmax."""
    return generator.bn(generator.conv1x1(maps) + generator.conv3x3(maps)).relu()


@given(feature_maps())
def test_is_the_sum_of_two_convolutions_shared_out_at_each_place(maps: Tensor) -> None:
    generator = AttentionGenerator(maps.shape[1], num_maps=3).double()
    maps = maps.double()
    for mode in (True, False):
        generator.train(mode and maps[:, 0].numel() > 1)
        attention = generator(maps)
        raw = drawn_separately(generator, maps)
        torch.testing.assert_close(attention.raw, raw)
        powers = (raw - raw.amax(1, keepdim=True)).exp()
        shares = powers / powers.sum(1, keepdim=True)
        torch.testing.assert_close(attention.maps, shares[:, :3])
        torch.testing.assert_close(attention.background, shares[:, 3:])


def test_training_moves_the_running_statistics_as_separate_convolutions_do() -> None:
    joint, separate = (AttentionGenerator(4, 2).double() for _ in range(2))
    separate.load_state_dict(joint.state_dict())
    maps = torch.rand(2, 4, 6, 3, dtype=torch.float64)
    joint(maps)
    drawn_separately(separate, maps)
    torch.testing.assert_close(joint.state_dict(), separate.state_dict())


def test_both_convolutions_learn_as_separate_ones_do() -> None:
    generator = AttentionGenerator(4, 2).double()
    maps = torch.rand(2, 4, 6, 3, dtype=torch.float64)
    weights = torch.rand(2, 2, 6, 3, dtype=torch.float64)

    def gradients(drawn: Tensor) -> list[Tensor]:
        generator.zero_grad()
        (drawn * weights).sum().backward()
        return [parameter.grad.clone() for parameter in generator.parameters()]

    joint = gradients(generator(maps).maps)
    separate = gradients(drawn_separately(generator, maps).softmax(1)[:, :2])
    torch.testing.assert_close(joint, separate)


def test_a_place_is_shared_by_the_maps_and_the_background() -> None:
    attention = AttentionGenerator(4, 2)(torch.rand(2, 4, 6, 3))
    total = attention.maps.sum(1) + attention.background[:, 0]
    torch.testing.assert_close(total, torch.ones(2, 6, 3))


def test_equal_scores_are_equal_shares() -> None:
    generator = AttentionGenerator(4, 3).eval()
    nn.init.zeros_(generator.conv1x1.weight)
    nn.init.zeros_(generator.conv3x3.weight)
    torch.testing.assert_close(
        generator(torch.rand(1, 4, 2, 2)).maps, torch.full((1, 3, 2, 2), 0.25)
    )


@given(feature_maps(), feature_maps())
def test_a_guide_is_joined_to_the_features(maps: Tensor, guide: Tensor) -> None:
    guide = guide[:1].expand(len(maps), -1, -1, -1)
    guided = GuidedAttention(maps.shape[1], 2, guide_channels=guide.shape[1]).eval()
    height, width = maps.shape[2:]
    resized = nn.Upsample((height, width), mode="bilinear")(guide)
    expected = guided.generator(torch.cat((maps, resized), 1))
    torch.testing.assert_close(guided(maps, guide), expected)


def test_a_guide_is_resized_bilinearly() -> None:
    guided = GuidedAttention(1, 1).eval()
    with torch.no_grad():
        for parameter in (guided.generator.conv1x1.weight, guided.generator.conv3x3.weight):
            parameter.zero_()
        guided.generator.conv1x1.weight[0, 1] = (1 + guided.generator.bn.eps) ** 0.5  # φ is G
    drawn = guided(torch.rand(1, 1, 1, 4), guide=torch.tensor([[[[0.0, 1.0]]]]))
    scores = torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]])
    torch.testing.assert_close(drawn.maps, scores.sigmoid())


def test_without_a_guide_only_the_features_count() -> None:
    guided = GuidedAttention(4, 2)
    maps = torch.rand(2, 4, 6, 3)
    unguided = AttentionGenerator(4, 2)
    with torch.no_grad():
        for own, others in (
            (unguided.conv1x1, guided.generator.conv1x1),
            (unguided.conv3x3, guided.generator.conv3x3),
        ):
            own.weight.copy_(others.weight[:, :4])
    torch.testing.assert_close(guided(maps), unguided(maps))
    torch.testing.assert_close(guided(maps), guided(maps, torch.zeros(2, 2, 6, 3)))


def test_attention_never_guided_has_no_weights_for_a_guide() -> None:
    alone = GuidedAttention(4, 2, guide_channels=0)
    assert alone.generator.conv1x1.weight.shape == (3, 4, 1, 1)
    maps = torch.rand(2, 4, 6, 3)
    torch.testing.assert_close(alone(maps), alone.generator(maps))


def test_a_guide_learns_too() -> None:
    guide = torch.rand(2, 2, 3, 2, requires_grad=True)
    GuidedAttention(4, 2)(torch.rand(2, 4, 6, 3), guide).maps[:, 0, 0].sum().backward()
    assert guide.grad is not None
    assert guide.grad.any()


def test_a_guide_of_another_precision_takes_the_features_one() -> None:
    guided = GuidedAttention(4, 2).bfloat16()
    features, guide = torch.rand(2, 4, 6, 3).bfloat16(), torch.rand(2, 2, 3, 2)
    assert guided(features, guide).maps.dtype == torch.bfloat16


def test_both_convolutions_are_called() -> None:
    """Hooks, adapters such as LoRA, and quantization take hold of the modules' calls."""
    generator, seen = AttentionGenerator(4, 2).eval(), list[str]()
    for name in ("conv1x1", "conv3x3"):
        part = generator.get_submodule(name)
        part.register_forward_hook(lambda *_, name=name: seen.append(name))
    generator.conv1x1.register_forward_hook(lambda module, inputs, output: 0 * output)
    maps = torch.rand(2, 4, 6, 3)
    expected = generator.bn(F.conv2d(maps, generator.conv3x3.weight, padding=1)).relu()
    torch.testing.assert_close(generator(maps).raw, expected)
    assert sorted(seen) == ["conv1x1", "conv3x3"]


def test_a_start_from_features_is_that_of_random_weights_but_for_signs_and_bias() -> None:
    for build in (AttentionGenerator, GuidedAttention):
        torch.manual_seed(0)
        random = build(4, 2).state_dict()
        torch.manual_seed(0)
        started = build(4, 2, background_bias=1.5).state_dict()
        for name in random:
            if name.endswith(("conv1x1.weight", "conv3x3.weight")):
                random[name] = torch.cat((random[name][:2].abs(), -random[name][2:].abs()))
            elif name.endswith("bn.bias"):
                random[name] = torch.tensor([0, 0, 1.5])
        torch.testing.assert_close(started, random)


@given(feature_maps(), feature_maps())
def test_started_from_features_more_of_them_is_no_more_background(
    maps: Tensor, more: Tensor
) -> None:
    generator = AttentionGenerator(maps.shape[1], 2, background_bias=1).double().eval()
    maps, more = maps.double(), more[:1, :1].double().abs().mean()
    background = generator(maps).background
    assert (generator(maps + more).background <= background + 1e-12).all()


def test_training_starts_with_the_maps_where_features_respond() -> None:
    features = 0.1 * torch.rand(8, 16, 12, 6)
    features[:, :, 3:9, 2:4] += 1
    inside = torch.zeros(12, 6, dtype=torch.bool)
    inside[3:9, 2:4] = True
    attention = AttentionGenerator(16, 2, background_bias=2)(features)
    assert attention.background[..., inside].mean() < 1 / 3
    assert attention.background[..., ~inside].mean() > 1 / 2


def test_say_what_they_are() -> None:
    assert "num_maps=2" in repr(AttentionGenerator(4, 2))
    assert "guide_channels=3" in repr(GuidedAttention(4, 2, guide_channels=3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AttentionGenerator(0, 2), "AttentionGenerator expects in_channels above 0, got 0"),
        (lambda: AttentionGenerator(4, 0), "AttentionGenerator expects num_maps above 0, got 0"),
        (
            lambda: AttentionGenerator(4, 2)(torch.rand(4, 6, 3)),
            r"AttentionGenerator expects features \(B, C, H, W\), got \(4, 6, 3\)",
        ),
        (
            lambda: AttentionGenerator(4, 2)(torch.rand(2, 3, 6, 3)),
            r"AttentionGenerator expects features \(·, 4, ·, ·\), got \(2, 3, 6, 3\)",
        ),
        (lambda: GuidedAttention(0, 2), "GuidedAttention expects in_channels above 0, got 0"),
        (lambda: GuidedAttention(4, 0), "GuidedAttention expects num_maps above 0, got 0"),
        (
            lambda: GuidedAttention(4, 2, guide_transform=nn.Conv2d(2, 3, 1))(
                torch.rand(2, 4, 6, 3), torch.rand(2, 2, 6, 3)
            ),
            r"GuidedAttention expects guide_transform to give \(·, 2, ·, ·\), got \(2, 3, 6, 3\)",
        ),
        (
            lambda: GuidedAttention(4, 2, guide_channels=-1),
            "GuidedAttention expects guide_channels of at least 0, got -1",
        ),
        (
            lambda: GuidedAttention(4, 2)(torch.rand(2, 4)),
            r"GuidedAttention expects features \(B, C, H, W\), got \(2, 4\)",
        ),
        (
            lambda: GuidedAttention(4, 2)(torch.rand(2, 3, 6, 3)),
            r"GuidedAttention expects features \(·, 4, ·, ·\), got \(2, 3, 6, 3\)",
        ),
        (
            lambda: GuidedAttention(4, 2)(torch.rand(2, 4, 6, 3), torch.rand(2, 2)),
            r"GuidedAttention expects guide \(B, G, H, W\), got \(2, 2\)",
        ),
        (
            lambda: GuidedAttention(4, 2)(torch.rand(2, 4, 6, 3), torch.rand(2, 3, 6, 3)),
            r"GuidedAttention expects a guide \(2, 2, h, w\) .*, got \(2, 3, 6, 3\)",
        ),
        (
            lambda: GuidedAttention(4, 2)(torch.rand(2, 4, 6, 3), torch.rand(3, 2, 6, 3)),
            r"GuidedAttention expects a guide \(2, 2, h, w\) .*, got \(3, 2, 6, 3\)",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_guide_is_transformed_before_it_is_joined() -> None:
    transform = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    guided = GuidedAttention(5, 2, 3, guide_transform=transform).eval()
    features, guide = torch.rand(2, 5, 6, 3), torch.rand(2, 3, 6, 3)
    expected = guided.generator(torch.cat((features, transform(guide)), 1))
    torch.testing.assert_close(guided(features, guide), expected)


def test_a_bias_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="AttentionGenerator expects background_bias as a number"):
        AttentionGenerator(4, 2, background_bias="much")  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1.5, "a"])
def test_guide_channels_that_are_no_number_are_refused_by_name(channels: object) -> None:
    with pytest.raises(TypeError, match="GuidedAttention expects guide_channels as a whole number"):
        GuidedAttention(4, 2, channels)  # type: ignore[arg-type]
