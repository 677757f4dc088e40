"""What save_checkpoint accepts, load_checkpoint reads; what it refuses, it names."""

import collections
import dataclasses
import enum
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidblocks.training import load_checkpoint, save_checkpoint


class Level(enum.IntEnum):
    HIGH = 1


@dataclasses.dataclass
class Settings:
    lr: float = 0.1


Pair = collections.namedtuple("Pair", "a b")

KEPT = {
    "np.float64": np.float64(0.5),
    "np.int32": np.int32(3),
    "np.bool": np.True_,
    "np.float16": np.float16(2),
    "np.complex64": np.complex64(1j),
    "array": np.arange(6).reshape(2, 3),
    "array of no value": np.empty((0, 2), np.float32),
    "array of a number": np.array(1.5),
    "array by columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "numpy's legacy state": np.random.RandomState(0).get_state(),
    "numpy's state": np.random.default_rng(0).bit_generator.state,
    "python's state": random.getstate(),
    "torch's state": torch.get_rng_state(),
    "OrderedDict": collections.OrderedDict(a=1),
    "Counter": collections.Counter("aab"),
    "nested": {"a": [1, (2.5, None, True), {3: "x", (4, 5): "y"}]},
    "bytes": b"abc",
    "no bytes": b"",
    "bytearray": bytearray(b"x"),
    "complex": 1j,
    "a large integer": 2**128,
    "text that is none": "caf\udce9",
    "size": torch.Size([1, 2]),
    "dtype": torch.bfloat16,
    "device": torch.device("cpu"),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "within a graph": torch.ones(2, requires_grad=True) * 2,
    "numpy key": {np.int64(3): 1},
}
REFUSED = {
    "Path": (Path("a"), r"Path: .* Convert it with str\(\.\.\.\)"),
    "defaultdict": (collections.defaultdict(int), r"collections\.defaultdict: .* dict\("),
    "namedtuple": (Pair(1, 2), r"Pair: .* Convert it with \._asdict\(\)"),
    "dataclass": (Settings(), r"Settings: .*dataclasses\.asdict"),
    "enum": (Level.HIGH, r"Level: .* Save its \.value"),
    "frozenset": (frozenset({1}), r"frozenset: .* Convert it with sorted\("),
    "module": (torch.nn.ReLU(), r"ReLU: .* Save its state_dict\(\)"),
    "generator": (torch.Generator(), r"Generator: .* Save its get_state\(\)"),
    "function": (lambda: 0, r"of type function: .* Leave functions and classes out"),
    "class": (Settings, r"of type type: .* Leave functions and classes out"),
    "object": (slice(1), r"slice: .* Convert it to numbers, text, tensors, or dicts"),
    "text of numpy": (np.str_("a"), r"numpy\.str_: .* \.tolist\(\)"),
    "array of text": (np.array(["a"]), r"ndarray of <U1: .* \.tolist\(\)"),
    "array of objects": (np.array([None]), r"ndarray of object: .* \.tolist\(\)"),
    "long double": (np.zeros(1, np.longdouble), r"Convert it to float64"),
    "an integer too large": (2**5000, r"of type int: .* Convert it with str\("),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (torch.Tensor, np.ndarray, np.generic)):
        kinds = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return kinds and bool((a == b).all())
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and all(map(same, a.items(), b.items()))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
def test_what_is_saved_is_read_back(tmp_path: Path, value: Any) -> None:
    save_checkpoint(tmp_path / "a.pt", {"value": value})
    assert same(load_checkpoint(tmp_path / "a.pt")["value"], value)


@pytest.mark.parametrize(("value", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_not_be_read_is_refused_by_name(tmp_path: Path, value: Any, said: str) -> None:
    save_checkpoint(tmp_path / "a.pt", {"step": 1})
    place = r'^save_checkpoint cannot keep state\["a"\]\["b"\]\[1\], of type '
    with pytest.raises(TypeError, match=place) as error:
        save_checkpoint(tmp_path / "a.pt", {"a": {"b": [0, value]}})
    assert error.match(said)
    assert error.match("Nothing was written")
    assert load_checkpoint(tmp_path / "a.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_keys_and_attributes_are_looked_at_too(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r'the key .*Path\(\S+\) of state\["a"\], of type'):
        save_checkpoint(tmp_path / "a.pt", {"a": {Path("x"): 1}})
    weights = torch.nn.Linear(1, 1).state_dict()
    weights._metadata["note"] = Path("x")  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r'vars\(state\["model"\]\)\["_metadata"\]\["note"\]'):
        save_checkpoint(tmp_path / "a.pt", {"model": weights})
    tensor = torch.ones(1)
    tensor.note = Path("x")  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r'state\["a"\], of type torch\.Tensor: .* \.detach\(\)'):
        save_checkpoint(tmp_path / "a.pt", {"a": tensor})


def test_a_state_that_is_no_dict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save_checkpoint expects state as a dict, got list"):
        save_checkpoint(tmp_path / "a.pt", [1])  # type: ignore[arg-type]


def test_a_state_that_holds_itself_is_kept(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    save_checkpoint(tmp_path / "a.pt", state)
    read = load_checkpoint(tmp_path / "a.pt")
    assert read["self"] is read


def test_tensors_are_not_copied_to_look_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 2, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    state = {
        name: part.state_dict()
        for name, part in {"model": model, "optimizer": optimizer, "scheduler": scheduler}.items()
    }
    written: list[Any] = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda o, f: (written.append(o), save(o, f)))
    save_checkpoint(tmp_path / "a.pt", state)
    assert all(o is state or not isinstance(o, (dict, list, torch.Tensor)) for o in written)
    model.load_state_dict(load_checkpoint(tmp_path / "a.pt")["model"])


def test_what_the_user_lets_torch_load_stays(tmp_path: Path) -> None:
    with torch.serialization.safe_globals([np.dtype]):
        before = set(torch.serialization.get_safe_globals())
        save_checkpoint(tmp_path / "a.pt", {"value": np.float64(1)})
        load_checkpoint(tmp_path / "a.pt")
        assert set(torch.serialization.get_safe_globals()) == before
    assert np.dtype not in torch.serialization.get_safe_globals()


def test_an_array_of_the_other_byte_order_keeps_its_values(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"value": np.arange(3, dtype=">i4")})
    assert load_checkpoint(tmp_path / "a.pt")["value"].tolist() == [0, 1, 2]


def test_threads_read_at_once(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"value": [np.float64(n) for n in range(100)]})
    read: list[Any] = []

    def load() -> None:
        for _ in range(10):
            read.append(load_checkpoint(tmp_path / "a.pt"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 40


def test_a_state_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TypeError, match="save_checkpoint expects state of some levels"):
        save_checkpoint(tmp_path / "a.pt", {"deep": deep})
    assert not list(tmp_path.iterdir())
