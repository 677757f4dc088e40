"""A run: its folder, everything that changes as it goes, how it is saved and how it resumes."""

import dataclasses
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import reidblocks
from baselines import Network
from build import (
    build_model,
    eval_loader,
    expect_finite,
    load_checkpoint,
    pick_precision,
    settle_precision,
    train_loader,
)
from commands import refuse_other_network, refuse_unused
from config import PRESETS, MDPRConfig, from_dict, other_fields, read_json, settings, unlike
from criterion import Criterion
from evaluate import Score, score
from model import MDPR
from reidblocks.data import BatchAugmentation, ReIDDataset
from reidblocks.training import (
    DistributedContext,
    describe_environment,
    ema_with_warmup,
    recompute,
    write_file,
)


class Plan(NamedTuple):
    """Where a run lies, and what it starts from."""

    folder: Path
    config: MDPRConfig
    resumed: bool
    state: dict[str, Any]  # to resume from; {} where nothing was saved yet
    start: Path | None
    started: dict[str, Any]  # the checkpoint ``start``, whose network is trained on


def plan_run(
    config: MDPRConfig,
    world: DistributedContext,
    *,
    changed: Mapping[str, Any] = {},
    flags: Mapping[str, Any] = {},
    out: Path | None = None,
    resume: Path | None = None,
    start: Path | None = None,
) -> Plan:
    """Settle a run's folder and configuration, and read what it goes on with.

    Args:
        changed: the fields that a file or a flag named, and "preset": a resumed run refuses
            others than its own.
        flags: those that a flag named: one that has no effect is refused.
        out: the folder to make; one in runs/, named for the data and the time, if None.
        resume: the folder, or a checkpoint, of a run to go on with.
        start: a checkpoint whose network to train on.
    """
    state: dict[str, Any] = {}
    if resume:
        folder, config, state, start = find_run(resume, changed, world.device)
    else:
        name = f"{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = world.broadcast(out or Path("runs") / name)
        expect_no_run(folder)
    started = load_checkpoint(start, world.device) if start and not state else {}
    if start and started:
        theirs = from_dict(started["config"])
        if not resume:
            refuse_other_network(theirs, changed, start)
        config = config.with_network_of(theirs)
    if not resume:
        refuse_unused(config, flags)
        config = settle_precision(config, world)
    return Plan(folder, config, bool(resume), state, start, started)


def enter_run(plan: Plan, step: int) -> None:
    """Make a new run's folder; note in environment.json where it begins or resumes."""
    run, start = plan.folder, plan.start and str(plan.start.resolve())
    if not plan.resumed:
        expect_no_run(run)
        run.mkdir(parents=True, exist_ok=True)
    path = run / "environment.json"
    before = read_json(path) if path.exists() else []
    here = describe_environment(Path(__file__).parent)
    write_json(path, [*before, {"step": step, "start": start, **here}])
    if not plan.resumed:
        write_json(run / "config.json", dataclasses.asdict(plan.config))  # last: now it is a run


def expect_no_run(run: Path) -> None:
    """Raise if the folder holds a run, or is none."""
    if (run / "config.json").exists():
        raise FileExistsError(f"{run} holds a run already; name another --out, or --resume {run}")
    if run.exists() and not run.is_dir():
        raise FileExistsError(f"{run} is a file; name a folder with --out")


def find_run(
    resume: Path, changed: Mapping[str, Any], device: torch.device
) -> tuple[Path, MDPRConfig, dict[str, Any], Path | None]:
    """Find a run by its folder or a checkpoint in it.

    Returns:
        its folder; its configuration; its newest state, {} where it was cut off before the first
        was saved; and the checkpoint that it then starts from, if it was told one.
    """
    run = resume.parent if resume.is_file() else resume
    begun = [run / "config.json", run / "environment.json"]
    set_as: Any = read_json(begun[0]) if begun[0].exists() else None
    state: dict[str, Any] = {}
    start = None
    try:
        state = load_checkpoint(resume, device)
    except FileNotFoundError as error:
        if not all(file.exists() for file in begun):
            raise FileNotFoundError(
                f"{run} holds no run to go on with: neither a checkpoint nor config.json "
                "with environment.json"
            ) from error
        told = read_json(begun[1])[0]["start"]
        start = Path(told) if told else None
    config = from_dict(state["config"] if state else set_as)
    own = dataclasses.asdict(config)
    if set_as and (other := other_fields(dataclasses.asdict(from_dict(set_as)), own)):
        raise ValueError(
            f"the checkpoint in {run} is of another configuration than its config.json: "
            f"{unlike(other, own, set_as)}. Put the right one back, or train its network on with "
            "--start"
        )
    fields = {name: value for name, value in changed.items() if name != "preset"}
    preset = dataclasses.asdict(PRESETS[changed["preset"]]) if "preset" in changed else {}
    if fixed := other_fields(asked := preset | fields, own):
        raise ValueError(
            f"--resume goes on as the run was set: {unlike(fixed, own, asked)}. Leave those out, "
            "or train its network on with --start"
        )
    movable = {name: fields[name] for name in settings("movable") if name in fields}
    return run, dataclasses.replace(config, **movable), state, start


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    write_file(path, json.dumps(value, indent=2) + "\n")


