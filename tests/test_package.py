"""Promises of the package as a whole: light imports, public names, one version, pages that follow the code."""

from __future__ import annotations

import pkgutil
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import unmask
from unmask.app.cli import app
from unmask.output import write_text
from unmask.registry import FAMILIES
from unmask.tasks import recipe
from unmask.train import checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
SCANNING = ("app", "app.commands", "bundles", "faces", "media", "scanning")
# And the commands' files; what those measure and train with is imported when they run.
APP = ("cli", "cards", "errors", "progress", "scanning")
HEAVY = ("torch", "cv2", "sklearn", "scipy", "onnx", "openvino", "huggingface_hub", "pyarrow", "ray", "transformers")


def scanning_modules() -> list[str]:
    folders = [str(REPOSITORY / "src/unmask" / room.replace(".", "/")) for room in SCANNING]
    return [
        f"unmask.{room}.{module.name}"
        for room, folder in zip(SCANNING, folders, strict=True)
        for module in pkgutil.iter_modules([folder])
        if f"{room}.{module.name}" != "bundles.distance"  # the torch side of a bundle
        if room != "app" or module.name in APP
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
    assert [name for name in unmask.__all__ if name != "__version__" and not callable(getattr(unmask, name))] == []
    assert set(unmask.__all__) <= set(dir(unmask))
    assert len(set(unmask.__all__)) == len(unmask.__all__)
    with pytest.raises(AttributeError, match="no attribute 'scam'"):
        unmask.scam  # noqa: B018 - asking for the name is the test


def test_the_types_of_a_scan_and_the_errors_wait_for_no_library() -> None:
    held = imported("import unmask\nfrom unmask import UnmaskError, ManifestError")
    assert not held & {"numpy", "pydantic", "av", *HEAVY}
    held = imported(
        "from unmask import Card, FileReport, Finding, InputSpec, Limits, Report, Scorer, load, open_media, scan"
    )
    assert not held & set(HEAVY)


def test_errors_are_a_tree() -> None:
    errors = {name: getattr(unmask, name) for name in unmask.__all__ if name.endswith("Error")}
    assert all(issubclass(error, unmask.UnmaskError) for error in errors.values())
    wrong = {name for name, error in errors.items() if issubclass(error, ValueError)}
    assert wrong == {"InvalidError", "InputError", "ManifestError", "RecipeError", "UnknownMethodError"}
    assert issubclass(unmask.MissingExtraError, ImportError)
    drawn = re.findall(r"[├└]── (\w+)", (REPOSITORY / "src/unmask/errors.py").read_text("utf-8"))
    assert sorted([*drawn, "UnmaskError"]) == sorted(errors)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda _: unmask.create("xcepton"), unmask.UnknownMethodError),
        (lambda _: unmask.create("detector", "xception", {"dorpout": 0.1}), unmask.InputError),
        (lambda folder: unmask.load(str(folder)), unmask.BundleError),
        (lambda folder: unmask.open_media(str(folder / "notes.txt")), unmask.MediaError),
        (lambda folder: unmask.Manifest(folder / "notes.txt"), unmask.ManifestError),
        (lambda folder: recipe.load(folder / "notes.txt"), unmask.RecipeError),
        (lambda folder: unmask.scan(folder / "absent.png"), unmask.InputError),
        (lambda folder: checkpoint.load(folder / "notes.txt"), unmask.CheckpointError),
        (lambda folder: write_text(folder / "absent/report.json", ""), unmask.OutputError),
    ],
)
def test_each_error_is_raised_where_it_says(
    call: Callable[[Path], object], error: type[Exception], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no recipe: [")
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert caught.type is error


def test_there_is_one_version() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert version("unmask") == unmask.__version__
    assert f"\nversion: {unmask.__version__}\n" in citation
    shown = subprocess.run([sys.executable, "-m", "unmask", "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout == f"unmask {unmask.__version__}\n"


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """("data", "index") and the command, for all."""
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if isinstance(command, TyperGroup) else [((*path, name), command)]


COMMANDS = dict(commands(typer.main.get_group(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_command_line_page_names_every_option(path: tuple[str, ...]) -> None:
    """If it does not: python .ci/reference.py"""
    page = (REPOSITORY / "docs/cli.md").read_text("utf-8")
    section = page.partition(f"# `unmask {' '.join(path)}`")[2].partition("\n#")[0]
    options = {flag for p in COMMANDS[path].params for flag in p.opts if flag.startswith("--")}
    assert section
    assert options - set(re.findall(r"--[a-z][a-z-]+", section)) == set()


def test_help_is_shown_by_panels_and_a_manifest_is_always_an_argument() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "unmask", "--help"], check=True, capture_output=True, text=True
    ).stdout
    panels = re.findall(r"─ (\w+) ─", shown)
    assert panels == ["Options", "Scan", "Data", "Train", "Evaluate"]
    for path, command in COMMANDS.items():
        manifests = [p for p in command.params if p.name in ("manifest", "manifests")]
        assert all(p.param_type_name == "argument" for p in manifests), path


REFERENCE = runpy.run_path(str(REPOSITORY / ".ci/reference.py"))


def test_the_methods_of_the_readme_are_what_their_files_say() -> None:
    """A row that differs: python .ci/reference.py. A method that is not in the table yet is no fault."""
    block = (
        (REPOSITORY / "README.md").read_text("utf-8").partition(REFERENCE["BEGIN"])[2].partition(REFERENCE["END"])[0]
    )
    shown = {line for line in block.splitlines() if line.startswith("| [")}
    made = set(REFERENCE["readme_block"](list(REFERENCE["methods"]())).splitlines())
    assert len(shown) > 40
    assert shown - made == set()


def test_every_method_has_a_page_with_its_paper_options_and_recipes() -> None:
    pages = {(m.kind, m.name): REFERENCE["page"](m) for m in REFERENCE["methods"]()}
    assert set(pages) == {(kind, name) for kind in FAMILIES for name in FAMILIES[kind].names()}
    for (kind, name), page in pages.items():
        card = FAMILIES[kind].card(name)
        assert page.startswith(f"# {card.title}\n"), name
        assert f"- **Paper**: {card.paper}" in page, name
    gend = pages["detector", "gend"]
    assert "- `adaptation: How = 'ln'` – what of it trains" in gend
    assert "- `recipes/gend-clip-l14.yaml` – LayerNorm tuning" in gend


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
