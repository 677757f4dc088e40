"""A run: its folder, everything that changes as it goes, how it is saved and how it resumes."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

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
from reidblocks import training as tools
from reidblocks.data import BatchAugmentation, ReIDDataset


class Plan(NamedTuple):
    """Where a run lies, and what it starts from."""

    folder: Path
    config: MDPRConfig
    state: dict[str, Any]  # to resume from; {} of a new run
    start: Path | None  # a checkpoint whose network is trained on
    started: dict[str, Any]  # what is in it


def plan_run(
    config: MDPRConfig,
    world: tools.DistributedContext,
    *,
    changed: Mapping[str, Any] = {},
    flags: Mapping[str, Any] = {},
    out: Path | None = None,
    resume: Path | None = None,
    start: Path | None = None,
) -> Plan:
    """Settle a run's folder and configuration, and read what it goes on with.

    A resumed run refuses ``changed`` fields (and a "preset") other than its own, a new one those
    of ``flags`` that have no effect. ``start`` is a checkpoint whose network to train on.
    """
    if resume:
        return find_run(resume, changed, world.device)
    name = f"{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = world.broadcast(out or Path("runs") / name)
    expect_no_run(folder)
    started = load_checkpoint(start, world.device) if start else {}
    if start:
        theirs = from_dict(started["config"])
        refuse_other_network(theirs, changed, start)
        config = config.with_network_of(theirs)
    refuse_unused(config, flags)
    return Plan(folder, settle_precision(config, world), {}, start, started)


def enter_run(plan: Plan, training: "Training") -> None:
    """Make a new run's folder, with its first checkpoint; note where a run begins or resumes."""
    run, start = plan.folder, plan.start and str(plan.start.resolve())
    if not plan.state:
        expect_no_run(run)
        run.mkdir(parents=True, exist_ok=True)
        tools.Checkpoints(run).save(training.state(), 0)
    path = run / "environment.json"
    before = read_json(path) if path.exists() and plan.state else []
    here = tools.describe_environment(Path(__file__).parent)
    write_json(path, [*before, {"step": training.step, "start": start, **here}])
    if not (run / "config.json").exists():
        write_json(run / "config.json", dataclasses.asdict(plan.config))  # last: now it is a run


def expect_no_run(run: Path) -> None:
    """Raise if the folder holds a run, or is none."""
    if (run / "config.json").exists():
        raise FileExistsError(f"{run} holds a run already; name another --out, or --resume {run}")
    if run.exists() and not run.is_dir():
        raise FileExistsError(f"{run} is a file; name a folder with --out")


def find_run(resume: Path, changed: Mapping[str, Any], device: torch.device) -> Plan:
    """Find a run by its folder or a checkpoint in it, with its newest state."""
    state = load_checkpoint(resume, device)
    config = from_dict(state["config"])
    fields = {name: value for name, value in changed.items() if name != "preset"}
    preset = dataclasses.asdict(PRESETS[changed["preset"]]) if "preset" in changed else {}
    own = dataclasses.asdict(config)
    if fixed := other_fields(asked := preset | fields, own):
        raise ValueError(
            f"--resume goes on as the run was set: {unlike(fixed, own, asked)}. Leave those out, "
            "or train its network on with --start"
        )
    movable = {name: fields[name] for name in settings("movable") if name in fields}
    run = resume.parent if resume.is_file() else resume
    return Plan(run, dataclasses.replace(config, **movable), state, None, {})


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    tools.write_file(path, json.dumps(value, indent=2) + "\n")


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
        mode = "reduce-overhead" if device.type == "cuda" else None
        self.terms = torch.compile(self.uncompiled, backend=backend, mode=mode, dynamic=False)


class Training:
    """A run: everything that changes as it goes, how to take a step, and how to save it."""

    def __init__(
        self, config: MDPRConfig, data: ReIDDataset, world: tools.DistributedContext, fresh: bool
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data, self.world = config, data, world
        self.loader, self.sampler = train_loader(config, data, world.rank, world.world_size)
        place: dict[str, Any] = {"rank": world.rank, "world_size": world.world_size}
        self.tests = [eval_loader(config, side, **place) for side in (data.query, data.gallery)]
        self.model = build_model(config, pretrained=fresh, quiet=not world.is_main)
        criterion = Criterion(config, self.model.sizes, data.num_identities)
        if config.checkpoint_branches and isinstance(self.model, MDPR):
            model = self.model
            tools.recompute(model.stem, model.soft_stem, model.hard, model.soft)
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
        self.schedule = tools.warmup_cosine(
            self.optimizer, steps=self.steps, warmup_steps=config.warmup_steps,
            first=config.first_lr / config.lr, last=config.last_lr / config.lr,
        )  # fmt: skip
        self.precision = pick_precision(config, world.device)
        scaled = {"auto": self.precision is torch.float16, "on": True, "off": False}
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=scaled[config.scaler])
        self.ema = None if config.ema is None else tools.averaged_model(self.model, config.ema)
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
        if missing := sorted({*self.stateful(), "sampler", "step"} - set(state)):
            raise ValueError(f"{path} has no {missing[0]} to resume with; train on with --start")
        self.sampler.load_state_dict(state["sampler"])  # first: it says so if the data are others
        for name, part in self.stateful().items():
            part.load_state_dict(state[name])
        if self.ema:
            self.ema.n_averaged.fill_(state["ema_updates"] + 1)
            self.ema.module.load_state_dict(state["model"])
            self.model.load_state_dict(state["trained"])
        self.epoch, self.step, self.best = (state[name] for name in ("epoch", "step", "best"))
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
            self.ema = tools.averaged_model(self.model, self.config.ema)

    def rate(self) -> float:
        """Return the learning rate of the heads."""
        return float(self.schedule.get_last_lr()[0])

    def tested_model(self) -> Network:
        """The network, or the average of its weights where there is one."""
        return cast(Network, self.ema.module) if self.ema else self.model

    def tested(self) -> Score:
        """Test it, each process its share of the batches."""
        model, world = self.tested_model(), self.world
        world.broadcast_buffers(model)
        query, gallery = self.tests
        how: dict[str, Any] = {"names": self.data, "progress": world.is_main}
        return score(model, query, gallery, world.device, self.precision, **how)


def synchronize_batch_norm(module: TrainingStep, device: torch.device) -> TrainingStep:
    """Let every batch normalization see the images of all processes, under the same names."""
    if device.type == "cpu":
        raise ValueError(
            "--sync-bn needs a GPU for each process: torch's SyncBatchNorm has no CPU version. "
            "Leave it out, or train in one process"
        )
    converted: TrainingStep = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


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