class TrainingStep(nn.Module):
    """Augmentation, model and criterion as one module, so that DDP sees all parameters."""

    terms: Callable[[Tensor, Tensor], dict[str, Tensor]]

    def __init__(self, augment: nn.Module, model: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.augment, self.model, self.criterion = augment, model, criterion
        self.terms = self.uncompiled

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.terms(self.augment(images), labels)

    def uncompiled(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.criterion(self.model(images), labels)
        return terms

    def compile_terms(self, device: torch.device, backend: str = "inductor") -> None:
        """Compile model and criterion for batches of one size, keeping the names of all weights.

        On a GPU inductor replays the step as CUDA graphs of its own (``reduce-overhead``): it
        knows which inputs change, and keeps the optimizer out, whose state resuming replaces.
        """
        if backend == "inductor" and not find_compiler():
            raise ValueError(
                "--compile needs a C++ compiler, and finds no g++, clang++ or cl: install one, "
                "name it in the variable CXX, or leave out --compile"
            )
        mode = "reduce-overhead" if device.type == "cuda" else None
        self.terms = torch.compile(self.uncompiled, backend=backend, mode=mode, dynamic=False)


class Training:
    """A run: everything that changes as it goes, how to take a step, and how to save it."""

    def __init__(
        self, config: MDPRConfig, data: ReIDDataset, world: DistributedContext, fresh: bool
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data, self.world = config, data, world
        self.loader, self.sampler = train_loader(config, data, world.rank, world.world_size)
        sides = (data.query, data.gallery)
        self.tests = [
            eval_loader(config, side, rank=world.rank, world_size=world.world_size)
            for side in sides
        ]
        self.model = build_model(config, pretrained=fresh, quiet=not world.is_main)
        criterion = Criterion(config, self.model.sizes, data.num_identities)
        if config.checkpoint_branches and isinstance(self.model, MDPR):
            model = self.model
            recompute(model.stem, model.soft_stem, model.hard, model.soft)
        augment = BatchAugmentation(flip=config.flip, erase=config.erase, patch=config.patch)
        self.step_module = TrainingStep(augment, self.model, criterion)
        if config.sync_bn and world.world_size > 1:  # alone, a process sees all images
            self.step_module = synchronize_batch_norm(self.step_module, world.device)
        self.step_module.to(world.device).to(memory_format=torch.channels_last)
        if config.compile:
            self.step_module.compile_terms(world.device)
        self.parallel: nn.Module = self.step_module
        if world.world_size > 1:
            self.parallel = DistributedDataParallel(self.step_module)
        self.optimizer = torch.optim.Adam(
            parameter_groups(self.step_module, config), weight_decay=config.weight_decay, fused=True
        )
        self.steps = config.epochs * len(self.sampler)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda done: lr_factor(config, done, self.steps)
        )
        self.precision = pick_precision(config, world.device)
        scaled = {"auto": self.precision is torch.float16, "on": True, "off": False}
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=scaled[config.scaler])
        self.ema = None if config.ema is None else average_of(self.model, config.ema)
        self.sums: Counter[str] = Counter()  # of this epoch's steps, terms and gradient norms
        self.epoch = self.step = 0
        self.best = -1.0

    def stateful(self) -> dict[str, Any]:
        """Name what is saved by its own ``state_dict``."""
        return {
            "model": self.model, "criterion": self.step_module.criterion,
            "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """All that the run needs to go on: seeds come from the step, and are not among it."""
        state = {name: part.state_dict() for name, part in self.stateful().items()}
        if self.ema:  # "model" is what was tested; what is trained lies beside it
            # Updates beyond the first, which copied the network.
            state["ema_updates"], state["trained"] = int(self.ema.n_averaged) - 1, state["model"]
            state["model"] = self.ema.module.state_dict()
        return state | {
            "sampler": self.sampler.state_dict(used=self.step - self.epoch * len(self.sampler)),
            "sums": dict(self.sums),
            "config": dataclasses.asdict(self.config),
            "versions": {"reidblocks": reidblocks.__version__, "torch": str(torch.__version__)},
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
        }

    def load(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a checkpoint."""
        for name, part in self.stateful().items():
            if name not in state:
                raise ValueError(f"{path} has no {name} to resume with; train on with --start")
            part.load_state_dict(state[name])
        if self.ema:
            self.ema.n_averaged.fill_(state["ema_updates"] + 1)
            self.ema.module.load_state_dict(state["model"])
            self.model.load_state_dict(state["trained"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.step = state.get("step", self.epoch * len(self.sampler))
        if "sampler" in state:
            self.sampler.load_state_dict(state["sampler"])
            self.sums = Counter(state["sums"])

    def begin_from(self, started: dict[str, Any]) -> None:
        """Take over a checkpoint's network, and its criterion where that is the same."""
        expect_finite(started["model"], "the checkpoint of --start")
        self.model.load_state_dict(started["model"])
        criterion = self.step_module.criterion
        own, theirs = criterion.state_dict(), started["criterion"]
        same = {name: value.shape for name, value in own.items()}
        if same == {name: value.shape for name, value in theirs.items()}:
            criterion.load_state_dict(theirs)
        elif self.world.is_main:
            print("other identities or losses than the checkpoint's: the criterion starts anew")
        if self.config.ema is not None:
            self.ema = average_of(self.model, self.config.ema)

    def rate(self) -> float:
        """Return the learning rate of the heads."""
        return float(self.schedule.get_last_lr()[0])

    def tested_model(self) -> Network:
        """The network, or the average of its weights where there is one."""
        return cast(Network, self.ema.module) if self.ema else self.model

    def tested(self) -> Score:
        """Test it, each process its share of the batches."""
        model = self.tested_model()
        self.world.broadcast_buffers(model)
        (query, gallery), world = self.tests, self.world
        how = world.device, self.precision
        return score(model, query, gallery, *how, names=self.data, progress=world.is_main)

    def close(self) -> None:
        """End the processes that load images."""
        del self.loader  # the last to hold them


def find_compiler() -> str | None:
    """Return where a C++ compiler is, which inductor needs."""
    found = (shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl"))
    return next(filter(None, found), None)


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of a model's weights and running means, in eval mode."""
    ema = AveragedModel(model, multi_avg_fn=ema_with_warmup(decay), use_buffers=True)
    ema.update_parameters(model)  # copies: the next update is the first that averages
    return ema.eval().requires_grad_(False)


def synchronize_batch_norm(module: TrainingStep, device: torch.device) -> TrainingStep:
    """Let every batch normalization see the images of all processes, under the same names."""
    if device.type == "cpu":
        raise ValueError(
            "--sync-bn needs a GPU for each process: torch's SyncBatchNorm has no CPU version. "
            "Leave it out, or train in one process"
        )
    converted: TrainingStep = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def lr_factor(config: MDPRConfig, done: int, steps: int) -> float:
    """Linear from first_lr to lr during the warm-up, then a cosine down to last_lr."""
    if done < config.warmup_steps:
        share = done / config.warmup_steps
        return (config.first_lr + share * (config.lr - config.first_lr)) / config.lr
    share = min(1.0, (done - config.warmup_steps) / max(1, steps - config.warmup_steps))
    cosine = (1 + math.cos(math.pi * share)) / 2
    return (config.last_lr + cosine * (config.lr - config.last_lr)) / config.lr


BACKBONE = {"stem", "soft_stem", "stage4", "stage5", "stages"}  # modules that hold its stages


def parameter_groups(step: nn.Module, config: MDPRConfig) -> list[dict[str, Any]]:
    """Part the backbone's parameters from the others, each with its learning rate."""
    backbone: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in step.named_parameters():
        (others if BACKBONE.isdisjoint(name.split(".")) else backbone).append(parameter)
    return [
        {"params": others, "lr": config.lr},
        {"params": backbone, "lr": config.backbone_lr_factor * config.lr},
    ]
