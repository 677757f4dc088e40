"""What the benchmarks of speed share: the clock, the memory, the machine and where results go."""

import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reidblocks.training import write_file

RESULTS = Path(__file__).resolve().parent / "results"
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # for those that offer it
Task = Callable[[], Any]


def in_turns(tasks: dict[str, Task], rounds: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """Milliseconds of each task, all run alternating: minimum, median and maximum."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(warm_up + rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            if number >= warm_up:
                times[name].append(1000 * (time.perf_counter() - start))
    return {
        name: {"least": min(ms), "median": statistics.median(ms), "largest": max(ms)}
        for name, ms in times.items()
    }


def peak_mb(task: Task, device: torch.device = CPU) -> float:
    """How far a task makes the process (Linux) grow, or what is allocated on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        task()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = _status("VmRSS")
    task()
    return (_status("VmHWM") - before) / 1024


def fresh(script: str, *arguments: object) -> Any:
    """Run a script by itself, in a heap that nothing else has used; give the JSON it prints."""
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


class Operators(TorchDispatchMode):
    """Counts the operators that are dispatched, those that only look at memory otherwise too."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def operators(task: Task) -> int:
    """How many operators a task calls: each costs some microseconds, however little it computes."""
    with Operators() as counter:
        task()
    return counter.count


def kept_mb(
    call: Callable[..., Any], inputs: tuple[Tensor, ...], parameters: Iterable[Tensor] = ()
) -> float:
    """What is held until the gradient is taken, besides inputs and parameters (saved tensors)."""
    known = {each.untyped_storage().data_ptr() for each in (*inputs, *parameters)}
    kept: dict[int, int] = {}
    alive = []  # so that no address serves twice

    def pack(each: Tensor) -> Tensor:
        storage = each.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(each)
        return each

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda each: each):
        output = call(*inputs)
    del output
    return sum(kept.values()) / 2**20


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0].partition(":")[2].strip() if models else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@torch.no_grad()
def ceiling(device: torch.device = CPU, rounds: int = 2) -> dict[str, float]:
    """What the device reaches at its best, in 10⁹ multiplications and additions a second.

    A product of two matrices of 2,048, and the largest convolution of MDPR's fusion: 3×3, from
    2,048 channels to as many, on two maps of 24×12.
    """
    rates = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        left, right = (torch.rand(2048, 2048, device=device).to(dtype) for _ in range(2))
        tasks: dict[str, Task] = {"product": lambda left=left, right=right: left @ right}
        if dtype != torch.float64:
            maps, kernel = (
                torch.rand(shape).to(device, dtype).contiguous(memory_format=torch.channels_last)
                for shape in ((2, 2048, 24, 12), (2048, 2048, 3, 3))
            )
            tasks["convolution"] = lambda maps=maps, kernel=kernel: F.conv2d(
                maps, kernel, padding=1
            )
        operations = {"product": 2 * 2048**3, "convolution": 2 * 2 * 24 * 12 * 9 * 2048**2}
        for name, times in in_turns(tasks, rounds).items():
            rates[f"{name} {dtype}".replace("torch.", "")] = operations[name] / times["least"] / 1e6
    return rates


def write(name: str, results: dict[str, Any], device: torch.device = CPU) -> None:
    """Write results as JSON, and print them as one table: all of them, with what is lost."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_file(RESULTS / f"{name}{'_gpu' * (device.type == 'cuda')}.json", text + "\n")
    for path, value in leaves(results):
        shown = f"{value:,.4g}" if isinstance(value, float) else f"{value}"
        print(f"{path:<64} {shown:>14}")


def leaves(results: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with the names that lead to it."""
    if not isinstance(results, dict | list):
        yield path, results
        return
    for name, value in results.items() if isinstance(results, dict) else enumerate(results):
        yield from leaves(value, f"{path}, {name}" if path else f"{name}")
