"""Files are written whole, and nothing but a regular file is ever replaced."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from unmask import output
from unmask.output import regular, write_text, written
from unmask.types import UnmaskError


def test_a_file_is_replaced_in_one_step_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "one")
    path.chmod(0o600)
    with path.open() as before:
        write_text(path, "two")
        assert before.read() == "one"  # another reader's file is untouched
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), written(path) as fresh:
        fresh.write_text("half" * 9999 + "\u00fc", encoding="ascii")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/real.json").write_text("old")
    (tmp_path / "middle.json").symlink_to("deep/real.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "middle.json")
    write_text(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "deep/real.json").read_text() == "new"
    dangling = tmp_path / "dangling.json"
    dangling.symlink_to("deep/later.json")
    write_text(dangling, "new")
    assert dangling.is_symlink()
    assert (tmp_path / "deep/later.json").read_text() == "new"


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    text = "x" * 200_000  # more than a pipe holds
    write_text(pipe, text)
    reader.join(10)
    assert read == [text.encode()]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_fifo_that_nobody_reads_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(output, "READER", 0.1)
    with pytest.raises(UnmaskError, match="nobody reads from this pipe"):
        write_text(tmp_path / "pipe", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)


def test_a_device_is_written_into(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)  # so that a fault here cannot cost the machine its /dev/null
    write_text(link, "text")
    assert link.is_symlink()
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(UnmaskError, match="No space left on device; free some space"):
        write_text(tmp_path / "full", "text")


def test_an_open_file_is_written_into(tmp_path: Path) -> None:
    """As `--json >(cat)` and `--json /dev/stdout > FILE` ask for."""
    read, write = os.pipe()
    write_text(Path(f"/dev/fd/{write}"), "into the pipe")
    os.close(write)
    with os.fdopen(read) as file:
        assert file.read() == "into the pipe"
    path = tmp_path / "out.txt"
    with path.open("w") as file:
        inode = path.stat().st_ino
        write_text(Path(f"/dev/fd/{file.fileno()}"), "into the file")
    assert path.read_text() == "into the file"
    assert path.stat().st_ino == inode


def test_what_must_be_read_back_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, says in (
        (tmp_path / "pipe", "a pipe or device"),
        (tmp_path, "a folder"),
        (tmp_path / "loop", "symbolic"),
    ):
        with pytest.raises(UnmaskError, match=says):
            regular(path)
    with pytest.raises(UnmaskError, match="No such file or directory"):
        write_text(tmp_path / "absent/a.json", "text")
