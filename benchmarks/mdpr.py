"""What do MDPR's inference and training step cost, against a version straight from the paper?

    python benchmarks/mdpr.py inference     # subset by subset, plain and folded, by precision
    python benchmarks/mdpr.py step          # forward, losses, backward, Adam; with checkpointing
    python benchmarks/mdpr.py compiled      # inference by torch.compile; it compiles for minutes
    python benchmarks/mdpr.py inference --backbone resnet18 --size 128 64 --rounds 2

Writes `benchmarks/results/mdpr_TASK.json`, with --short under the name `short_...`; where there is
a GPU, all of it runs there, the file is `mdpr_TASK_gpu.json`, and peaks are what is allocated. All
that is compared is timed in one run, in turns; the peak memory of a step is taken in a process of
its own. `paper` is plain_mdpr.py in torch's default layout, with everything computed; `plain` is
our model as it is, `folded` the same after `fold_for_inference`. Operations (10⁹ multiply-adds for
one image) are counted by torch; `convolutions` is their share of a CPU's step.
"""

import argparse
import copy
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from measuring import DEVICE, Task, ceiling, fresh, in_turns, machine, peak_mb, write
from plain_mdpr import PlainMDPR, plain_losses
from reidblocks.deploy import fold_for_inference
from reidblocks.training import recompute

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from build import build_model
from config import MDPRConfig
from criterion import Criterion

SUBSETS: dict[str, tuple[str, ...]] = {
    "hard+soft+fusion": ("hard", "soft", "fusion"),
    "hard+soft": ("hard", "soft"),
    "hard": ("hard",),
    "soft": ("soft",),
}


