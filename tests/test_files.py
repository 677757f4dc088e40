"""Files are written whole or not at all, and an error says why."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reidblocks import _files
from reidblocks._files import remove_partials
from reidblocks.training import atomic_path, write_file


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def failing(number: int, name: str | None = None) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), *([name] if name else []))

    return fail


def write_and(do: Callable[[], object], path: Path) -> None:
    """Write half a file, then do what raises."""
    with atomic_path(path) as partial:
        partial.write_text("half")
        do()


@pytest.fixture
def older(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("older")
    return path


def test_text_and_bytes_replace_the_older_file(older: Path) -> None:
    write_file(older, "é\n")
    assert older.read_bytes() == b"\xc3\xa9\n"  # "\n" on every system
    write_file(str(older), b"\x00")
    assert older.read_bytes() == b"\x00"
    assert names(older.parent) == ["a.txt"]


def test_the_path_to_write_is_new_in_the_same_folder_and_ends_alike(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run.v1.pt") as first, atomic_path(tmp_path / "run.v2.pt") as other:
        assert first != other
        for partial in (first, other):
            assert partial.parent == tmp_path.resolve()
            assert partial.suffix == ".pt"
            assert partial.name.startswith(".partial-")
            assert not partial.exists()
            partial.touch()
    assert names(tmp_path) == ["run.v1.pt", "run.v2.pt"]


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyboardInterrupt, ConnectionError])
def test_any_error_leaves_the_older_file_and_is_raised_as_it_is(
    older: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        raise error("mine")

    with pytest.raises(error, match=r"^mine$"):
        write_and(fail, older)
    assert older.read_text() == "older"
    assert names(older.parent) == ["a.txt"]


def test_an_error_about_another_file_is_not_told_as_one_of_writing(older: Path) -> None:
    missing = older.parent / "source.txt"
    with pytest.raises(FileNotFoundError) as error:
        write_and(missing.read_text, older)
    assert error.value.filename == str(missing)
    assert "cannot write" not in str(error.value)
    assert names(older.parent) == ["a.txt"]


def test_a_full_disk_says_how_much_is_free(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", failing(errno.ENOSPC))
    said = (
        r"^cannot write \S*a\.txt: No space left on device, [\d,]+ MB are free there; "
        r"the older file stays as it was\. Make room, then try again$"
    )
    with pytest.raises(OSError, match=said) as error:
        write_file(older, "new")
    assert error.value.errno == errno.ENOSPC
    assert older.read_text() == "older"
    assert names(older.parent) == ["a.txt"]


def test_a_full_disk_behind_an_error_of_torch_is_told_as_one(older: Path) -> None:
    def fail() -> None:  # as torch.save does
        try:
            failing(errno.ENOSPC)()
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(OSError, match=r"a\.txt: No space left on device"):
        write_and(fail, older)
    assert names(older.parent) == ["a.txt"]


@pytest.mark.parametrize(
    ("where", "name"),
    [(Path, "replace"), (_files.os, "fsync")],
    ids=["renaming", "fsync"],
)
def test_a_fault_after_the_block_leaves_the_older_file(
    older: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    monkeypatch.setattr(where, name, failing(errno.EIO))
    with pytest.raises(OSError, match=r"a\.txt: .*; the older file stays as it was$") as error:
        write_file(older, "new")
    assert "Make room" not in str(error.value)  # that is for a full disk
    monkeypatch.undo()
    assert older.read_text() == "older"
    assert names(older.parent) == ["a.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = r"cannot write .*a\.txt: there is no folder .*no. Create it first"
    with pytest.raises(FileNotFoundError, match=said):
        write_file(tmp_path / "no" / "a.txt", "")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone" / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*gone"):
        write_file(link, "")


def test_a_folder_in_the_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write .*a: it is a folder\. Name a file"):
        write_file(tmp_path / "a", "")
    assert names(tmp_path) == ["a"]


def test_a_file_in_the_place_of_the_folder_is_told(older: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"cannot write .*b\.txt: Not a directory"):
        write_file(older / "b.txt", "")


def test_a_name_too_long_is_told_before_anything_is_written(tmp_path: Path) -> None:
    said = r"cannot write .*: File name too long\. Choose a shorter name"
    with pytest.raises(OSError, match=said), atomic_path(tmp_path / ("n" * 300)):
        pytest.fail("the block ran")


def test_names_as_long_as_the_system_takes_are_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "é" * 127, "𝄞" * 63):
        write_file(tmp_path / name, "")
    assert len(names(tmp_path)) == 3


def test_a_read_only_file_is_refused(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anything
    with pytest.raises(PermissionError, match=r"a\.txt: the file there is read-only\. Name"):
        write_file(older, "new")
    assert older.read_text() == "older"


def test_a_folder_that_may_not_be_written_is_told(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    said = r"a\.txt: Permission denied; the older file stays as it was\. Name a folder that you may"
    with pytest.raises(PermissionError, match=said):
        write_file(older, "new")


def test_a_block_that_wrote_nothing_is_told(older: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was written to"), atomic_path(older):
        pass
    assert older.read_text() == "older"


def test_what_is_neither_text_nor_bytes_is_refused(older: Path) -> None:
    with pytest.raises(TypeError, match="write_file expects text or bytes, got dict"):
        write_file(older, {})  # type: ignore[arg-type]
    assert older.read_text() == "older"


def test_a_file_name_that_is_no_text_is_escaped(older: Path) -> None:
    write_file(older, os.fsdecode(b"caf\xe9.png"))
    assert older.read_text("utf-8") == r"caf\udce9.png"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_permissions_are_the_older_files_or_the_umask(older: Path) -> None:
    older.chmod(0o640)
    write_file(older, "new")
    assert stat.S_IMODE(older.stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        write_file(older.with_name("b.txt"), "new")
        older.with_name("c.txt").touch()
    finally:
        os.umask(mask)
    modes = [older.with_name(name).stat().st_mode for name in ("b.txt", "c.txt")]
    assert modes[0] == modes[1]


def test_a_link_stays_a_link(older: Path) -> None:
    link = older.with_name("link")
    link.symlink_to("a.txt")
    write_file(link, "new")
    assert link.is_symlink()
    assert older.read_text() == "new"
    assert names(older.parent) == ["a.txt", "link"]


def test_a_new_name_of_the_same_file_leaves_nothing(older: Path) -> None:
    with atomic_path(older) as partial:
        os.link(older, partial)  # a rename of a file to itself does nothing
    assert names(older.parent) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_and_not_replaced() -> None:
    code = "from reidblocks.training import write_file; write_file('/dev/stdout', 'told')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "told"
    with pytest.raises(OSError, match="cannot write /dev/full: No space left on device"):
        write_file("/dev/full", "x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_it_works_where_no_folder_can_be_opened(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EACCES))  # as on Windows
    write_file(older, "new")
    assert older.read_text() == "new"


KILLED = """
import os, signal, sys
from pathlib import Path
from reidblocks.training import write_file
Path.replace = lambda *_: os._exit(9)  # between writing and renaming
write_file(sys.argv[1], "new")
"""


def test_a_kill_before_renaming_leaves_the_older_file_and_one_partial(older: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, older])
    assert done.returncode == 9
    assert older.read_text() == "older"
    left, kept = names(older.parent)
    assert left.startswith(".partial-")
    assert left.endswith("-a.txt")
    assert kept == "a.txt"
    remove_partials(older.parent, "b*.txt")  # another's
    assert len(names(older.parent)) == 2
    remove_partials(older.parent, "a*.txt")
    assert names(older.parent) == ["a.txt"]


def test_of_two_writers_at_once_one_wins_whole(tmp_path: Path) -> None:
    path, texts, seen = tmp_path / "a.txt", ["a" * 100_000, "b" * 100_000], []
    write_file(path, texts[0])

    def write(text: str) -> None:
        for _ in range(20):
            write_file(path, text)
            seen.append(path.read_text())

    writers = [threading.Thread(target=write, args=[text]) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(seen) == 40
    assert set(seen) <= set(texts)
    assert names(tmp_path) == ["a.txt"]


def test_random_states_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    write_file(tmp_path / "a", "")
    assert torch.rand(1) == expected
