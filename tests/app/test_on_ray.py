"""Scans on Ray: the same answers as here, one for each content, whoever dies while it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from skimage import data
from typer.testing import CliRunner

pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'unmask[ray]'")
import pyarrow as pa
import pyarrow.parquet as pq

from scanning.make import clip, save, tinted, write_bundle
from unmask.app import cluster, on_ray
from unmask.app.cli import app
from unmask.app.cluster import Journal
from unmask.app.results import ANSWERS, Results, file_of, write
from unmask.scanning import scan
from unmask.scanning.listing import listed
from unmask.scanning.options import Options
from unmask.types import DetectorInfo, UnmaskError

WAIT = 120.0  # seconds until a test gives up on another process, on a busy machine
# In the processes that scan: files that end the process, or the worker that it belongs to as well.
DEADLY = """
import os, signal, sys
if "unmask.scanning.worker" in sys.orig_argv:
    def deadly(event, arguments):
        if event == "open" and str(arguments[0]).endswith(("poison.png", "assassin.png")):
            with open(os.environ["DEATHS"], "a") as file:
                file.write(os.path.basename(arguments[0]) + "\\n")
            if str(arguments[0]).endswith("assassin.png"):
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(deadly)
"""


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deaths") / "deaths.txt"


@pytest.fixture(scope="module", autouse=True)
def two_workers(tmp_path_factory: pytest.TempPathFactory, deaths: Path) -> Iterator[None]:
    """One cluster for all tests; scans find it and leave it running."""
    (customized := tmp_path_factory.mktemp("site")).joinpath("sitecustomize.py").write_text(DEADLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(customized), prepend=os.pathsep)
        patch.setenv("DEATHS", str(deaths))
        with cluster.cluster(cpus=2) as cpus:
            assert cpus == 2
            yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def options(bundle: Path) -> Options:
    return Options(detector=str(bundle), frames=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face in many shades, a video, no face, a damaged file, one that is too long, duplicates, and a strange name."""
    root = tmp_path_factory.mktemp("folder")
    portrait = np.asarray(data.astronaut())
    (root / "deep/er").mkdir(parents=True)
    for shade in range(12):
        save(tinted(portrait, shade / 36), root / f"{shade:02}.png")
    clip([portrait] * 4, root / "clip.mp4")
    save(np.full((64, 64, 3), 90, np.uint8), root / "deep/wall.webp")
    (root / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (root / "deep/damaged too.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    shutil.copy(root / "00.png", root / "deep/er/double.png")
    shutil.copy(root / "11.png", os.fsencode(root) + b"/caf\xe9.png")
    return root


def answers(out: Path) -> list[dict[str, Any]]:
    """One row for each path, as the table of a local scan has them."""
    columns = ", ".join(f"a.{name}" for name in ANSWERS.names if name not in ("path", "report"))
    return (
        duckdb.sql(
            f"SELECT p.path, {columns} FROM read_parquet('{out}/paths.parquet') p "
            f"LEFT JOIN read_parquet('{out}/answers/*/*.parquet') a USING (sha256) ORDER BY p.path"
        )
        .to_arrow_table()
        .to_pylist()
    )


def parts(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("answers/*/*")}


def hashes(out: Path) -> list[str]:
    return [sha256 for path in out.glob("answers/*/*.parquet") for sha256 in column(path, "sha256")]


def column(path: Path | str, name: str) -> list[Any]:
    return list(pq.ParquetFile(path).read([name])[name].to_pylist())


def actors() -> list[int]:
    """Process ids of the workers that scan."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"MapWorker(MapBatches(Answer))" in line.read_bytes():
                found.append(int(line.parent.name))
        except OSError:
            continue  # ended meanwhile
    return found


@pytest.fixture(scope="module")
def local(folder: Path, options: Options, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    table = tmp_path_factory.mktemp("local") / "table.parquet"
    scan(folder, detector=options.detector, frames=options.frames, jobs=2, out=table)
    return pq.read_table(table).drop_columns(["report"]).to_pylist()


@pytest.mark.slow
def test_the_same_rows_as_here_whatever_dies(
    folder: Path, options: Options, local: list[dict[str, Any]], tmp_path: Path, deaths: Path
) -> None:
    """One file ends the process that reads it, one its worker too, and in the middle every worker is killed once."""
    portrait = np.asarray(data.astronaut())
    poison = save(tinted(portrait, 0.01), tmp_path / "poison.png")
    assassin = save(tinted(portrait, 0.02), tmp_path / "assassin.png")
    killed: list[int] = []

    def kill_once(stage: str, done: int, total: int) -> None:
        if stage == "scanning" and done and not killed:
            for pid in actors():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    out = tmp_path / "out"
    states = on_ray.scan([*listed([folder]).files, str(poison), str(assassin)], options, out, progress=kill_once)
    assert killed
    found = {row["path"]: row for row in answers(out)}
    failed = [found.pop(str(poison)), found.pop(str(assassin))]
    assert list(found.values()) == local
    assert [row["state"] for row in failed] == ["failed", "failed"]
    assert failed[0]["reasons"] == ["the process that read it was ended by SIGKILL"]
    assert failed[1]["reasons"] == ["3 workers died over it"]
    assert failed[1]["detector"] == "red-is-forged"
    assert states == Counter(row["state"] for row in [*local, *failed])
    assert set(states) == {"fake", "real", "not_applicable", "failed"}

    contents = hashes(out)
    assert len(contents) == len(set(contents)) == len({row["sha256"] for row in [*local, *failed]})
    assert all(path.endswith(".parquet") for path in parts(out))
    assert all(f"/hash={sha256[0]}/" in path for path in parts(out) for sha256 in column(path, "sha256"))
    tried = Counter(deaths.read_text().split())
    assert tried["assassin.png"] <= 3  # fewer, if it was its worker's turn to be killed
    assert tried["poison.png"] <= 8  # two for each life of its worker


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_nothing_is_scanned_twice(
    folder: Path, options: Options, local: list[dict[str, Any]], tmp_path: Path
) -> None:
    """By the command line, on a cluster of its own, in a folder that holds a trap for whoever imports from it."""
    out, here = tmp_path / "out", tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text("raise SystemExit('imported from the current folder')")
    command = [
        sys.executable,
        "-P",
        "-m",
        "unmask",
        "scan",
        str(folder),
        "--on",
        "ray",
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    command += ["--detector", options.detector, "--frames", str(options.frames)]
    run = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE)
    end = time.monotonic() + WAIT
    while not any(out.glob("answers/*/*.parquet")):
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < end, "nothing was answered"
        time.sleep(0.01)
    run.kill()
    run.wait()
    before = parts(out)
    finished = {path for path in before if path.endswith(".parquet")}
    assert 0 < len(hashes(out)) < len({row["sha256"] for row in local})

    on_ray.scan(listed([folder]).files, options, out)
    assert answers(out) == local
    assert len(hashes(out)) == len(set(hashes(out)))
    after = parts(out)
    assert {path: after[path] for path in finished} == {path: before[path] for path in finished}
    assert all(path.endswith(".parquet") for path in after)


# --- without a cluster -----------------------------------------------------------------------------------------------

SHAS = [f"{digit:x}" * 64 for digit in range(16)]


def row(sha256: str, state: str = "real") -> dict[str, Any]:
    return dict.fromkeys(ANSWERS.names) | {"path": "/a", "sha256": sha256, "state": state, "faces": 1}


def listing(*hashes: str | None) -> pa.Table:
    n = len(hashes)
    return pa.table(
        {
            "position": list(range(n)),
            "path": [f"/{i}" for i in range(n)],
            "sha256": list(hashes),
            "bytes": [1] * n,
            "reason": ["gone" if sha is None else None for sha in hashes],
        }
    )


def test_failed_answers_are_asked_anew_and_doubles_are_taken_out(tmp_path: Path) -> None:
    out = tmp_path / "with * and [brackets] and 'quotes'"
    with Results(out, {}) as results:
        for hashes in (SHAS[:1], SHAS[1:2], SHAS[2:3]):
            write(file_of(results.answers, hashes), [row(sha256) for sha256 in hashes])
        two = [SHAS[0], SHAS[0].replace("0", "01")[:64]]
        write(file_of(results.answers, two), [row(two[0]), row(two[1], "failed")])  # the first is there already
        results.list_paths([listing(SHAS[0], SHAS[1], None), listing(two[1])])
        with pytest.raises(UnmaskError, match="0 without an answer, 1 with two; run the same command again"):
            results.prove()
        assert results.unanswered(again=False) == []
        assert [sha256 for sha256, _ in results.unanswered(again=True)] == [two[1]]
        results.forget_failed()
        assert [sha256 for sha256, _ in results.unanswered(again=False)] == [two[1]]
        with pytest.raises(UnmaskError, match="1 without an answer, 0 with two"):
            results.prove()
        write(file_of(results.answers, two[1:]), [row(two[1])])
        results.prove()
        assert results.states() == {"failed": 1, "real": 3}
    assert sorted(hashes_below(out)) == sorted([*SHAS[:3], two[1]])


def hashes_below(out: Path) -> list[str]:
    return [sha256 for path in (out / "answers").rglob("*.parquet") for sha256 in column(path, "sha256")]


def test_paths_are_kept_once(tmp_path: Path) -> None:
    for shas in ((SHAS[0], SHAS[1]), (SHAS[2],)):
        with Results(tmp_path / "out", {}) as results:
            results.list_paths([listing(*shas)])
    kept = pq.read_table(tmp_path / "out/paths.parquet").to_pylist()
    assert [(row["path"], row["sha256"]) for row in kept] == [("/0", SHAS[2]), ("/1", SHAS[1])]


def test_what_a_killed_worker_had_done_is_kept(tmp_path: Path) -> None:
    name = tmp_path / "out/answers/hash=a" / f"x{Journal.SUFFIX}"
    with Results(tmp_path / "out", {}):
        with Journal(name) as journal:
            journal.begin(SHAS[10])
            journal.add(SHAS[10], row(SHAS[10]))
            journal.begin("ab")
            journal.begin("ab")
        with name.open("ab") as file:
            file.write(b'["torn", {"sha256": "to')
        with Journal(name) as journal:
            assert list(journal.done) == [SHAS[10]]
            assert journal.deaths == {"ab": 2}
        (name.parent / ".half.parquet.tmp").write_bytes(b"PAR1")
    with Results(tmp_path / "out", {}):
        assert [path.name for path in name.parent.iterdir()] == [file_of(tmp_path, SHAS[10:11]).name]
    assert hashes_below(tmp_path / "out") == [SHAS[10]]


def test_a_file_that_changes_between_the_passes_is_no_answer(options: Options, tmp_path: Path) -> None:
    save(np.full((64, 64, 3), 90, np.uint8), tmp_path / "a.png")
    detector = options.ready().detector
    worker = on_ray.Answer(options.model_dump_json(), detector.model_dump_json(), on_ray.__version__, "", str(tmp_path))
    part = pa.table({"sha256": SHAS[:1], "path": [os.fsencode(tmp_path / "a.png")]})
    assert worker(part).to_pylist() == [{"state": "failed"}]
    (found,) = pq.ParquetFile(file_of(tmp_path, SHAS[:1])).read().to_pylist()
    assert found["sha256"] == SHAS[0]
    assert "changed while the scan ran" in found["reasons"][0]
    other = DetectorInfo(name=detector.name, weights_sha256="0" * 64).model_dump_json()
    with pytest.raises(UnmaskError, match="other weights of red-is-forged; install the same on every host"):
        on_ray.Answer(options.model_dump_json(), other, on_ray.__version__, "", str(tmp_path / "b"))(part)
    with pytest.raises(UnmaskError, match=r"has unmask .*, not 0\.0; install the same"):
        on_ray.Answer(options.model_dump_json(), other, "0.0", "", str(tmp_path / "c"))(part)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --out FOLDER"),
        (["--out", "{tmp}/out", "--json", "-"], "no --json, --html or --camera"),
        (["--out", "{tmp}/full"], "full holds something else; choose another --out"),
        (["--out", "{tmp}/other"], "other answers another question"),
        (["--out", "{tmp}/held"], "another scan is writing to"),
        (["--out", "{tmp}/file"], "cannot write {tmp}/file"),
        (["--out", "{tmp}/out", "--url", "http://example.org/a.png"], "fetch addresses first"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    arguments: list[str], says: str, folder: Path, options: Options, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    (tmp_path / "file").touch()
    with Results(tmp_path / "other", {"another": "question"}):
        pass
    with Results(tmp_path / "held", {}):
        filled = [argument.format(tmp=tmp_path) for argument in arguments]
        command = ["scan", str(folder), "--on", "ray", "--detector", options.detector, *filled]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert says.format(tmp=tmp_path) in result.stderr
    assert result.stderr.startswith("unmask: ")
    assert result.stderr.count("\n") == 1


def test_without_ray_the_extra_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    result = CliRunner().invoke(app, ["scan", str(folder), "--on", "ray", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "pip install 'unmask[ray]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_is_reported_to_anybody() -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
