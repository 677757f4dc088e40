"""``--compile``: the same training, step by step, under the same names."""

import copy
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny import TINY, tiny
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import train
from build import load_checkpoint
from config import MDPRConfig
from criterion import Criterion
from reidblocks.data import synthetic_people
from run import TrainingStep

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("data"), num_train_identities=8, num_test_identities=4,
        images_per_camera=2, num_cameras=2, size=(32, 16),
    )  # fmt: skip


def small_step(config: MDPRConfig) -> TrainingStep:
    """A step of a small MDPR without chance in it, in float32."""
    torch.manual_seed(0)
    model = tiny(**dataclasses.asdict(config))
    criterion = Criterion(model.config, model.sizes, num_classes=4)
    return TrainingStep(nn.Identity(), model, criterion)


def losses_of(
    step: nn.Module, steps: int = 3, device: torch.device = CPU
) -> list[dict[str, float]]:
    """Train a few steps; return the terms of each."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-3, fused=True)
    told = []
    for _ in range(steps):
        images = torch.randn(8, 3, 48, 24, generator=generator)
        labels = torch.arange(4).repeat_interleave(2)
        terms = step(images.to(device), labels.to(device))
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


def test_it_does_not_go_with_gradient_shares() -> None:
    with pytest.raises(ValueError, match="leave out one of --compile and --gradient-shares"):
        dataclasses.replace(TINY, compile=True, gradient_shares=5)


@pytest.mark.slow  # inductor compiles twice
def test_a_compiled_run_resumes_to_the_last_bit(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        f"--preset synthetic --dataset market1501 --data-root {people} --out {tmp_path / 'whole'} "
        "--height 32 --width 16 --identities 4 --images 2 --embed-dim 8 --epochs 2 --eval-every 2 "
        "--workers 0 --no-pictures --compile"
    )
    train.main(words.split())
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    first, last = sorted((tmp_path / "cut").glob("step-*.pt"), key=lambda p: int(p.stem[5:]))
    last.unlink()
    shutil.copy(first, tmp_path / "cut" / "last.pt")
    torch.compiler.reset()
    train.main(["--resume", str(tmp_path / "cut")])
    assert "going on after step" in capsys.readouterr().out
    states = [load_checkpoint(tmp_path / name) for name in ("whole", "cut")]
    assert states[0]["step"] == states[1]["step"]
    assert not any("_orig_mod" in name for name in states[0]["model"])
    for part in ("model", "criterion"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)


@pytest.mark.parametrize(
    "backend",
    [
        "gloo",
        pytest.param(
            "nccl",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
            ],
        ),
    ],
)
def test_ddp_takes_a_compiled_step(backend: str) -> None:
    """One process, as NCCL takes one for each GPU: its collectives run all the same."""
    device = torch.device("cuda", 0) if backend == "nccl" else CPU
    plain = small_step(TINY).to(device)
    step = copy.deepcopy(plain)
    step.terms = step.uncompiled  # of the copy
    torch.compiler.reset()
    step.compile_terms(device, "inductor" if backend == "nccl" else "aot_eager")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        found = losses_of(DistributedDataParallel(step), device=device)
    finally:
        dist.destroy_process_group()
    expected = losses_of(plain, device=device)
    for these, those in zip(found, expected, strict=True):
        assert sum(these.values()) == pytest.approx(sum(those.values()), rel=1e-4)
