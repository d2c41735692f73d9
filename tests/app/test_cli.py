"""The command line: what it prints, writes and answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage import data
from typer.testing import CliRunner, Result

import unmask
from scanning.make import save, tinted, write_bundle
from unmask.app.cli import app
from unmask.scanning.schema import report_schema
from unmask.types import Report

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    portrait = np.asarray(data.astronaut())
    (root / "media").mkdir()
    save(tinted(portrait, 0.2), root / "media/red.png")
    save(portrait, root / "media/pale.png")
    write_bundle(root / "bundle", ood_threshold=9.0)
    (root / "bad.jpg").write_text("no image")
    return root


@pytest.fixture
def asked(folder: Path) -> list[str]:
    return ["--detector", str(folder / "bundle")]


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def test_one_file_is_told_in_full(folder: Path, asked: Sequence[str]) -> None:
    result = run("scan", folder / "media/red.png", *asked)
    assert result.exit_code == 0, result.output
    shown = plain(result.stdout)
    assert shown.startswith("Likely forged")
    assert "probability that at least one face is forged" in shown
    assert "90 % interval" in shown
    assert "not proof" in shown
    assert "of real examples in the validation data score this high" in shown
    assert "detector red-is-forged" in shown
    assert "\x1b" not in result.stdout


def test_a_folder_is_a_line_for_each_file(folder: Path, asked: Sequence[str]) -> None:
    result = run("scan", folder / "media", *asked, "--jobs", "1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("No known sign of forgery")
    assert str(folder / "media/pale.png") in lines[0]  # never cut or wrapped
    assert lines[1].startswith("Likely forged")
    assert lines[2] == "2 files: 1 likely forged, 1 no known sign of forgery"


def test_exit_codes(folder: Path, asked: Sequence[str]) -> None:
    red, pale, bad = folder / "media/red.png", folder / "media/pale.png", folder / "bad.jpg"
    assert run("scan", pale, *asked, "--fail-on", "fake").exit_code == 0
    assert run("scan", red, *asked, "--fail-on", "fake").exit_code == 1
    assert run("scan", red, *asked, "--fail-on", "uncertain", "--fail-on", "fake").exit_code == 1
    assert run("scan", bad, *asked).exit_code == 3
    assert run("scan", bad, *asked, "--fail-on", "failed").exit_code == 1
    assert run("scan", "--frames", "0", red, *asked).exit_code == 2
    assert run("scan").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scan", "absent.png"], "no such file or folder: absent.png"),
        (["scan", "http://example.org/a.png"], "say so with --url"),
        (["scan", "{red}", "--detector", "/nowhere"], "no detector bundle at /nowhere"),
        (["scan", "{red}", "--face-detector", "/nowhere.onnx"], "no face detector at /nowhere.onnx"),
        (["scan", "{red}", "--runtime", "abacus"], "unknown runtime 'abacus'"),
        (["scan", "{red}", "--whole-image"], "Leave out --whole-image"),
        (["scan", "{red}", "--json", "/nowhere/a.json"], "there is no folder /nowhere"),
        (["scan", "--camera", "99"], "no camera at /dev/video99"),
        (["info", "/nowhere"], "no detector bundle at /nowhere"),
        (["pull", "retina"], "no face detector 'retina'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(arguments: list[str], says: str, folder: Path, asked: Sequence[str]) -> None:
    filled = [argument.format(red=folder / "media/red.png") for argument in arguments]
    defaults = [
        word
        for name, value in zip(asked[::2], asked[1::2], strict=True)
        if arguments[0] == "scan" and name not in filled
        for word in (name, value)
    ]
    result = run(*filled, *defaults)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.startswith("unmask: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_json_on_standard_output_is_all_there_is(folder: Path, asked: Sequence[str]) -> None:
    result = run("scan", folder / "media", *asked, "--json", "-", "--jobs", "1")
    report = json.loads(result.stdout)
    assert report["schema"] == "unmask.report/2"
    assert [file["state"] for file in report["files"]] == ["real", "fake"]
    assert "thumbnail" not in report["files"][0]["faces"][0]
    assert Report.model_validate_json(result.stdout).files[1].score == report["files"][1]["score"]


def test_files_are_written(folder: Path, asked: Sequence[str], tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.json", "a.html", "a.parquet")]
    options = [
        word for flag, name in zip(("--json", "--html", "--out"), names, strict=True) for word in (flag, str(name))
    ]
    result = run("scan", folder / "media/red.png", *asked, *options, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert sorted(tmp_path.iterdir()) == sorted(names)
    page = names[1].read_text("utf-8")
    assert "Likely forged" in page
    assert page.count("data:image/jpeg;base64,") >= 2  # thumbnail and heat map
    again = run("scan", folder / "media/red.png", *asked, *options, "--quiet")
    assert again.exit_code == 0
    assert Report.model_validate_json(names[0].read_text()).files[0].state == "fake"


def test_colours_are_for_terminals_that_want_them(folder: Path, asked: Sequence[str]) -> None:
    arguments = ("scan", folder / "media/red.png", *asked)
    assert "\x1b[" in run(*arguments, env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[31" not in run(*arguments, env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout


def test_info_tells_the_card_in_words(folder: Path) -> None:
    result = run("info", folder / "bundle")
    assert result.exit_code == 0
    shown = plain(result.stdout)
    for words in (
        "red-is-forged 1",
        "For tests only.",
        "Trained on - red faces",
        "Limits - sunburn",
        "Calibrated on made by hand",
    ):
        assert words in shown
    assert "aligned faces of 64 px, margin 1.3" in shown


def test_the_schema_is_published_and_true(folder: Path, asked: Sequence[str]) -> None:
    """If the page differs: python .ci/reference.py"""
    assert run("schema").stdout == report_schema()
    assert (REPOSITORY / "docs/report.schema.json").read_text("utf-8") == report_schema()
    schema = json.loads(report_schema())
    report = json.loads(run("scan", folder / "media", folder / "bad.jpg", *asked, "--json", "-").stdout)
    described = {"Report": schema} | schema["$defs"]
    pairs = [("Report", report), *(("FileReport", file) for file in report["files"])]
    pairs += [("FaceReport", face) for file in report["files"] for face in file["faces"]]
    pairs += [("Sample", sample) for _, face in pairs if "samples" in face for sample in face["samples"]]
    assert {name for name, _ in pairs} == {"Report", "FileReport", "FaceReport", "Sample"}
    for name, found in pairs:
        assert set(found) == set(described[name]["properties"]), name


def test_the_module_is_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "unmask", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert shown == f"unmask {unmask.__version__}\n"


def test_the_shell_is_completed() -> None:
    command = [sys.executable, "-m", "unmask", "--show-completion", "bash"]
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # tests may run below no shell at all
    shown = subprocess.run(command, env=named, capture_output=True, text=True, check=False).stdout
    assert "complete" in shown


def test_what_a_file_confesses_stands_beside_its_verdict(asked: Sequence[str], tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("parameters", "somebody who never was\nSteps: 20, Sampler: Euler a, Model: dream_v2")
    Image.fromarray(np.asarray(data.astronaut())).save(tmp_path / "made.png", pnginfo=texts)
    said = "The file itself says that a generator made it: generation parameters of a Stable Diffusion web UI"
    alone = run("scan", tmp_path / "made.png", *asked, "--json", tmp_path / "a.json", "--html", tmp_path / "a.html")
    assert f"{said} (model dream_v2)." in plain(alone.stdout)
    claims = json.loads((tmp_path / "a.json").read_text())["files"][0]["provenance"]
    assert claims["generator_prompt"] == "somebody who never was"
    page = (tmp_path / "a.html").read_text("utf-8")
    assert page.index(said) < page.index("somebody who never was")  # the prompt comes with the other claims
    Image.fromarray(np.asarray(data.astronaut())).save(tmp_path / "plain.png")
    lines = run("scan", tmp_path / "made.png", tmp_path / "plain.png", *asked, "--jobs", "1").stdout.splitlines()
    assert ["the file says that a generator made it" in line for line in lines] == [True, False, False]
