"""A folder of crops over a whole manifest: it survives kill -9, is refused to other wishes, and loses nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pyarrow")

from tests.data.datasets.lay import out as lay
from tests.scanning.make import clip
from unmask.app.cli import app
from unmask.data import extraction, shards
from unmask.data.extraction import cut, summary
from unmask.data.index import index
from unmask.data.manifest import FaceRow, Manifest, Row, write
from unmask.data.media_faces import Options
from unmask.types import UnmaskError
from unmask.workers import Worker

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FEW = Options(frames=3, size=64)
CLIP, PORTRAIT = (SAMPLES / "clip-one-forged.mp4").read_bytes(), (SAMPLES / "portrait-real.jpg").read_bytes()


def medium(relpath: str, **changes: Any) -> Row:
    values = {"dataset": "d", "item_id": f"d/{relpath}", "relpath": relpath, "group_id": relpath, "label": 1}
    return Row.model_validate(values | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """Videos and images, whole and otherwise, in an order of their own; and the folder of their crops, to be read."""
    folder = tmp_path_factory.mktemp("cut")
    root = folder / "root"
    lay(root, "c.mp4", "a.mp4", content=CLIP)
    lay(root, "b.jpg", "z.jpg", content=PORTRAIT)
    lay(root, "torn.jpg", content=PORTRAIT[:99])
    names = ("c.mp4", "b.jpg", "gone.mp4", "a.mp4", "torn.jpg", "z.jpg")
    media = write(folder / "media.parquet", map(medium, names), root)
    progress: list[tuple[int, int]] = []
    cut(media, folder / "crops", FEW, jobs=2, progress=lambda rows, failed: progress.append((rows, failed)))
    assert sorted(progress) == [(1, 0)] * 4 + [(1, 1)] * 2
    return media, folder / "crops"


@pytest.fixture
def media(done: tuple[Manifest, Path]) -> Manifest:
    return done[0]


@pytest.fixture
def crops(done: tuple[Manifest, Path], tmp_path: Path) -> Path:
    """A finished folder to do with as one likes."""
    shutil.copytree(done[1], tmp_path / "crops")
    return tmp_path / "crops"


def files(folder: Path) -> dict[str, str]:
    """Everything in a folder: path -> sha256."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def unmask(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_has_every_medium_in_the_manifests_order(media: Manifest, crops: Path) -> None:
    made = Manifest(crops / "faces.parquet")
    rows = [r for r in made if isinstance(r, FaceRow)]
    short = [(r.media_id, r.frame, r.reason.partition(":")[0]) for r in rows]
    assert short == [
        *(("d/c.mp4", frame, "") for frame in (20, 62, 104)),
        ("d/b.jpg", 0, ""),
        ("d/gone.mp4", 0, "missing file"),
        *(("d/a.mp4", frame, "") for frame in (20, 62, 104)),
        ("d/torn.jpg", 0, "unreadable"),
        ("d/z.jpg", 0, ""),
    ]
    assert {(r.group_id, r.label) for r in rows} == {(row.group_id, row.label) for row in media}
    assert {p.name for p in crops.iterdir()} == {"crops", "job.json", "faces.parquet"}
    named = {r.relpath for r in rows if r.relpath} | {"job.json", "faces.parquet"}
    assert named == set(files(crops))
    assert all(made.file(r.dataset, r.relpath).is_file() for r in rows if not r.reason)
    found = summary(made)
    assert (found.media, found.crops, found.faulty) == (6, 8, 2)
    assert found.reasons == {"missing file": 1, "unreadable": 1}


