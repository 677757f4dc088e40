"""MDPR against the paper: shapes, what is shared, what runs, and the whole forward pass."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import TINY, tiny, tiny_backbone
from torch import Tensor, nn

from model import MDPR
from reidblocks.training import gradient_shares, recompute


@contextmanager
def executed(model: nn.Module) -> Iterator[set[str]]:
    """Collect the names of the modules that run."""
    names: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: names.add(name))
        for name, module in model.named_modules()
    ]
    yield names
    for hook in hooks:
        hook.remove()


def test_sizes_of_table_one() -> None:
    model, images = tiny().eval(), torch.rand(2, 3, 16, 8)
    assert model.embed(images).shape == (2, 9 * 6)
    output = model.train()(images)
    assert {name: each.embedding.shape for name, each in output.features.items()} == {
        name: (2, size) for name, size in model.sizes.items()
    }
    assert [*model.sizes.values()] == [6] * 5 + [24] + [18] * 2
    assert {name: maps.shape for name, maps in output.attention.items()} == {
        "A5": (2, 3, 8, 4), "A4": (2, 3, 8, 4),
    }  # fmt: skip
    assert {name: parts.shape for name, parts in output.parts.items()} == {
        "soft_bap5": (2, 3, 6), "soft_bap4": (2, 3, 6),
    }  # fmt: skip
    hard = model.hard(model.stem(images))
    assert hard.whole.maps.shape == (2, 6, 8, 4)
    assert [part.maps.shape for part in hard.parts] == [(2, 6, 4, 4)] * 2


def test_stages_start_alike_and_are_not_shared() -> None:
    backbone = tiny_backbone()
    model = MDPR(backbone, TINY)
    for name in ("stage4", "stage5"):
        hard, soft, given = (
            getattr(part, name)[0].weight for part in (model.hard, model.soft, backbone)
        )
        assert torch.equal(hard, soft)
        assert torch.equal(hard, given)
        assert len({hard.data_ptr(), soft.data_ptr(), given.data_ptr()}) == 3
    assert model.soft_stem is None


def test_separate_networks_share_nothing() -> None:
    model = tiny(separate_networks=True)
    images = torch.rand(4, 3, 16, 8)
    model(images).features["hard_g5"].embedding.square().sum().backward()
    assert model.stem.weight.grad is not None
    assert model.soft_stem is not None
    assert model.soft_stem.weight.grad is None


@pytest.mark.parametrize(
    ("features", "run", "idle"),
    [
        (("hard",), {"hard"}, {"soft", "fusion"}),
        (("soft",), {"soft.stage5", "soft.head4"}, {"hard", "fusion", "soft.bap5"}),
        (("soft_g4",), {"soft.stage4", "soft.head4"}, {"hard", "fusion", "soft.bap4"}),
        (("hard", "soft"), {"hard", "soft.head5"}, {"fusion", "soft.attention5", "soft.bap4"}),
        (("hard_p2",), {"hard.head.parts.1"}, {"fusion", "soft"}),
        (("fusion",), {"hard", "soft.head4", "fusion"}, {"soft.attention4", "soft.bap5"}),
    ],
)
def test_only_what_is_asked_for_runs(
    features: tuple[str, ...], run: set[str], idle: set[str]
) -> None:
    everything = tiny()
    chosen = tiny(features=features)
    chosen.load_state_dict(everything.state_dict())
    images = torch.rand(2, 3, 16, 8)
    with executed(chosen) as names:
        embedding = chosen.eval().embed(images)
    assert run <= names
    assert not idle & names
    full = everything.eval()(images, everything=True)
    torch.testing.assert_close(embedding, full.embedding(chosen.features))


def test_separate_networks_run_only_the_stem_they_need() -> None:
    images = torch.rand(2, 3, 16, 8)
    for feature, run, idle in (("hard", "stem", "soft_stem"), ("soft", "soft_stem", "stem")):
        model = tiny(separate_networks=True, features=(feature,)).eval()
        with executed(model) as names:
            model.embed(images)
        assert run in names
        assert idle not in names


def test_attention_alone() -> None:
    model, images = tiny(), torch.rand(2, 3, 16, 8)
    model.eval()
    with executed(model) as names:
        maps = model.attention(images)
    assert not {"hard", "fusion"} & names
    expected = model(images, everything=True).attention
    assert maps.keys() == expected.keys() == {"A5", "A4"}
    assert all(torch.equal(maps[name], expected[name]) for name in maps)
    assert tiny(branches="hard").attention(images) == {}


@pytest.mark.parametrize("branches", ["hard", "soft"])
def test_a_branch_alone_is_that_branch_of_the_whole(branches: str) -> None:
    whole, alone = tiny(), tiny(branches=branches)
    state = whole.state_dict()
    alone.load_state_dict({name: state[name] for name in alone.state_dict()})
    images = torch.rand(2, 3, 16, 8)
    features = whole.eval()(images).embedding(alone.features)
    torch.testing.assert_close(alone.eval().embed(images), features)


def test_guidance_changes_the_maps_of_stage_four_alone() -> None:
    images = torch.rand(2, 3, 16, 8)
    guided, alone = tiny(), tiny(guidance=False)
    assert guided.soft.attention4.generator.conv1x1.in_channels == 8 + 3
    assert alone.soft.attention4.generator.conv1x1.in_channels == 8
    guided.attention(images)["A4"].sum().backward()
    assert guided.soft.attention5.conv3x3.weight.grad.abs().max() > 0
    alone.attention(images)["A4"].sum().backward()
    assert alone.soft.attention5.conv3x3.weight.grad is None


@pytest.mark.parametrize("training", [True, False])
def test_the_whole_pass_against_the_paper(training: bool) -> None:
    """Every feature and map, computed again with plain functions from the paper's text."""
    model = tiny().double().train(training)
    with torch.no_grad():  # BN and GeM away from where they start
        for name, tensor in model.state_dict().items():
            if name.endswith("pool.p"):
                tensor.uniform_(2, 4)
            elif name.endswith(("running_var", "bn.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bn.bias")):
                tensor.normal_(0, 0.1)
    images = torch.rand(3, 3, 16, 8, dtype=torch.float64)
    expected = _paper(model, images, training)
    output = model(images, everything=True)
    for name in TINY.trained_features():
        found = output.features[name].embedding
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-9)
        assert output.features[name].metric is found
    for stage in (5, 4):
        torch.testing.assert_close(output.attention[f"A{stage}"], expected[f"maps{stage}"])
        torch.testing.assert_close(output.parts[f"soft_bap{stage}"], expected[f"bap{stage}"])
        found = output.features[f"soft_bap{stage}"]
        torch.testing.assert_close(found.embedding, expected[f"f_bap{stage}"])
        assert found.metric is None  # no triplet loss acts on it


