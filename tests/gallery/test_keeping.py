"""Nothing acknowledged is lost, and nothing removed is left: kills, full disks, two writers."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery import Gallery, lock
from reidblocks.gallery import gallery as module
from reidblocks.gallery import table as files

SPEC = EmbedderSpec("mine", 8, fingerprint="a3f0")
Vectors = Callable[..., Tensor]

START = """
import sys, torch
from reidblocks.gallery import Gallery
gallery = Gallery.open(sys.argv[1])
"""
ADDING = (
    START
    + """
for batch in range(10**6):
    vectors = torch.nn.functional.one_hot(torch.arange(4) + batch % 4, 8).float()
    gallery.add(vectors, person=f"{sys.argv[2]}{batch}", track=sys.argv[3] or None, camera="hall")
    print(batch, flush=True)
"""
)


def started(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def holders(folder: str | Path, needle: bytes) -> list[str]:
    """Return the files that hold these bytes."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path.name for path in files if needle in path.read_bytes())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
@pytest.mark.parametrize("moment", [0.0, 0.007])
def test_a_kill_while_adding_loses_nothing(gallery: Gallery, moment: float) -> None:
    child = started(ADDING, gallery.path, "p", "")
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(5)]
    time.sleep(moment)  # somewhere within a later call
    child.send_signal(signal.SIGKILL)
    told += child.stdout.readlines()
    child.wait()
    acknowledged = {f"p{int(line)}" for line in told if line.endswith("\n")}
    people = {each.name: each.rows for each in Gallery.open(gallery.path).people()}
    assert acknowledged <= set(people)
    assert len(people) <= len(acknowledged) + 1  # the call that was killed, whole or not at all
    assert set(people.values()) == {4}
    gallery.add(torch.eye(8), person="later")
    gallery.optimize()
    assert gallery.search(torch.eye(8), where="person = 'p0'", k=1)[0][0].person == "p0"
    assert gallery.remove(person="later") == 8
    assert {each.name for each in gallery.people()} == set(people)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_kill_while_a_track_grows_keeps_its_last_state(gallery: Gallery) -> None:
    code = ADDING.replace('person=f"{sys.argv[2]}{batch}", ', "")
    child = started(code, gallery.path, "", "7")
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(4)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.readlines()
    child.wait()
    images = 4 * len([line for line in told if line.endswith("\n")])
    (person,) = gallery.people()
    assert person.rows == 1
    assert person.images in (images, images + 4)


def test_two_writers_take_turns_and_lose_nothing(gallery: Gallery) -> None:
    code = ADDING.replace("10**6", "12")
    children = [started(code, gallery.path, name, track) for name, track in (("a", ""), ("b", ""))]
    removed = 0
    while any(child.poll() is None for child in children):
        removed += gallery.remove(person="a3") + gallery.remove(person="b5")
    removed += gallery.remove(person="a3") + gallery.remove(person="b5")
    assert [child.wait() for child in children] == [0, 0]
    people = {each.name: each.rows for each in gallery.people()}
    assert people == {
        f"{name}{batch}": 4 for name in "ab" for batch in range(12)
        if (name, batch) not in (("a", 3), ("b", 5))
    }  # fmt: skip
    assert removed == 8


