"""A trap for ourselves: no part of MDPR can be disconnected without a test that fails.

The small preset is trained briefly. Then each part is cut on purpose, and the gradient of the
whole loss has to change by it, in the modules that the part should reach and in no others. Were
the part cut already by a slip, the cut would change nothing. That the trap shuts is shown too:
with each part cut beforehand, its check fails.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from disconnections import PARTS, TERMS, replacement
from torch import Tensor, nn

import train
from build import load_checkpoint
from config import PRESETS, MDPRConfig
from criterion import Criterion
from model import MDPR
from networks import small_resnet
from reidblocks.data import (
    ImageDataset,
    PKBatchSampler,
    eval_transform,
    read_market1501,
    synthetic_people,
)
from reidblocks.training import read_records

GROUPS = sorted({name for part in PARTS.values() for name in part.reaches}, key=len, reverse=True)
EFFECT, NOISE = 1e-6, 1e-11  # changes of a gradient, as shares of it, in float64


class Trained(NamedTuple):
    """The small preset after a brief training, and a batch."""

    step: nn.Module
    images: Tensor
    labels: Tensor
    before: dict[str, Tensor]  # parameters at the start
    terms: list[dict[str, float]]  # of each batch


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("people"), num_train_identities=8, num_test_identities=4,
        images_per_camera=2, num_cameras=2, size=(64, 32),
    )  # fmt: skip


def small(people: Path) -> MDPRConfig:
    return dataclasses.replace(
        PRESETS["synthetic"], dataset="market1501", data_root=str(people), height=64, width=32,
        embed_dim=16, identities=4, images=3, workers=0, precision="float32", epochs=3,
        eval_every=3, warmup_steps=2,
    )  # fmt: skip


class Step(nn.Module):
    """Model and criterion side by side, as train.py has them; a backbone a quarter as wide."""

    def __init__(self, config: MDPRConfig, num_classes: int) -> None:
        super().__init__()
        self.model = MDPR(small_resnet(8), config)
        self.criterion = Criterion(config, self.model.sizes, num_classes)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.criterion(self.model(images), labels)
        return terms


@pytest.fixture(scope="module")
def trained(people: Path) -> Trained:
    torch.manual_seed(0)
    config, data = small(people), read_market1501(people)
    images = ImageDataset(data.train, eval_transform((64, 32)), data.labels)
    labels = [data.labels[sample.identity] for sample in data.train]
    step = Step(config, data.num_identities)
    before = {name: value.detach().clone() for name, value in step.named_parameters()}
    optimizer = torch.optim.Adam(step.parameters(), lr=config.lr)
    recorded = []
    batches = PKBatchSampler(labels, num_identities=4, num_images=2, num_batches=12)
    for batch in batches:
        items = [images[index] for index in batch]
        pixels = torch.stack([item.image for item in items])
        targets = torch.tensor([item.label for item in items])
        terms = step(pixels, targets)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        recorded.append({name: value.item() for name, value in terms.items()})
    return Trained(step.double(), pixels.double(), targets, before, recorded)


def gradients(state: Trained) -> dict[str, Tensor]:
    """The gradient of the whole loss in each group of modules, as one vector."""
    running = {name: value.clone() for name, value in state.step.named_buffers()}
    state.step.zero_grad(set_to_none=True)
    torch.stack(list(state.step(state.images, state.labels).values())).sum().backward()
    for name, buffer in state.step.named_buffers():
        buffer.copy_(running[name])
    found: dict[str, list[Tensor]] = {}
    for name, parameter in state.step.named_parameters():
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found.setdefault(group_of(name), []).append(gradient.flatten())
    return {name: torch.cat(parts) for name, parts in found.items()}


@pytest.fixture(scope="module")
def whole(trained: Trained) -> dict[str, Tensor]:
    """The gradients with all parts connected."""
    return gradients(trained)


def group_of(parameter: str) -> str:
    name = parameter.removeprefix("model.")
    return next(group for group in GROUPS if name.startswith(f"{group}."))


def check(state: Trained, name: str, whole: dict[str, Tensor]) -> None:
    """Cutting a part must change the gradient where the part reaches, and nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        PARTS[name].cut(patch)
        cut = gradients(state)
    effects = {
        group: ((whole[group] - cut[group]).norm() / whole[group].norm()).item() for group in whole
    }
    for group in PARTS[name].reaches:
        assert effects[group] > EFFECT, f"{name} has no effect on {group}: is it connected?"
    for group in set(effects) - PARTS[name].reaches:
        assert effects[group] < NOISE, f"{name} reaches {group}, which it should not"


