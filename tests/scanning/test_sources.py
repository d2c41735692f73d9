"""What people hand to `unmask.scan` in Python."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

import unmask
from unmask.media import Limits
from unmask.scanning import scan
from unmask.scanning.options import Options
from unmask.types import Pixels, Report, UnmaskError

from .make import save, tinted


@pytest.fixture
def red(portrait: Pixels, tmp_path: Path) -> Path:
    return save(tinted(portrait, 0.2), tmp_path / "red.png")


def test_every_form_of_one_picture(red: Path, options: Options) -> None:
    data, pixels = red.read_bytes(), np.asarray(Image.open(red))
    with red.open("rb") as file:
        forms: list[Any] = [red, data, bytearray(data), memoryview(data), io.BytesIO(data), file, pixels]
        report = scan([*forms, Image.open(red), pixels[::-1][::-1]], detector=options.detector, pictures=False, jobs=1)
    assert [one.state for one in report.files] == ["fake"] * 9
    assert {one.score for one in report.files} == {report.files[0].score}
    assert [one.path for one in report.files[1:6]] == ["<bytes>"] * 5
    assert [one.path for one in report.files[6:]] == ["<array>", str(red), "<array>"]
    assert {one.sha256 for one in report.files[:6]} == {hashlib.sha256(data).hexdigest()}


def test_one_alone_and_grey(red: Path, options: Options, portrait: Pixels) -> None:
    for one in (
        np.asarray(Image.open(red)),
        Image.open(red),
        io.BytesIO(red.read_bytes()),
        bytearray(red.read_bytes()),
    ):
        assert [file.state for file in scan(one, detector=options.detector, pictures=False).files] == ["fake"]
    grey = scan(np.asarray(Image.fromarray(portrait).convert("L")), detector=options.detector, pictures=False)
    assert grey.files[0].state == "real"


def test_pillow_pictures_are_turned_as_files_are(red: Path, options: Options) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.open(red).rotate(90, expand=True).save(out, "PNG", exif=exif)
    picture = Image.open(io.BytesIO(out.getvalue()))
    both = scan([out.getvalue(), picture], detector=options.detector, pictures=False)
    assert [file.state for file in both.files] == ["fake", "fake"]
    assert both.files[0].score == both.files[1].score


def test_files_and_memory_keep_their_order(red: Path, options: Options, portrait: Pixels, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    pale = [save(portrait[i:], tmp_path / "folder" / f"{i}.png") for i in range(2)]
    report = scan([portrait, tmp_path / "folder", red.read_bytes(), red], detector=options.detector, pictures=False)
    assert [file.path for file in report.files] == ["<array>", *map(str, pale), "<bytes>", str(red)]
    assert [file.state for file in report.files] == ["real", "real", "real", "fake", "fake"]


def test_memory_goes_into_a_table_under_its_hash(red: Path, options: Options, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    for _ in range(2):
        report = scan([red.read_bytes(), red], detector=options.detector, out=table)
        assert [file.path for file in report.files] == ["<bytes>", str(red)]
    rows = duckdb.sql(f"SELECT path, sha256, state FROM '{table}' ORDER BY path").fetchall()
    sha256 = hashlib.sha256(red.read_bytes()).hexdigest()
    assert rows == [(str(red), sha256, "fake"), (f"memory:{sha256}", sha256, "fake")]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "NoneType cannot be scanned"),
        (7, "int cannot be scanned"),
        ([None], "NoneType cannot be scanned"),
        ("", "an empty path"),
        (io.StringIO("text"), 'open it with mode "rb"'),
        (["absent.png"], "no such file"),
    ],
)
def test_what_cannot_be_scanned(source: Any, says: str, options: Options) -> None:
    with pytest.raises(UnmaskError, match=says):
        scan(source, detector=options.detector)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), b"text"]
)
def test_pixels_that_are_none_are_failed_not_raised(wrong: Any, options: Options, portrait: Pixels) -> None:
    report = scan([wrong, portrait], detector=options.detector, pictures=False)
    assert [file.state for file in report.files] == ["failed", "real"]
    assert report.files[0].reasons


def test_limits_hold_in_memory(red: Path, options: Options) -> None:
    few = Limits(pixels=1000)
    for one in (np.asarray(Image.open(red)), Image.open(red), red.read_bytes()):
        (file,) = scan(one, detector=options.detector, limits=few).files
        assert (file.state, "raise Limits.pixels" in file.reasons[0]) == ("failed", True)
    with pytest.raises(UnmaskError, match=r"raise Limits\.bytes"):
        scan(io.BytesIO(red.read_bytes()), detector=options.detector, limits=Limits(bytes=100))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": -2}, "jobs is -2"),
        ({"threads": 0}, "threads is 0"),
        ({"frames": 0}, "frames is 0"),
        ({"error_rate": 0.9}, "error_rate is 0.9"),
        ({"out": ""}, "it is a folder"),
    ],
)
def test_options_that_cannot_be_met(wrong: dict[str, Any], says: str, red: Path, options: Options) -> None:
    with pytest.raises(UnmaskError, match=says):
        scan([red, red], **({"detector": options.detector} | wrong))


def test_reports_come_one_by_one_and_are_those_of_a_scan(red: Path, portrait: Pixels, options: Options) -> None:
    one_by_one = list(unmask.iter_scan([red, portrait], options, jobs=1))
    whole = scan([red, portrait], detector=options.detector, pictures=False)
    assert {(r.sha256, r.state, r.score) for r in one_by_one} == {(r.sha256, r.state, r.score) for r in whole.files}
    with pytest.raises(UnmaskError, match="jobs is 0"):  # at the call, before the first report
        unmask.iter_scan([red], options, jobs=0)


def test_nothing_is_an_empty_report(options: Options) -> None:
    assert scan([], detector=options.detector).files == ()
    assert isinstance(unmask.scan([], detector=options.detector), Report)
