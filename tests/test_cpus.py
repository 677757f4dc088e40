"""What tests/cpus.py sets is what the tests compute with, and a run that fails is told."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CPUS: dict[str, dict[str, str]] = runpy.run_path(str(ROOT / "tests/cpus.py"))["CPUS"]
CODE = """
import runpy
runpy.run_path("tests/conftest.py")
import torch
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
"""


@pytest.mark.parametrize("name", list(CPUS)[:2])
def test_the_variables_act_in_a_worker_of_the_suite(name: str) -> None:
    environment = {**os.environ, "PYTEST_XDIST_WORKER": "gw0", **CPUS[name]}
    printed = subprocess.check_output(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, text=True
    )
    *kernels, threads = printed.split()
    assert threads == CPUS[name]["OMP_NUM_THREADS"]
    if CPUS[name]["ATEN_CPU_CAPABILITY"] == "default":
        assert " ".join(kernels) in ("DEFAULT", "NO AVX")  # the second in older torch


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_it.py").write_text(
        "import os\ndef test_it():\n    assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    )
    command = [sys.executable, "tests/cpus.py", "-n", "0", "-c", str(tmp_path / "pytest.ini")]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    told = dict(reversed(line.split(maxsplit=1)) for line in done.stdout.splitlines()[-len(CPUS) :])
    assert told == {
        name: "ok" if variables["OMP_NUM_THREADS"] == "1" else "FAILED"
        for name, variables in CPUS.items()
    }
