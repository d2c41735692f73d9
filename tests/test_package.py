"""Promises of the package as a whole: light imports, public names, one version, pages that follow the code."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import unmask
from unmask.app.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
SCANNING = ("app", "bundles", "faces", "media", "scanning")
# And the commands' files; what those measure and train with is imported when they run.
APP = ("cli", "cards", "errors", "progress", "scanning")
HEAVY = ("torch", "cv2", "sklearn", "scipy", "onnx", "openvino", "huggingface_hub", "pyarrow", "ray", "transformers")


def scanning_modules() -> list[str]:
    folders = [str(REPOSITORY / "src/unmask" / room) for room in SCANNING]
    return [
        f"unmask.{room}.{module.name}"
        for room, folder in zip(SCANNING, folders, strict=True)
        for module in pkgutil.iter_modules([folder])
        if f"{room}.{module.name}" != "bundles.distance"  # the torch side of a bundle
        if room != "app" or module.name in APP or module.name.endswith("_commands")
    ]


def imported(statement: str) -> set[str]:
    """Top-level names of all modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_nothing_that_a_scan_needs_imports_a_training_library() -> None:
    modules = scanning_modules()
    assert "unmask.scanning.pipeline" in modules
    held = imported("import " + ", ".join(modules))
    assert "onnxruntime" in held  # the modules were really imported
    assert not held & set(HEAVY)


def test_help_waits_for_nothing_heavy() -> None:
    held = imported("import unmask.app.cli")
    assert not held & {"numpy", "onnxruntime", "av", "duckdb", *HEAVY}


def test_every_public_name_is_there() -> None:
    assert all(callable(getattr(unmask, name)) for name in unmask.__all__ if name != "__version__")
    assert set(unmask.__all__) <= set(dir(unmask))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        unmask.nothing_of_the_kind  # noqa: B018 - asking for the name is the test


def test_there_is_one_version() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert version("unmask") == unmask.__version__
    assert f"\nversion: {unmask.__version__}\n" in citation
    shown = subprocess.run([sys.executable, "-m", "unmask", "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout == f"unmask {unmask.__version__}\n"


COMMANDS = {command.callback.__name__: command for command in app.registered_commands if command.callback}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_page_names_every_option(name: str) -> None:
    """If it does not: python .ci/reference.py"""
    page = (REPOSITORY / "docs/cli.md").read_text("utf-8")
    section = page.partition(f"## `unmask {name}`")[2].partition("\n## ")[0]
    shown = subprocess.run([sys.executable, "-m", "unmask", name, "--help"], check=True, capture_output=True, text=True)
    options = set(re.findall(r"--[a-z][a-z-]+", shown.stdout))
    assert options >= {"--help"}
    assert options - set(re.findall(r"--[a-z][a-z-]+", section)) == set()


def test_links_between_the_pages_outside_the_site_lead_somewhere() -> None:
    """The site's builder checks the pages in docs/; these lie beside it."""
    for page in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", (REPOSITORY / page).read_text("utf-8"))
        assert [link for link in links if not (REPOSITORY / link).exists()] == [], page


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_the_pages_runs(page: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], check=True, cwd=REPOSITORY)