def _paper(model: MDPR, images: Tensor, training: bool) -> dict[str, Tensor]:
    def bn(layer: nn.Module, x: Tensor) -> Tensor:
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean = x.mean(dims) if training else layer.running_mean
        variance = x.var(dims, unbiased=False) if training else layer.running_var
        scale = layer.weight / (variance + layer.eps).sqrt()
        return (x - mean.view(shape)) * scale.view(shape) + layer.bias.view(shape)

    def gem(p: Tensor, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)

    def head(part: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = F.relu(bn(part.projection.bn, F.conv2d(x, part.projection.conv.weight)))
        return maps, bn(part.neck.bn, gem(part.pool.p, maps))

    def phi(part: nn.Module, x: Tensor) -> Tensor:  # Eq. 2
        both = F.conv2d(x, part.conv1x1.weight) + F.conv2d(x, part.conv3x3.weight, padding=1)
        return F.relu(bn(part.bn, both)).softmax(1)[:, :-1]

    def bap(part: nn.Module, maps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:  # Eq. 3, 4
        vectors, dim = [], TINY.embed_dim
        for k in range(TINY.num_maps):
            rows = slice(k * dim, (k + 1) * dim)
            attended = F.conv2d(maps[:, k : k + 1] * x, part.conv.weight[rows])
            layer = nn.BatchNorm2d(dim).double()
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(layer, name).data = getattr(part.bn, name).data[rows]
            vectors.append(gem(part.pool.p[k], F.relu(bn(layer, attended))))
        return torch.stack(vectors, 1), bn(part.neck.bn, torch.cat(vectors, 1))

    def fuse(part: nn.Module, *maps: Tensor) -> Tensor:  # Fig. 6
        x = F.conv2d(torch.cat(maps, 1), part.conv1x1.weight)
        return F.relu(bn(part.bn, F.conv2d(x, part.conv3x3.weight, padding=1)))

    def stage(part: nn.Module, x: Tensor) -> Tensor:
        return F.relu(bn(part[1], part[0](x)))

    out: dict[str, Tensor] = {}
    shared = model.stem(images)
    c5 = stage(model.hard.stage5, stage(model.hard.stage4, shared))
    hard_g5, out["hard_g5"] = head(model.hard.head.whole, c5)
    p1, out["hard_p1"] = head(model.hard.head.parts[0], c5[:, :, :4])
    p2, out["hard_p2"] = head(model.hard.head.parts[1], c5[:, :, 4:])
    soft = model.soft
    c4 = stage(soft.stage4, shared)
    c5 = stage(soft.stage5, c4)
    c4_hat = F.conv2d(c4, soft.refine4.weight, soft.refine4.bias)
    out["maps5"] = phi(soft.attention5, c5)
    out["maps4"] = phi(soft.attention4.generator, torch.cat((c4_hat, out["maps5"]), 1))
    out["bap5"], out["f_bap5"] = bap(soft.bap5, out["maps5"], c5)
    out["bap4"], out["f_bap4"] = bap(soft.bap4, out["maps4"], c4_hat)
    soft_g5, out["soft_g5"] = head(soft.head5, c5)
    soft_g4, out["soft_g4"] = head(soft.head4, c4_hat)
    fusion = model.fusion
    stripes = fuse(fusion.stripes, torch.cat((p1, p2), 2))
    both = fuse(
        fusion.both, fuse(fusion.hard, hard_g5, stripes), fuse(fusion.soft, soft_g4, soft_g5)
    )
    out["fusion"] = bn(fusion.neck.bn, gem(fusion.pool.p, both))
    return out


def recomputed(model: MDPR) -> MDPR:
    recompute(model.stem, model.soft_stem, model.hard, model.soft)
    return model


def test_a_copy_of_a_checkpointed_network_has_its_own_weights() -> None:
    """As the average of the weights is one."""
    model, images = recomputed(tiny()), torch.rand(4, 3, 16, 8)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    copied(images).embedding(copied.features).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert copied.hard.stage4[0].bias.grad is not None
    assert copied.eval().embed(images).std(0).max() == 0 < model.eval().embed(images).std(0).max()


@pytest.mark.parametrize("separate", [False, True])
def test_checkpointing_has_the_same_gradients_and_statistics(separate: bool) -> None:
    plain = tiny(separate_networks=separate).double()
    saving = recomputed(tiny(separate_networks=separate)).double()
    saving.load_state_dict(plain.state_dict())
    images, kept = torch.rand(4, 3, 16, 8, dtype=torch.float64), []
    for model in (plain, saving):
        kept.append(0)

        def count(each: Tensor) -> Tensor:
            kept[-1] += each.numel()
            return each

        with torch.autograd.graph.saved_tensors_hooks(count, lambda each: each):
            output = model(images)
        parts = [each.flatten(1) for each in output.parts.values()]
        torch.cat([output.embedding(model.features), *parts], 1).pow(3).sum().backward()
    assert kept[1] < 0.45 * kept[0]  # what fusion keeps
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=name)
    assert {m.momentum for m in saving.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_a_checkpointed_pass_may_go_back_several_times() -> None:
    plain = tiny().double()
    saving = recomputed(tiny()).double()
    saving.load_state_dict(plain.state_dict())
    images = torch.rand(4, 3, 16, 8, dtype=torch.float64)
    shares = []
    for model in (plain, saving):
        output = model(images)
        names = ("hard_g5", "soft_g4")
        terms = {name: output.features[name].embedding.pow(3).sum() for name in names}
        shares.append(gradient_shares(terms, model.parameters()))
    assert shares[1] == pytest.approx(shares[0], rel=1e-9)


def test_checkpointing_runs_all_but_fusion_twice() -> None:
    for checkpointed, times in ((False, 1), (True, 2)):
        model = tiny(separate_networks=True)
        runs: Counter[str] = Counter()
        for name, part in model.named_children():
            part.forward = _counted(part.forward, runs, name)
        if checkpointed:
            recomputed(model)
        output = model(torch.rand(4, 3, 16, 8))
        output.embedding(model.features).pow(2).sum().backward()
        expected = dict.fromkeys(("stem", "soft_stem", "hard", "soft"), times)
        assert runs == expected | {"fusion": 1}


def test_a_checkpointed_stem_comes_back_in_parts_last_first() -> None:
    def part(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))

    models = tiny().double(), tiny().double()
    stem = nn.Sequential(*part(3, 3), part(3, 5), part(5, 4, stride=2))
    for model in models:
        model.stem = copy.deepcopy(stem).double()
    models[1].load_state_dict(models[0].state_dict())
    recomputed(models[1])
    order: list[str] = []
    for name, module in models[1].stem.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    images = torch.rand(4, 3, 16, 8, dtype=torch.float64)
    for model in models:
        model(images).features["hard_g5"].embedding.pow(2).sum().backward()
    assert order == ["0", "2.0", "3.0", "3.0", "2.0", "0"]  # and never all of them at once
    for one, other in zip(*(model.stem.parameters() for model in models), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    for one, other in zip(*(model.stem.buffers() for model in models), strict=True):
        torch.testing.assert_close(other, one)


def _counted(forward: Callable[..., Any], runs: Counter[str], name: str) -> Callable[..., Any]:
    def counted(*inputs: Any) -> Any:
        runs[name] += 1
        return forward(*inputs)

    return counted