def test_methods_with_equal_names_stay_apart(tmp_path: Path) -> None:
    """Four methods name their videos alike; grouped by folder they were one video of mixed labels."""
    root = tmp_path / "ff"
    frame = np.asarray(Image.open(SAMPLES / "portrait-real.jpg").convert("RGB").resize((256, 256)))
    for n, method in enumerate(("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")):
        folder = root / f"manipulated_sequences/{method}/c23/videos"
        folder.mkdir(parents=True)
        clip([frame // np.uint8(n + 2)] * 3, folder / "000_003.mp4")
    folder = root / "original_sequences/youtube/c23/videos"
    folder.mkdir(parents=True)
    clip([frame] * 3, folder / "000.mp4")
    found = index("faceforensics", root, tmp_path / "ff.parquet")
    rows = [r for r in cut(found.manifest, tmp_path / "crops", FEW, jobs=1) if isinstance(r, FaceRow)]
    assert len({r.media_id for r in rows}) == len({r.extra["media_sha256"] for r in rows}) == 5
    assert len({r.relpath for r in rows}) == len({r.item_id for r in rows}) == len(rows)
    assert {(r.method, r.label) for r in rows if "000_003" in r.media_id} == {
        (m, 1) for m in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    }
    assert {r.label for r in rows if "000_003" not in r.media_id} == {0}


def test_crops_of_another_margin_out_of_the_table_alone(crops: Path, tmp_path: Path) -> None:
    found = Manifest(crops / "faces.parquet")
    code, text = unmask(
        "data", "extract", found.path, "-o", tmp_path / "wide", "--margin", 1.7, "--size", 64, "--jobs", 2
    )
    assert code == 3, text  # two of the media still cannot be read
    wide = Manifest(tmp_path / "wide" / "faces.parquet")
    for narrow, r in zip(found, wide, strict=True):
        assert isinstance(r, FaceRow)
        assert isinstance(narrow, FaceRow)
        assert (r.item_id, r.points, r.reason) == (narrow.item_id, narrow.points, narrow.reason)
        assert r.margin is None or (round(r.margin, 4) == 1.7 and r.sha256 != narrow.sha256)
    code, text = unmask("data", "extract", found.path, "-o", tmp_path / "other", "--frames", 8)
    assert code == 2
    assert "leave out frames" in text


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def lines(journal: Path) -> list[bytes]:
    return journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []


def killed_three_times(manifest: Path, out: Path, *options: str, steps: tuple[int, int, int]) -> int:
    """Kills a run when its journal has so many lines; none may be written twice. Returns the last run's code."""
    command = [
        sys.executable,
        "-m",
        "unmask",
        "data",
        "extract",
        str(manifest),
        "-o",
        str(out),
        "--jobs",
        "1",
        "-q",
        *options,
    ]
    journal, before = out / "journal.jsonl", list[bytes]()
    for step in steps:
        run = subprocess.Popen(command)
        while len(lines(journal)) < step and run.poll() is None:
            time.sleep(0.002)
        run.kill()
        assert run.wait() == -signal.SIGKILL, "it ended before it could be killed"
        after = lines(journal)
        assert after[: len(before)] == before
        before = after
        with journal.open("ab") as file:
            file.write(b'{"at":0,"faces":[{"frame"')
    begun = {p: p.stat().st_mtime_ns for p in (out / "crops").rglob("*.png")}
    done = [face["relpath"] for line in before for face in json.loads(line)["faces"] if face.get("relpath")]
    code = subprocess.run(command, check=False).returncode
    assert all((out / p).stat().st_mtime_ns == begun[out / p] for p in done)  # nothing was done a second time
    return code


@pytest.mark.slow
def test_kill_9_at_three_moments_and_on(media: Manifest, crops: Path, tmp_path: Path) -> None:
    options = ("--frames", "3", "--size", "64")
    assert killed_three_times(media.path, tmp_path / "killed", *options, steps=(1, 2, 4)) == 3
    assert files(tmp_path / "killed") == files(crops)


@pytest.mark.slow
def test_kill_9_over_clips_of_faceforensics(shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "ffpp_c23_videos").rglob("*.mp4"), key=lambda p: p.stat().st_size)[:4]
    rows = [medium(p.relative_to(shared_data).as_posix()) for p in clips]
    some = write(tmp_path / "some.parquet", rows, shared_data)
    assert killed_three_times(some.path, tmp_path / "killed", "--frames", "2", steps=(1, 2, 3)) == 0
    assert summary(cut(some, tmp_path / "whole", Options(frames=2), jobs=2)).crops == 8
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_run_that_is_over_is_not_done_again(media: Manifest, crops: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in crops.rglob("*.*")}
    (crops / "journal.jsonl").write_bytes(b"killed before it was deleted")
    cut(media, crops, FEW, jobs=0)  # nobody to do it
    assert {p: p.stat().st_mtime_ns for p in crops.rglob("*.*")} == before


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_folder_belongs_to_one_wish(media: Manifest, crops: Path, tmp_path: Path) -> None:
    before = files(crops)
    with pytest.raises(UnmaskError, match=r"crops of margin 1.3, not 1.5; give another folder"):
        cut(media, crops, FEW.model_copy(update={"margin": 1.5}))
    fewer = write(tmp_path / "fewer.parquet", list(media)[:2], media.roots)
    with pytest.raises(UnmaskError, match="the manifest has changed since"):
        cut(fewer, crops, FEW)
    code, text = unmask("data", "extract", media.path, "-o", media.roots["d"], "--frames", 3)
    assert code == 2
    assert "holds other files" in text
    assert files(crops) == before


def test_a_moved_data_set_goes_on_in_the_same_folder(media: Manifest, crops: Path, tmp_path: Path) -> None:
    shutil.copytree(media.roots["d"], tmp_path / "moved")
    moved = write(tmp_path / "moved.parquet", list(media), tmp_path / "moved")
    made = cut(moved, crops, FEW, jobs=0)
    assert json.loads((crops / "job.json").read_bytes())["roots"] == {"d": str(tmp_path / "moved")}
    again = cut(made, tmp_path / "again", FEW.model_copy(update={"margin": 2.0}))
    assert summary(again).crops == 8


def test_two_runs_do_not_share_a_folder(media: Manifest, tmp_path: Path) -> None:
    with (
        extraction._claimed(tmp_path / "crops", extraction._job(media, FEW)),
        pytest.raises(UnmaskError, match="another run"),
    ):
        cut(media, tmp_path / "crops", FEW)


def test_a_damaged_job_is_refused_once_there_is_work_in_it(media: Manifest, crops: Path) -> None:
    (crops / "job.json").write_text("{")
    with pytest.raises(UnmaskError, match=r"job\.json is damaged"):
        cut(media, crops, FEW)


# --- workers that die ------------------------------------------------------------------------------------------------


def dying(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> Iterator[int]:
    """Workers are killed as soon as they are asked for `name`, so many times."""
    left = iter(range(times))

    class Dying(Worker):
        def ask(self, line: str) -> bytes:
            if json.loads(line)["row"]["relpath"] == name and next(left, None) is not None:
                os.kill(self._process.pid, signal.SIGKILL)
            return super().ask(line)

    monkeypatch.setattr(extraction, "Worker", Dying)
    return left


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_medium_a_second_try(
    media: Manifest, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Manifest(crops / "faces.parquet")
    left = dying(monkeypatch, "b.jpg", 1)
    assert list(cut(media, tmp_path / "once", FEW, jobs=2)) == list(whole)
    assert next(left, None) is None
    dying(monkeypatch, "b.jpg", 2)
    twice = [r for r in cut(media, tmp_path / "twice", FEW, jobs=2) if isinstance(r, FaceRow)]
    assert [r.media_id for r in twice] == [r.media_id for r in whole if isinstance(r, FaceRow)]
    lost = [r for r in twice if r.reason.startswith("worker")]
    assert [(r.media_id, r.reason) for r in lost] == [
        ("d/b.jpg", "worker: the process that read it was ended by SIGKILL")
    ]
    assert summary(Manifest(tmp_path / "twice" / "faces.parquet")).faulty == 3


def test_media_that_could_not_be_read_are_tried_again_when_asked(
    media: Manifest, crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(media.roots["d"], tmp_path / "root")
    moved = write(tmp_path / "moved.parquet", list(media), tmp_path / "root")
    lay(tmp_path / "root", "gone.mp4", content=CLIP)
    before = {p: p.stat().st_mtime_ns for p in crops.rglob("*.png")}
    dying(monkeypatch, "b.jpg", 99)  # nobody may be asked for it: it is done
    assert summary(cut(moved, crops, FEW)).crops == 8  # nothing without --retry
    assert summary(cut(moved, crops, FEW, retry=True)).crops == 11
    rows = list(Manifest(crops / "faces.parquet"))
    assert [r.reason for r in rows if isinstance(r, FaceRow) and r.reason] == [
        r.reason for r in rows if isinstance(r, FaceRow) and r.media_id == "d/torn.jpg"
    ]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    monkeypatch.undo()
    cut(moved, tmp_path / "whole", FEW, jobs=2)
    assert files(crops) == files(tmp_path / "whole")


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(media: Manifest, crops: Path, tmp_path: Path) -> None:
    code, text = unmask("data", "extract", media.path, "-o", crops, "--frames", 3, "--size", 64, "--jobs", 2)
    assert code == 3
    said = [" ".join(line.split()) for line in text.splitlines()]
    assert said[:4] == ["media 6", "crops 8", "no crop: missing file 1", "no crop: unreadable 1"]
    assert unmask("data", "extract", tmp_path / "none.parquet", "-o", tmp_path / "x")[0] == 2
    code, text = unmask("data", "extract", media.path, "-o", tmp_path / "x", "--template", "dlib81")
    assert code == 2
    assert "known are arcface5, gend5" in text


def test_help_needs_neither_torch_nor_pyarrow() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from unmask.app.cli import app; "
        "assert CliRunner().invoke(app, ['data', 'extract', '--help']).exit_code == 0; "
        "assert not {'torch', 'pyarrow', 'onnxruntime'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- shards ----------------------------------------------------------------------------------------------------------


def test_shards(crops: Path, tmp_path: Path) -> None:
    made = Manifest(crops / "faces.parquet")
    packed = shards.pack(made, tmp_path / "shards", crops=3)
    said = json.loads(packed.read_bytes())
    assert said["format"] == "unmask.shards/1"
    assert [(s["name"], s["count"]) for s in said["shards"]] == [
        ("000000.tar", 3),
        ("000001.tar", 3),
        ("000002.tar", 2),
    ]
    by_key = {Path(r.relpath).stem: r for r in made if isinstance(r, FaceRow) and not r.reason}
    seen = []
    for shard in said["shards"]:
        data = (packed.parent / shard["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        for name in (n for n in members if n.endswith(".json")):
            row = FaceRow.model_validate_json(members[name])
            assert row == by_key[Path(name).stem]
            assert hashlib.sha256(members[name.replace(".json", ".png")]).hexdigest() == row.sha256
            seen.append(row.item_id)
    assert sorted(seen) == sorted(r.item_id for r in by_key.values())
    assert seen == sorted(seen, key=lambda i: hashlib.sha256(i.encode()).hexdigest())  # mixed, not video by video
    assert files(shards.pack(made, tmp_path / "same", crops=3).parent) == files(packed.parent)


def test_shards_go_on_after_a_kill_and_start_anew_for_another_table(crops: Path, tmp_path: Path) -> None:
    made = Manifest(crops / "faces.parquet")
    whole = files(shards.pack(made, tmp_path / "whole", crops=3).parent)

    def stop(crops: int) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        shards.pack(made, folder, crops=3, progress=stop)
    (folder / ".000001.tar.partial").write_bytes(b"torn")
    assert not (folder / "index.json").exists()
    first = (folder / "000000.tar").stat().st_mtime_ns
    assert files(shards.pack(made, folder, crops=3).parent) == whole
    assert (folder / "000000.tar").stat().st_mtime_ns == first
    other = shards.pack(made, folder, crops=4)
    assert [s["count"] for s in json.loads(other.read_bytes())["shards"]] == [4, 4]
    assert {p.name for p in folder.iterdir()} == {"000000.tar", "000001.tar", "index.json"}


def test_a_crop_that_was_changed_does_not_get_into_a_shard(crops: Path, tmp_path: Path) -> None:
    made = Manifest(crops / "faces.parquet")
    crop = next(r for r in made if r.relpath)
    made.file(crop.dataset, crop.relpath).write_bytes(b"")
    with pytest.raises(UnmaskError, match="is not the crop that was cut"):
        shards.pack(made, tmp_path / "shards")
