"""Many files: what is scanned, what survives crashes and kills, and what is not scanned twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from unmask.scanning import scan
from unmask.scanning.ledger import COLUMNS, Ledger, asked_of
from unmask.scanning.options import Options
from unmask.scanning.pool import Worker, WorkerError, scan_all
from unmask.types import FileReport, Pixels, UnmaskError

from .make import clip, save, tinted

WAIT = 60.0  # seconds until a test gives up on another process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, portrait: Pixels) -> Path:
    """A red face, a pale one under a foreign suffix, a wall, a damaged image, and things that are no media."""
    root = tmp_path_factory.mktemp("folder")
    (root / "deep/er").mkdir(parents=True)
    save(tinted(portrait, 0.2), root / "red.png")
    save(portrait, root / "deep/er/pale.png").rename(root / "deep/er/pale")
    save(np.full((64, 64, 3), 90, np.uint8), root / "deep/wall.webp")
    (root / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (root / "README.md").write_text("not a media file")
    (root / "code.ts").write_text("const a = 1;")
    save(portrait, root / ".hidden.png")
    (root / ".git").mkdir()
    save(portrait, root / ".git/objects.png")
    (root / "link.png").symlink_to(root / "red.png")
    os.mkfifo(root / "pipe")
    return root


def states(files: tuple[FileReport, ...] | list[FileReport]) -> dict[str, str]:
    return {Path(file.path).name: file.state for file in files}


EXPECTED = {"red.png": "fake", "pale": "real", "wall.webp": "not_applicable", "damaged.jpg": "failed"}


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: object, what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


# --- many processes --------------------------------------------------------------------------------------------------


def test_a_bad_file_stops_nothing(folder: Path, options: Options) -> None:
    report = scan(folder, detector=options.detector, faces=options.faces, jobs=2)
    assert states(report.files) == EXPECTED
    assert [Path(file.path).name for file in report.files] == ["damaged.jpg", "red.png", "wall.webp", "pale"]
    alone = scan(folder / "red.png", detector=options.detector, faces=options.faces, jobs=1)
    assert alone.files[0].score == report.files[1].score
    assert report.files[1].faces[0].thumbnail == alone.files[0].faces[0].thumbnail is not None


def test_names_that_are_not_utf8(tmp_path: Path, portrait: Pixels, options: Options) -> None:
    """Good, damaged and unreadable ones, each of its own content: none may cost the answers on the others."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes(save(portrait[8:], tmp_path / "b.png").read_bytes())
    Path(os.fsdecode(odd.replace(b".png", b".jpg"))).write_bytes(b"\xff\xd8\xff\xe0 and no more")
    Path(os.fsdecode(odd.replace(b".png", b".webp"))).symlink_to("absent.webp")
    save(portrait, tmp_path / "b.png")
    expected = {"b.png": "real", "caf\\xe9.png": "real", "caf\\xe9.jpg": "failed"}
    for table in (None, tmp_path / "t.parquet", tmp_path / "t.parquet"):
        report = scan(tmp_path, detector=options.detector, faces=options.faces, jobs=2, out=table)
        assert {Path(file.path).name: file.state for file in report.files} == expected
        assert json.loads(report.model_dump_json())
    alone = scan(os.fsdecode(odd), detector=options.detector, out=tmp_path / "alone.parquet")
    assert Path(alone.files[0].path).name == "caf\\xe9.png"
    gone = scan(os.fsdecode(odd.replace(b".png", b".webp")), detector=options.detector).files[0]
    assert gone.state == "failed"
    assert "caf\\xe9.webp" in gone.reasons[0]  # the reason names the file, too


