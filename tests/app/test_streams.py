"""Where the command line writes: devices, full disks, terminals of another encoding, and what it exits with."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from scanning.make import save, write_bundle

PORTRAIT = np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["--detector", str(write_bundle(tmp_path_factory.mktemp("bundle") / "b"))]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return save(PORTRAIT, tmp_path / "ünï.png")


def unmask(
    *arguments: str | Path, stdout: str | None = None, most: int = 0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """`most`: bytes that one file may have, as if the disk were full then."""
    command = [sys.executable, "-m", "unmask", *map(str, arguments)]
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))) if most else None
    out = subprocess.PIPE if stdout is None else os.open(stdout, os.O_WRONLY)
    return subprocess.run(
        command, stdout=out, stderr=subprocess.PIPE, env=os.environ | (env or {}), preexec_fn=limit, check=False
    )


def one_line(done: subprocess.CompletedProcess[bytes], says: str) -> None:
    error = done.stderr.decode()
    assert done.returncode == 2, error
    assert error.startswith("unmask: ")
    assert error.count("\n") == 1, error
    assert says in error


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_verdict(picture: Path, asked: list[str], tmp_path: Path) -> None:
    says = "No space left on device; free some space"
    one_line(unmask("scan", picture, *asked, "--json", "-", "--fail-on", "fake", stdout="/dev/full"), says)
    one_line(unmask("scan", picture, *asked, stdout="/dev/full"), says)
    one_line(unmask("schema", stdout="/dev/full"), says)
    several = [save(PORTRAIT[i:], tmp_path / f"{i}.png") for i in range(4)]
    table = tmp_path / "t.parquet"
    one_line(unmask("scan", *several, *asked, "--jobs", "1", "--out", table, most=1500), "File too large")
    assert unmask("scan", *several, *asked, "--jobs", "1", "--out", table).returncode == 0  # and it goes on


def test_an_output_that_is_no_regular_file(picture: Path, asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    (tmp_path / "null").symlink_to(os.devnull)
    done = unmask("scan", picture, *asked, "-q", "--json", tmp_path / "link.json", "--html", tmp_path / "null")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "real.json").read_text())["files"][0]["state"] == "real"
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "null").is_symlink()
    done = unmask("scan", picture, *asked, "-q", "--json", "/dev/stdout")
    assert json.loads(done.stdout)["files"]
    one_line(unmask("scan", picture, *asked, "--out", os.devnull), "it is a pipe or device")
    one_line(unmask("scan", picture, *asked, "--json", tmp_path), "it is a folder")


def test_any_encoding(picture: Path, asked: list[str]) -> None:
    table = unmask("scan", picture, *asked, env={"PYTHONIOENCODING": "ascii"})
    assert table.returncode == 0, table.stderr
    assert rb"\xfcn\xef.png" in table.stdout
    assert b"% interval" in table.stdout
    said = unmask("scan", picture, *asked, "--json", "-", env={"PYTHONIOENCODING": "latin-1"}).stdout
    assert json.loads(said.decode("utf-8"))["files"][0]["path"] == str(picture)


def test_a_fault_of_ours_is_not_a_verdict() -> None:
    code = "from unmask.app import cli, errors; errors.run(lambda: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "a fault of unmask" in done.stderr


def test_a_reader_that_leaves_is_not_a_verdict(picture: Path, asked: list[str]) -> None:
    command = [sys.executable, "-m", "unmask", "scan", str(picture), *asked, "--json", "-", "--fail-on", "fake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_table_in_a_log_is_whole(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        (tmp_path / "set" / label).mkdir(parents=True)
        save(PORTRAIT, tmp_path / "set" / label / "a.png")
    name = "a_data_set_of_a_long_name_" * 6
    (tmp_path / "set").rename(tmp_path / name)
    done = unmask("data", "index", "folder", tmp_path / name, "-o", tmp_path / "m.parquet")
    assert done.returncode == 0, done.stderr
    assert name in done.stdout.decode()
    assert "…" not in done.stdout.decode()
    narrow = unmask("data", "show", tmp_path / "m.parquet", env={"COLUMNS": "60"})
    assert name not in narrow.stdout.decode().splitlines()[1]  # who asks for a width gets it


def test_a_single_file_may_not_take_for_ever(picture: Path, asked: list[str], tmp_path: Path) -> None:
    """A codec that is stuck is stood in for by one that sleeps; it must not keep the process from ending either."""
    slow = "import time; from unmask.media import image; image.Picture._read = "
    slow += "lambda self, image: time.sleep(120); from unmask.app.cli import main; main()"
    command = [sys.executable, "-c", slow, "scan", str(picture), *asked, "--max-file-seconds", "1"]
    done = subprocess.run([*command, "--json", "-"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert (file["state"], file["reasons"]) == ("failed", ["given up after 1 s"])
