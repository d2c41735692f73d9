"""Faces cut on Ray: the same rows and files as here, though workers are killed in the middle."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data
from typer.testing import CliRunner

pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'unmask[ray]'")
import pyarrow.parquet as pq

from scanning.make import save, tinted
from unmask.app import cluster, faces_on_ray
from unmask.app.cli import app
from unmask.data import extraction
from unmask.data.index import index
from unmask.data.manifest import Manifest
from unmask.data.media_faces import Options

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SECONDS = 300.0


@pytest.fixture(scope="module", autouse=True)
def two_workers() -> Iterator[None]:
    with cluster.cluster(cpus=2):
        yield


@pytest.fixture
def samples(tmp_path: Path) -> Manifest:
    """What ships with the package, a portrait in many shades, and a file that is none."""
    (tmp_path / "media/real").mkdir(parents=True)
    (tmp_path / "media/fake").mkdir()
    for path in (REPOSITORY / "samples").iterdir():
        if path.suffix in (".jpg", ".mp4"):
            shutil.copy(path, tmp_path / "media" / ("fake" if "forged" in path.name else "real"))
    for shade in range(8):
        save(tinted(np.asarray(data.astronaut()), shade / 20), tmp_path / f"media/fake/{shade}.png")
    (tmp_path / "media/fake/damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return index("folder", tmp_path / "media", tmp_path / "media.parquet").manifest


def workers() -> list[int]:
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"MapWorker(MapBatches(Cut))" in line.read_bytes():
                found.append(int(line.parent.name))
        except OSError:
            continue  # ended meanwhile
    return found


def cut_and_kill(manifest: Manifest, out: Path, options: Options) -> None:
    """Kills every worker once, when the first media file is done."""
    killed: list[int] = []

    def step(rows: int, failed: int) -> None:
        if not killed:
            killed.extend(workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with faces_on_ray.machines(None, None, out, SECONDS) as elsewhere:
        extraction.cut(manifest, out, options, progress=step, elsewhere=elsewhere)
    assert killed


def assert_the_same(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert len(names) > 2
    for name in names:
        if name.suffix != ".parquet":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    table = pq.read_table(one / extraction.TABLE)
    assert table.equals(pq.read_table(other / extraction.TABLE))


@pytest.mark.slow
def test_the_same_rows_and_files_as_here(samples: Manifest, tmp_path: Path) -> None:
    options = Options(size=64, frames=6)
    extraction.cut(samples, tmp_path / "here", options, jobs=2)
    cut_and_kill(samples, tmp_path / "there", options)
    assert_the_same(tmp_path / "here", tmp_path / "there")
    reasons = pq.read_table(tmp_path / "there" / extraction.TABLE)["reason"].to_pylist()
    assert {extraction.kind(reason) for reason in reasons} == {"", "no face", "unreadable"}

    command = [
        "data",
        "extract",
        str(samples.path),
        "-o",
        str(tmp_path / "there"),
        "--size",
        "64",
        "--frames",
        "6",
        "--on",
        "ray",
    ]
    again = CliRunner().invoke(app, command)  # nothing is left to do
    assert again.exit_code == 3, again.output  # for the damaged file
    assert_the_same(tmp_path / "here", tmp_path / "there")


@pytest.mark.slow
def test_clips_of_a_published_set(shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "ffpp_c23_videos").rglob("*.mp4"))[::10]
    if len(clips) < 4:
        pytest.skip("no FaceForensics++ videos among the research data")
    for n, path in enumerate(clips):
        (folder := tmp_path / "media" / ("fake" if "fake" in path.parts else "real")).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{n}.mp4")
    manifest = index("folder", tmp_path / "media", tmp_path / "media.parquet").manifest
    options = Options(size=64, frames=4)
    extraction.cut(manifest, tmp_path / "here", options, jobs=2)
    cut_and_kill(manifest, tmp_path / "there", options)
    assert_the_same(tmp_path / "here", tmp_path / "there")