def test_a_folder_that_is_not_utf8(
    tmp_path: Path, portrait: Pixels, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    here.mkdir()
    save(portrait, here / "a.png")
    monkeypatch.chdir(here)
    assert states(scan("a.png", detector=options.detector, out="t.parquet").files) == {"a.png": "real"}
    with pytest.raises(UnmaskError, match="must be UTF-8"):
        scan("a.png", detector=options.detector, out=os.fsdecode(b"t\xe9.parquet"))


def test_the_folder_of_the_caller_is_not_imported_from(
    tmp_path: Path, portrait: Pixels, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the folder that is scanned')")
    for name in ("a.png", "b.png"):
        save(portrait, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    report = scan(".", detector=options.detector, faces=options.faces, jobs=1)
    assert states(report.files) == {"a.png": "real", "b.png": "real"}


def test_a_worker_that_is_killed_is_replaced(folder: Path, options: Options) -> None:
    before = set(children(os.getpid()))
    red = str(folder / "red.png")

    def tasks() -> Iterator[tuple[int, str | FileReport]]:
        yield 0, red
        (worker,) = set(children(os.getpid())) - before
        os.kill(worker, signal.SIGSTOP)  # so that it cannot be quicker than the kill
        threading.Timer(0.2, os.kill, (worker, signal.SIGKILL)).start()
        yield 1, red
        yield 2, red

    answers = dict(scan_all(tasks(), options, jobs=1, seconds=WAIT))
    assert isinstance(answers[1], WorkerError)
    assert "SIGKILL" in str(answers[1])
    assert [getattr(answers[i], "state", None) for i in (0, 2)] == ["fake", "fake"]
    assert set(children(os.getpid())) == before


def test_a_file_that_takes_too_long_is_given_up(folder: Path, options: Options) -> None:
    before = set(children(os.getpid()))
    worker = Worker(options, seconds=0.5)
    (pid,) = set(children(os.getpid())) - before
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="given up after"):
        worker.scan(str(folder / "red.png"))
    worker.kill()
    assert not alive(pid)


def test_a_worker_says_why_it_cannot_start(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="no detector bundle"):
        Worker(options.model_copy(update={"detector": str(tmp_path / "nothing")}), seconds=WAIT)


def test_leaving_early_ends_the_workers(folder: Path, options: Options) -> None:
    before = set(children(os.getpid()))
    stream = scan_all(((i, str(folder / "red.png")) for i in range(1000)), options, jobs=2, seconds=WAIT)
    next(stream)
    assert set(children(os.getpid())) > before
    stream.close()
    until(lambda: set(children(os.getpid())) == before, "the end of the workers")


# --- the table -------------------------------------------------------------------------------------------------------


def rows(table: Path) -> list[tuple[object, ...]]:
    return duckdb.sql(f"SELECT * FROM '{table}' ORDER BY path").fetchall()


def test_the_table(folder: Path, options: Options, tmp_path: Path) -> None:
    out = tmp_path / "results.parquet"
    report = scan(folder, detector=options.detector, faces=options.faces, jobs=2, out=out, pictures=False)
    assert list(tmp_path.iterdir()) == [out]
    table = rows(out)
    assert duckdb.sql(f"SELECT * FROM '{out}'").columns == list(COLUMNS)
    named = {Path(str(row[0])).name: dict(zip(COLUMNS, row, strict=True)) for row in table}
    assert {name: row["state"] for name, row in named.items()} == EXPECTED
    red = next(file for file in report.files if file.path.endswith("red.png"))
    row = named["red.png"]
    assert (row["score"], row["faces"], row["width"], row["format"]) == (red.score, 1, 512, "png")
    assert row["reasons"] == list(red.reasons)
    assert FileReport.model_validate_json(str(row["report"])) == red
    assert named["wall.webp"]["score"] is None


def test_what_is_known_is_not_scanned_again(folder: Path, options: Options, tmp_path: Path) -> None:
    out = tmp_path / "results.parquet"
    arguments = {"detector": options.detector, "faces": options.faces, "jobs": 1, "out": out, "pictures": False}
    first = scan(folder / "red.png", **arguments)  # type: ignore[arg-type]
    again = scan(folder / "red.png", **arguments)  # type: ignore[arg-type]
    assert again.files[0].seconds_spent == first.files[0].seconds_spent  # a new scan would take another time
    moved = tmp_path / "moved.png"
    moved.write_bytes((folder / "red.png").read_bytes())
    elsewhere = scan(moved, **arguments)  # type: ignore[arg-type]
    assert elsewhere.files[0] == first.files[0].model_copy(update={"path": str(moved)})
    assert [row[0] for row in rows(out)] == sorted([str(folder / "red.png"), str(moved)])
    asked_anew = scan(folder / "red.png", **arguments, error_rate=0.2)  # type: ignore[arg-type]
    assert asked_anew.files[0].seconds_spent != first.files[0].seconds_spent
    assert len(rows(out)) == 2


def test_the_same_content_twice_in_one_run_is_scanned_once(portrait: Pixels, options: Options, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        save(portrait, media / name)
    report = scan(media, detector=options.detector, faces=options.faces, jobs=2, out=tmp_path / "t.parquet")
    assert states(report.files) == {"a.png": "real", "b.png": "real", "c.png": "real"}
    assert len({json.dumps(file.seconds_spent) for file in report.files}) == 1
    assert len(rows(tmp_path / "t.parquet")) == 3


def test_failed_files_are_tried_again(portrait: Pixels, options: Options, tmp_path: Path) -> None:
    scanner = options.ready()
    report = scanner.failed("a.png", "killed").model_copy(update={"sha256": "ab" * 32})
    with Ledger(tmp_path / "t.parquet", asked_of(scanner)) as ledger:
        ledger.add(report)
        ledger.learn(report)
    with Ledger(tmp_path / "t.parquet", asked_of(scanner)) as ledger:
        assert ledger.find("ab" * 32) is None
        ledger.add(report.model_copy(update={"state": "real", "score": 0.1, "low": 0.0, "high": 0.2}))
    assert [row[9] for row in rows(tmp_path / "t.parquet")] == ["real"]  # the newest answer for the path


def test_a_torn_line_is_cut_off(options: Options, tmp_path: Path) -> None:
    scanner = options.ready()
    done = scanner.failed("a.png", "why")
    ledger = Ledger(tmp_path / "t.parquet", asked_of(scanner))
    ledger.add(done)
    ledger._file.write(b'{"path": "b.png", "sta' * 5000)  # longer than one block
    ledger._file.close()
    with Ledger(tmp_path / "t.parquet", asked_of(scanner)) as ledger:
        ledger.add(scanner.failed("c.png", "why"))
    assert [row[0] for row in rows(tmp_path / "t.parquet")] == ["a.png", "c.png"]


def test_a_table_name_with_patterns_in_it(options: Options, tmp_path: Path) -> None:
    scanner = options.ready()
    strange = tmp_path / "r[1]*?'.parquet"
    for name in ("a.png", "b.png"):
        with Ledger(strange, asked_of(scanner)) as ledger:
            ledger.add(scanner.failed(name, "why"))
    with Ledger(strange, asked_of(scanner)) as ledger:
        assert ledger._paths == set()
    assert len(duckdb.read_parquet(str(strange).replace("[", "[[]").replace("*", "[*]").replace("?", "[?]"))) == 2


def test_other_peoples_tables_are_not_overwritten(options: Options, tmp_path: Path) -> None:
    scanner = options.ready()
    duckdb.sql("SELECT 42 AS answer").write_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(UnmaskError, match="not a table of unmask scan"):
        Ledger(tmp_path / "t.parquet", asked_of(scanner))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UnmaskError, match="not a table of unmask scan"):
        Ledger(tmp_path / "notes.txt", asked_of(scanner))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert duckdb.sql(f"SELECT * FROM '{tmp_path}/t.parquet'").fetchall() == [(42,)]


def test_two_scans_do_not_share_a_table(options: Options, tmp_path: Path) -> None:
    scanner = options.ready()
    with Ledger(tmp_path / "t.parquet", asked_of(scanner)), pytest.raises(UnmaskError, match="another scan"):
        Ledger(tmp_path / "t.parquet", asked_of(scanner))


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def test_kill_9_loses_nothing_that_was_done(portrait: Pixels, options: Options, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for i in range(16):
        frames = [np.roll(tinted(portrait, 0.012 * i), shift + i, axis=1) for shift in range(6)]
        clip([np.asarray(Image.fromarray(f).resize((256, 256))) for f in frames], media / f"{i:02d}.mp4")
    (media / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")

    def command(out: Path) -> list[str]:
        asked = [
            "--detector",
            options.detector,
            "--face-detector",
            options.faces,
            "--jobs",
            "2",
            "--quiet",
            "--out",
            str(out),
        ]
        return [sys.executable, "-m", "unmask", "scan", str(media), *asked]

    out, journal = tmp_path / "killed.parquet", tmp_path / "killed.parquet.journal.jsonl"
    scan_of_it = subprocess.Popen(command(out))
    until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 3, "three answers")
    workers = children(scan_of_it.pid)
    scan_of_it.kill()
    scan_of_it.wait()
    until(lambda: not any(alive(pid) for pid in workers), "the end of the workers of a dead parent")
    assert len(workers) == 2
    assert not out.exists()
    done = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
    assert 3 <= len(done) < 17
    with journal.open("ab") as file:
        file.write(b'{"path": "torn')

    assert subprocess.run(command(out), check=False).returncode == 3  # all was scanned, one file is damaged
    assert subprocess.run(command(tmp_path / "undisturbed.parquet"), check=False).returncode == 3
    assert not journal.exists()

    def without_times(row: tuple[object, ...]) -> tuple[object, ...]:
        report = json.loads(str(row[-1]))
        del report["seconds_spent"]
        return *row[:-1], json.dumps(report)

    killed, undisturbed = rows(out), rows(tmp_path / "undisturbed.parquet")
    assert len(killed) == 17
    assert [without_times(row) for row in killed] == [without_times(row) for row in undisturbed]
    assert len({row[9] for row in killed}) >= 3  # not all the same answer
    # What was done before the kill was not done again: its answer is the same to the last digit of its times.
    kept = {row[0]: row[-1] for row in killed}
    assert all(kept[line["path"]] == line["report"] for line in done if line["state"] != "failed")


def test_ctrl_c_keeps_what_is_done(portrait: Pixels, options: Options, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    picture = save(portrait, tmp_path / "a.jpg").read_bytes()
    for i in range(300):
        (media / f"{i:03d}.jpg").write_bytes(picture + bytes([i % 256, i // 256]))  # after its end: another hash
    out, journal, page = tmp_path / "t.parquet", tmp_path / "t.parquet.journal.jsonl", tmp_path / "t.json"
    asked = ["--detector", options.detector, "--face-detector", options.faces, "--jobs", "2", "--out", str(out)]
    running = subprocess.Popen(
        [sys.executable, "-m", "unmask", "scan", str(media), *asked, "--json", str(page)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 3, "three answers")
    workers = children(running.pid)
    running.send_signal(signal.SIGINT)
    shown, said = running.communicate(timeout=WAIT)
    assert running.returncode == 130, said
    assert said == "unmask: interrupted\n"
    until(lambda: not any(alive(pid) for pid in workers), "the end of the workers")
    done = len(rows(out))
    assert 3 <= done < 300
    assert not journal.exists()
    # The last answer may have been written down, and the run interrupted before it was told.
    told = len(json.loads(page.read_text())["files"])
    assert done - 1 <= told <= done
    assert f"{told} files: " in shown