def test_two_writers_of_one_track_lose_no_image(gallery: Gallery) -> None:
    code = ADDING.replace("10**6", "8").replace('person=f"{sys.argv[2]}{batch}", ', "")
    children = [started(code, gallery.path, "", "7") for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert [(each.rows, each.images) for each in gallery.people()] == [(1, 64)]


def test_a_writer_that_waits_too_long(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT", 0.05)
    with (
        lock.writers_turn(Path(gallery.path)),
        pytest.raises(TimeoutError, match=r"written by another process for 0\.05 seconds; nothing"),
    ):
        gallery.add(torch.eye(8))
    assert len(gallery) == 0
    gallery.add(torch.eye(8))
    assert len(gallery) == 8


def test_a_full_disk_is_told_and_loses_nothing(gallery: Gallery) -> None:
    pytest.importorskip("resource", reason="this system has no limit on the size of a file")
    code = (
        START
        + """
import resource
added = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    for number in (100, 1_000, 100_000):
        gallery.add(torch.rand(number, 8), person=f"{number}")
        added += number
except OSError as error:
    print(added, len(gallery), error)
"""
    )
    child = started(code, gallery.path)
    said = child.communicate()[0]
    assert child.returncode == 0
    start = f"1100 1100 cannot add to the gallery {gallery.path}: the disk is full, "
    assert said.startswith(start)
    assert "MB are free; what was in it before is whole. Make room, then try again" in said
    assert [(each.name, each.rows) for each in gallery.people()] == [("100", 100), ("1000", 1000)]
    gallery.add(torch.rand(10, 8), person="later")
    assert len(gallery) == 1110


def test_a_disk_too_full_to_remove_is_told_and_removes_nothing(
    gallery: Gallery, vectors: Vectors
) -> None:
    pytest.importorskip("resource", reason="this system has no limit on the size of a file")
    gallery.add(vectors(10_000), person="ben")
    gallery.add(vectors(1), person="anna")
    code = (
        START
        + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    gallery.remove(person="anna")
except OSError as error:
    print(len(gallery), error)
"""
    )
    child = started(code, gallery.path)
    said = child.communicate()[0]
    assert said.startswith(f"10001 cannot remove from the gallery {gallery.path}: the disk is full")
    assert [each.name for each in gallery.people()] == ["anna", "ben"]
    assert gallery.remove(person="anna") == 1


@pytest.mark.parametrize("how", ["person", "where"])
@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_removed_is_in_no_file(
    gallery: Gallery, vectors: Vectors, how: str, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = vectors(400)
    name, kept = "Anna-Karolina Meier", "Ben Okonkwo"
    secret = "crops/secret_0815.jpg"
    for rows in embeddings.split(100):  # several files and versions
        gallery.add(rows[1:], person=kept, source="crops/others.jpg")
        gallery.add(rows[:1], person=name, source=secret, camera="hall", track=7)
    if indexed:
        monkeypatch.setattr(module, "INDEX_FROM", 100)
        monkeypatch.setattr(module, "PARTITION", 50)
        gallery.optimize()
        assert gallery._indexed()
    (row,) = files.from_arrow(gallery._rows(f"person = '{name}'"))
    stays = files.from_arrow(gallery._rows(f"person = '{kept}'"))[7]
    assert holders(gallery.path, row.vector.tobytes())
    assert holders(gallery.path, name.encode())
    if how == "person":
        assert gallery.remove(person=name) == 1
    else:
        assert gallery.remove(where="track = '7'") == 1
    for part in (row.vector[:4].tobytes(), name.encode(), b"Karolina", secret.encode()):
        assert holders(gallery.path, part) == []
    assert holders(gallery.path, stays.vector.tobytes())
    assert [(each.name, each.rows) for each in gallery.people()] == [(kept, 396)]
    assert gallery.search(torch.from_numpy(row.vector)[None], k=1)[0][0].person == kept
    assert gallery.remove(person=name) == 0


def test_what_was_updated_leaves_with_its_older_states(gallery: Gallery, vectors: Vectors) -> None:
    states = []
    for _ in range(3):
        gallery.add(vectors(2), person="anna", camera=1, track=1)
        states.append(files.from_arrow(gallery._rows("track = '1'"))[0].vector)
    gallery.add(vectors(50), person="ben")
    assert all(holders(gallery.path, state.tobytes()) for state in states)
    gallery.remove(person="anna")
    assert not any(holders(gallery.path, state.tobytes()) for state in states)


def test_a_removal_that_was_interrupted_is_finished_by_the_next(
    gallery: Gallery, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add(vectors(30), person="ben")
    gallery.add(vectors(1), person="anna")
    (row,) = files.from_arrow(gallery._rows("person = 'anna'"))
    with monkeypatch.context() as patch:
        patch.setattr(files, "clean", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gallery.remove(person="anna")
    assert holders(gallery.path, row.vector.tobytes())
    assert Gallery.open(gallery.path).remove(person="anna") == 0
    assert holders(gallery.path, row.vector.tobytes()) == []
    assert len(gallery) == 30


def test_a_reader_sees_what_another_process_writes(gallery: Gallery, vectors: Vectors) -> None:
    reader = Gallery.open(gallery.path)
    embeddings = vectors(3)
    gallery.add(embeddings, person=["a", "b", "c"])
    assert reader.search(embeddings, k=1)[2][0].person == "c"
    gallery.remove(person="c")
    assert len(reader) == 2
    assert [each.name for each in reader.people()] == ["a", "b"]
    reader.add(embeddings[2:], person="d")
    assert len(gallery) == 3


@pytest.mark.parametrize("arguments", [{}, {"person": "a", "where": "person = 'b'"}])
def test_remove_wants_one_of_two(gallery: Gallery, arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="remove expects either person or where"):
        gallery.remove(**arguments)
    with pytest.raises(ValueError, match="a condition in SQL on the columns"):
        gallery.remove(where="who = 'anna'")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_gallery_that_may_only_be_read(gallery: Gallery, vectors: Vectors) -> None:
    gallery.add(vectors(2), person="anna")
    folders = [path for path in Path(gallery.path).rglob("*") if path.is_dir()]
    for folder in (Path(gallery.path), *folders):
        folder.chmod(0o555)
    with contextlib.suppress(PermissionError):
        (Path(gallery.path) / ".lock").chmod(0o444)
    assert len(Gallery.open(gallery.path).search(vectors(1))[0]) == 2
    with pytest.raises(PermissionError, match="cannot add to the gallery"):
        gallery.add(vectors(1))
    for folder in (Path(gallery.path), *folders):
        folder.chmod(0o755)
    assert np.isfinite(gallery.search(vectors(1))[0][0].distance)
