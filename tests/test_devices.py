"""Devices without float64: evaluation moves to the CPU, says so once, and all else stays."""

import warnings

import pytest
import torch
from torch import Tensor

from reidblocks import _devices
from reidblocks.evaluation import Features, search

# Stands in for a device without float64. What is moved away from it fails by torch's own words,
# as it holds no numbers: so the test sees that the move is tried, and from where.
WITHOUT = torch.device("meta")


@pytest.fixture(autouse=True)
def _a_device_without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_devices, "has_float64", lambda device: device != WITHOUT)
    _devices._say_once.cache_clear()


def on_the_device() -> Tensor:
    return torch.rand(4, 8, device=WITHOUT)


def test_features_are_moved_to_the_cpu() -> None:
    with (
        pytest.warns(UserWarning, match="which meta devices do not have: .* moved to the CPU"),
        pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"),
    ):
        Features(on_the_device(), [1, 1, 2, 2])


def test_so_are_tensors_that_are_searched() -> None:
    with (
        pytest.warns(UserWarning, match="moved to"),
        pytest.raises(NotImplementedError, match="meta tensor"),
    ):
        search(on_the_device(), on_the_device(), k=1)


def test_it_is_said_once() -> None:
    with pytest.warns(UserWarning, match="moved to"), pytest.raises(NotImplementedError):
        Features(on_the_device(), [1, 1, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotImplementedError):
            Features(on_the_device(), [1, 1, 2, 2])


def test_what_has_float64_stays_where_it_is() -> None:
    values = torch.rand(4, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Features(values, [1, 1, 2, 2]).values is values


def test_a_device_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert all(_devices.has_float64(torch.device(kind)) for kind in ("cpu", "cuda", "meta"))

    def refuse(*_: object, **__: object) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    _devices.has_float64.cache_clear()
    monkeypatch.setattr(torch, "zeros", refuse)
    assert not _devices.has_float64(torch.device("mps"))
    _devices.has_float64.cache_clear()
