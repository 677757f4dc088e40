"""Run the suite as other CPUs would: other instruction sets, one thread and four.

    python tests/cpus.py [PYTEST ARGUMENTS]      # make test-cpus

torch, oneDNN and MKL choose their kernels by what the CPU can do, and each kernel rounds its own
way. The variables below make them choose those of an older CPU; no variable makes them choose more
than this one has. Arguments go to pytest; without any it is the whole suite.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

FOUR_THREADS = {
    "OMP_NUM_THREADS": "4",
    "MKL_DYNAMIC": "FALSE",  # or MKL takes no more threads than there are cores
    "OMP_WAIT_POLICY": "PASSIVE",  # or threads that wait keep the cores from those that compute
}
CPUS: dict[str, dict[str, str]] = {
    "SSE4.1, one thread": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
    },
    "AVX2, four threads": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        **FOUR_THREADS,
    },
    "this CPU, four threads": FOUR_THREADS,
}


def run(name: str, variables: dict[str, str], arguments: list[str]) -> bool:
    workers = max(1, (os.cpu_count() or 1) // int(variables["OMP_NUM_THREADS"]))
    print(f"\n== {name}: {' '.join('='.join(pair) for pair in variables.items())}", flush=True)
    start = time.perf_counter()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", str(workers), *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **variables},
    ).returncode
    print(f"== {name}: exit code {code} after {time.perf_counter() - start:.0f} s", flush=True)
    return code == 0


def main(arguments: list[str]) -> int:
    passed = {name: run(name, variables, arguments) for name, variables in CPUS.items()}
    print()
    for name, ok in passed.items():
        print(f"{'ok' if ok else 'FAILED':8}{name}")
    return not all(passed.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
