"""``--compile``: the same training, step by step, under the same names."""

import copy
import dataclasses

import pytest
import torch
from tiny import TINY, tiny
from torch import Tensor, nn

import run
from config import MDPRConfig
from criterion import Criterion
from run import TrainingStep

CPU = torch.device("cpu")


def small_step(config: MDPRConfig) -> TrainingStep:
    """A step of a small MDPR without chance in it, in float32."""
    torch.manual_seed(0)
    model = tiny(**dataclasses.asdict(config))
    criterion = Criterion(model.config, model.sizes, num_classes=4)
    return TrainingStep(nn.Identity(), model, criterion)


def losses_of(step: TrainingStep, steps: int = 3) -> list[dict[str, float]]:
    """Train a few steps; return the terms of each."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-3, fused=True)
    told = []
    for _ in range(steps):
        images = torch.randn(8, 3, 48, 24, generator=generator)
        terms = step(images, torch.arange(4).repeat_interleave(2))
        optimizer.zero_grad()
        total: Tensor = torch.stack([*terms.values()]).sum()
        total.backward()
        optimizer.step()
        told.append({name: float(term.detach()) for name, term in terms.items()})
    return told


@pytest.mark.parametrize("circle", ["class", "pair"])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_is_the_step(circle: str, backend: str) -> None:
    plain = small_step(dataclasses.replace(TINY, circle=circle))
    compiled = copy.deepcopy(plain)
    compiled.terms = compiled.uncompiled  # of the copy
    torch.compiler.reset()
    compiled.compile_terms(CPU, backend)
    found = losses_of(compiled)
    expected = losses_of(plain)
    assert [[*terms] for terms in found] == [[*terms] for terms in expected]
    for these, those in zip(found, expected, strict=True):
        total = sum(those.values())
        assert sum(these.values()) == pytest.approx(total, rel=1e-5)
        for name, value in those.items():
            assert these[name] == pytest.approx(value, rel=1e-5, abs=1e-5 * abs(total)), name
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_it_is_one_graph_and_is_compiled_once() -> None:
    """Without breaks: what is compiled in pieces gains little, and CUDA graphs nothing."""
    step = small_step(TINY)
    images, labels = torch.randn(8, 3, 48, 24), torch.arange(4).repeat_interleave(2)
    torch.compiler.reset()
    compiled = torch.compile(step.uncompiled, backend="aot_eager", fullgraph=True, dynamic=False)
    compiled(images, labels)
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(images, labels)


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"--compile needs a C\+\+ compiler, and finds no g\+\+"):
        small_step(TINY).compile_terms(CPU)


def test_it_does_not_go_with_gradient_shares() -> None:
    with pytest.raises(ValueError, match="leave out one of --compile and --gradient-shares"):
        dataclasses.replace(TINY, compile=True, gradient_shares=5)