@pytest.mark.parametrize("name", PARTS)
def test_every_part_reaches_what_it_should(
    name: str, trained: Trained, whole: dict[str, Tensor]
) -> None:
    check(trained, name, whole)


@pytest.mark.parametrize("name", PARTS)
def test_the_trap_shuts_on_every_part(
    name: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    PARTS[name].cut(monkeypatch)
    with pytest.raises(AssertionError, match="is it connected"):
        check(trained, name, gradients(trained))


def test_the_parts_are_all_there_are(trained: Trained) -> None:
    assert set(TERMS) == set(trained.terms[0])
    assert {group_of(name) for name in trained.before} == set(GROUPS)


def test_the_brief_training_moves_every_parameter_and_lowers_the_losses(
    trained: Trained,
) -> None:
    for name, parameter in trained.step.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter.float(), trained.before[name]), name
    for kind in ("circle", "triplet"):
        first, last = (
            sum(value for terms in some for name, value in terms.items() if name.startswith(kind))
            for some in (trained.terms[:3], trained.terms[-3:])
        )
        assert last < first, kind


def small_batches(people: Path) -> Iterator[list[int]]:
    """Batches from the training images, but for all except one of the first identity's."""
    data = read_market1501(people)
    labels = [data.labels[sample.identity] for sample in data.train]
    kept = [index for index, label in enumerate(labels) if label != 0 or index == labels.index(0)]
    for batch in PKBatchSampler([labels[i] for i in kept], num_identities=4, num_images=3):
        yield [labels[kept[index]] for index in batch]


def check_replacement(people: Path) -> None:
    batches = list(small_batches(people))
    assert any(0 in batch for batch in batches)
    for batch in batches:
        counts = {label: batch.count(label) for label in batch}
        assert sorted(counts.values()) == [3, 3, 3, 3], "an identity of few images is not filled up"


def test_an_identity_of_few_images_is_filled_up(people: Path) -> None:
    check_replacement(people)


def test_the_trap_shuts_on_the_replacement_rule(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacement(monkeypatch)
    with pytest.raises(AssertionError, match="not filled up"):
        check_replacement(people)


def run(people: Path, out: Path) -> dict[str, Tensor]:
    """Train the small preset by train.py; give the parameters of model and criterion."""
    config = small(people)
    changed = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(PRESETS["synthetic"], field.name)
    }
    words = [f"--{name.replace('_', '-')}={value}" for name, value in changed.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw_run", lambda *_: [])
        train.main(["--preset", "synthetic", *words, "--out", str(out)])
    state = load_checkpoint(out)
    model = {f"model.{name}": value for name, value in state["model"].items()}
    return model | {f"criterion.{name}": value for name, value in state["criterion"].items()}


WholeRun = tuple[Path, dict[str, Tensor]]


@pytest.fixture(scope="module")
def whole_run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    folder = tmp_path_factory.mktemp("trap") / "whole"
    return folder, run(people, folder)


def test_train_py_adds_up_every_term(whole_run: WholeRun) -> None:
    for record in read_records(whole_run[0] / "metrics.jsonl")[1:]:
        terms = {name: value for name, value in record["train"].items() if name in TERMS}
        assert set(terms) == set(TERMS)
        assert record["train"]["total"] == pytest.approx(sum(terms.values()), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_train_py_trains_otherwise_without_a_part(
    name: str,
    people: Path,
    whole_run: WholeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    PARTS[name].cut(monkeypatch)
    other = run(people, tmp_path / "cut")
    moved: dict[str, list[Tensor]] = {}
    for key, value in whole_run[1].items():
        if value.is_floating_point() and "running" not in key:
            moved.setdefault(group_of(key), []).append((value - other[key]).abs().max())
    for group in PARTS[name].reaches:
        assert torch.stack(moved[group]).max() > 1e-4, f"{name} trains nothing in {group}"


@pytest.mark.slow
def test_train_py_is_the_same_twice(people: Path, whole_run: WholeRun, tmp_path: Path) -> None:
    """Else a difference without a part would show nothing."""
    again = run(people, tmp_path / "again")
    for key, value in whole_run[1].items():
        assert torch.equal(value, again[key]), key