def with_statistics(model: nn.Module) -> nn.Module:
    """Norms away from where they start, so that what is compared is not all alike."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.8, 1.2)
    return model


def gmacs(model: nn.Module, image: Tensor) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.embed(image)
    return counter.get_total_flops() / 2e9


def inference(config: MDPRConfig, batch: int, rounds: int) -> dict[str, Any]:
    model = with_statistics(build_model(config)).to(DEVICE).to(memory_format=torch.channels_last)
    model.eval()
    paper = PlainMDPR(model).to(DEVICE).to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(batch, 3, config.height, config.width, device=DEVICE)
    last = images.contiguous(memory_format=torch.channels_last)
    folded = fold_for_inference(model)
    with torch.inference_mode():
        expected = paper.embed(images)
        worst = ((expected - folded.embed(last)).abs().max() / expected.std()).item()
    found: dict[str, Any] = {
        "images": list(images.shape),
        "parameters": sum(each.numel() for each in model.parameters()),
        "largest difference from paper, in deviations": {"folded": worst},
    }
    networks = {"plain": model, "folded": folded}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        cast = {kind: copy.deepcopy(one).to(dtype) for kind, one in networks.items()}
        rows: dict[str, Any] = {}
        for subset, features in SUBSETS.items():
            names = config.feature_names(features)
            tasks = {}
            for kind, network in cast.items():

                def run(network: Any = network, names: Any = names, dtype: Any = dtype) -> None:
                    network.features = names
                    with torch.inference_mode():
                        network.embed(last.to(dtype))

                tasks[kind] = run
            if subset == "hard+soft+fusion" and dtype == torch.float32:

                def all_of_it() -> None:
                    with torch.inference_mode():
                        paper.embed(images)

                tasks["paper"] = all_of_it
            rows[subset] = {"milliseconds": in_turns(tasks, rounds)}
            if dtype == torch.float32:
                for network in cast.values():
                    network.features = names
                rows[subset]["GMACs"] = {k: gmacs(n, last[:1]) for k, n in cast.items()}
                rows[subset]["peak_mb"] = {k: peak_mb(task, DEVICE) for k, task in tasks.items()}
        found[name] = rows
        del cast
    return found | {"ratios": ratios(found)}


def by_compiler(config: MDPRConfig, batch: int, rounds: int) -> dict[str, Any]:
    """The folded network, eager and compiled by inductor, once for all batch sizes."""
    model = with_statistics(build_model(config)).to(DEVICE).to(memory_format=torch.channels_last)
    model.eval()
    images = torch.rand(batch, 3, config.height, config.width, device=DEVICE)
    images = images.contiguous(memory_format=torch.channels_last)
    found: dict[str, Any] = {"images": list(images.shape)}
    for dtype in (torch.float32, torch.bfloat16):
        folded = fold_for_inference(model).to(dtype)
        compiled = torch.compile(folded.embed, fullgraph=True, dynamic=True)
        given = images.to(dtype)
        more = torch.cat((given, given))
        with torch.inference_mode():
            start = time.perf_counter()
            compiled(more)  # for any batch but of 1; of 3, it would be taken for the channels
            row: dict[str, Any] = {"seconds to compile": time.perf_counter() - start}
            with torch.compiler.set_stance("fail_on_recompile"):
                difference = (compiled(given) - folded.embed(given)).abs().max()
                row["largest difference, in deviations"] = (
                    difference / folded.embed(given).std()
                ).item()
                tasks = {
                    "folded": lambda folded=folded, given=given: folded.embed(given),
                    "compiled": lambda compiled=compiled, given=given: compiled(given),
                }
                row["milliseconds"] = in_turns(tasks, rounds)
        found[str(dtype).removeprefix("torch.")] = row
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """What folding and precision bring, from medians."""

    def median(dtype: str, subset: str, kind: str) -> float:
        return found[dtype][subset]["milliseconds"][kind]["median"]

    every, less = "hard+soft+fusion", "hard+soft"
    plain = median("float32", every, "plain")
    paper = median("float32", every, "paper")
    times = {
        f"{kind}, {dtype}": median(dtype, every, kind)
        for dtype in ("float32", "bfloat16")
        for kind in found[dtype][every]["milliseconds"]
    }
    found_ratios = {f"{name} over plain, float32": plain / ms for name, ms in times.items()}
    found_ratios |= {f"{name} over paper, float32": paper / ms for name, ms in times.items()}
    without = times["folded, float32"] / median("float32", less, "folded")
    found_ratios["without fusion over with it, folded"] = without
    return found_ratios


KINDS = ("paper", "ours", "ours, checkpointed")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Step:
    """One step on two images an identity: forward, losses, backward, Adam."""

    def __init__(self, kind: str, config: MDPRConfig, batch: int, start: nn.Module) -> None:
        self.is_paper = kind == "paper"
        network: Any = PlainMDPR(start) if self.is_paper else copy.deepcopy(start)
        layout = torch.contiguous_format if self.is_paper else torch.channels_last
        self.network = network.to(DEVICE).to(memory_format=layout).train()
        if "checkpointed" in kind:
            recompute(network.stem, network.soft_stem, network.hard, network.soft)
        self.criterion = Criterion(config, start.sizes, batch // 2).to(DEVICE)
        images = torch.rand(batch, 3, config.height, config.width, device=DEVICE)
        self.images = images.contiguous(memory_format=layout)
        self.labels = torch.arange(batch, device=DEVICE) // 2
        parameters = [*self.network.parameters(), *self.criterion.parameters()]
        fused = None if self.is_paper else True
        self.adam = torch.optim.Adam(parameters, lr=1e-5, weight_decay=5e-4, fused=fused)

    def loss(self) -> Tensor:
        output = self.network(self.images)
        if self.is_paper:
            return plain_losses(*output, self.labels, self.criterion.distiller)
        return torch.stack(list(self.criterion(output, self.labels).values())).sum()

    def run(self, dtype: torch.dtype) -> None:
        self.adam.zero_grad()
        with torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32):
            value = self.loss()
        value.backward()
        self.adam.step()


def steps(config: MDPRConfig, batch: int, kinds: Sequence[str]) -> dict[str, Step]:
    """The same network, batch and criterion for every kind."""
    start, made = with_statistics(build_model(config)), {}
    for kind in kinds:
        torch.manual_seed(0)
        made[kind] = Step(kind, config, batch, start)
    return made


def step(config: MDPRConfig, batch: int, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"images": [batch, 3, config.height, config.width]}
    made = steps(config, batch, KINDS)
    found["losses"] = {kind: made[kind].loss().item() for kind in ("paper", "ours")}
    for name, dtype in DTYPES.items():
        tasks: dict[str, Task] = {kind: partial(one.run, dtype) for kind, one in made.items()}
        times = in_turns(tasks, rounds)
        peaks = {
            kind: peak_of(one, dtype)
            if DEVICE.type == "cuda"
            else fresh(__file__, *sys.argv[1:], "--peak", kind, name)
            for kind, one in made.items()
        }
        found[name] = {"milliseconds": times, "peak_mb": peaks}
        if DEVICE.type == "cpu":
            shares = {kind: share_of_convolutions(task) for kind, task in tasks.items()}
            found[name]["convolutions"] = shares
        paper = times["paper"]["median"]
        found[f"ratios, {name}"] = {
            kind: {"time": times[kind]["median"] / paper, "peak": peaks[kind] / peaks["paper"]}
            for kind in KINDS[1:]
        }
    return found


def share_of_convolutions(task: Task) -> float:
    """Share of a step that is spent in convolutions, forward and backward, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        task()
    spent = {each.key: each.self_cpu_time_total for each in profiled.key_averages()}
    return sum(v for key, v in spent.items() if "convolution" in key) / sum(spent.values())


def peak_of(one: Step, dtype: torch.dtype) -> float:
    """Over parameters and Adam's state: gradients and what is kept for them."""
    one.run(dtype)
    one.adam.zero_grad()
    return peak_mb(partial(one.run, dtype), DEVICE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("inference", "step", "compiled"))
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 192))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embed-dim", type=int, default=512)
    parser.add_argument("--short", action="store_true", help="a result of its own, short_...")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # KIND DTYPE, by itself
    options = parser.parse_args()
    torch.manual_seed(0)
    config = dataclasses.replace(
        MDPRConfig(),
        backbone=options.backbone,
        height=options.size[0],
        width=options.size[1],
        embed_dim=options.embed_dim,
    )
    if options.peak:
        kind, dtype = options.peak
        print(json.dumps(peak_of(steps(config, options.batch, (kind,))[kind], DTYPES[dtype])))
        return
    described = {"machine": machine(), "10^9 operations a second": ceiling(DEVICE)}
    run = {"inference": inference, "step": step, "compiled": by_compiler}[options.task]
    results = {"backbone": options.backbone, **run(config, options.batch, options.rounds)}
    name = f"{'short_' if options.short else ''}mdpr_{options.task}"
    write(name, described | results, DEVICE)


if __name__ == "__main__":
    main()
