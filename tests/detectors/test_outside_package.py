"""docs/add-a-method.md, followed to the letter by an installed package: its code blocks are what is tested here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.faces import lay

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


def block(language: str, holding: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (one,) = (text for text in found if holding in text)
    return str(one)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as pip leaves it: the package and its metadata."""
    root = tmp_path_factory.mktemp("site")
    package, info = root / "my_detectors", root / "my_detectors-1.0.dist-info"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "moments.py").write_text(block("python", "class Moments"))
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-detectors\nVersion: 1.0\n")
    group, line = re.findall(r'entry-points\."(.+?)"\]\n(.+)\n', block("toml", "entry-points"))[0]
    name, module = re.fullmatch(r'(\w+) = "(.+)"', line).groups()  # type: ignore[union-attr]
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\nmobilenet = {module}\ngone = not_there.it\n")
    return root


def run(site: Path, *command: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=where, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.mark.slow
def test_it_is_listed_and_trained_by_name(site: Path, tmp_path: Path) -> None:
    shown = run(site, "-m", "unmask", "methods", "moments")
    assert "Moments of fine detail" in shown.stdout
    data = lay(tmp_path / "crops")
    (tmp_path / "recipe.yaml").write_text(block("yaml", "moments-tiny"))
    small = ["options.size=32", "batch=10", "length=4 steps", "validate=2 steps"]
    words = ["train", "recipe.yaml", str(data), "--out", "run", "--workers", "0", *small]
    trained = run(site, "-m", "unmask", *words, where=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "best.safetensors").is_file()


@pytest.mark.slow
def test_the_page_s_hand_made_numbers_hold(site: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_moments.py"
    test.write_text(block("python", "one_bright_pixel").replace("unmask.detectors.moments", "my_detectors.moments"))
    said = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), where=tmp_path)
    assert "1 passed" in said.stdout, said.stdout


@pytest.mark.slow
def test_it_keeps_every_promise_of_a_detector(site: Path) -> None:
    words = ["-q", "-p", "no:cacheprovider", "tests/contract/test_detectors.py", "-k", "moments"]
    said = run(site, "-m", "pytest", *words, where=PAGE.parents[1])
    promises = (PAGE.parents[1] / "tests/contract/test_detectors.py").read_text().count("\ndef test_")
    passed = re.search(r"(\d+) passed", said.stdout)
    assert said.returncode == 0, said.stdout
    assert passed, said.stdout
    assert int(passed[1]) >= promises


@pytest.mark.slow
def test_a_name_of_ours_stays_ours_and_a_missing_module_is_named(site: Path) -> None:
    code = (
        "import warnings; warnings.simplefilter('always')\n"
        "from unmask.registry import FAMILIES\n"
        "print(FAMILIES['detector'].card('mobilenet').title)\n"
        "try: FAMILIES['detector'].create('gone')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "try: FAMILIES['detector'].card('gone')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = run(site, "-c", code)
    title, create, card = said.stdout.splitlines()
    assert title == "MobileNetV2 baseline"
    assert "left out" in said.stderr
    assert create.startswith("UnknownMethodError")
    assert "not_there" in create
    assert card.startswith("UnknownMethodError")
    assert "not installed" in card


TOYS = {
    "objective": ("Invariance", "objectives"),
    "attack": ("SignNoise", "attacks"),
    "explainer": ("Rows", "explainers"),
    "generator": ("GreyBox", "generators"),
    "decoder": ("Temper", "decoders"),
}


@pytest.mark.slow
def test_one_file_of_each_other_family_is_found_and_works(tmp_path: Path) -> None:
    """Its final call is made on real arguments, so the page's code keeps what the base promises."""
    package, info = tmp_path / "my_methods", tmp_path / "my_methods-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.0\n")
    points = ""
    for kind, (name, family) in TOYS.items():
        (package / f"{kind}.py").write_text(block("python", f"class {name}("))
        points += f"[unmask.{family}]\ntoy_{kind} = my_methods.{kind}\n"
    (info / "entry_points.txt").write_text(points)
    said = run(tmp_path, "-c", USE)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["True", "True", "True", "True", "True"]


USE = """
import numpy as np, torch, unmask
from skimage import data
from unmask.base.decoder import Step
from unmask.base.objective import Views
from unmask.data.landmarks import from_five

make = lambda kind: unmask.create(kind, f"toy_{kind}")
views = tuple(torch.rand(4, 3, 32, 32) for _ in range(2))
terms = make("objective").loss(Views(views, tuple(torch.zeros(4, 4) for _ in views), torch.arange(4), torch.zeros(4)))
print(set(terms) == {"invariance", "spread"} and all(t.isfinite() for t in terms.values()))
model = lambda x: torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)
found = make("attack")(model, views[0], torch.ones(4).long(), [8 / 255])
print(bool(0 < found.distance.max() <= 8 / 255 + 1e-6))
bright_top = lambda crops: crops[:, :8].mean((1, 2, 3), dtype=np.float32)
heat = make("explainer")(bright_top, np.full((64, 64, 3), 255, np.uint8))
print(bool(heat[0].min() > 0 and heat[1:].max() == 0))
face = from_five(np.array([[40, 50], [88, 50], [64, 76], [45, 98], [83, 98]], np.float32))
forged = make("generator")(data.astronaut()[:128, 150:278].copy(), face, np.random.default_rng(0))
print(bool(forged.mask.sum() > 0))
logits = torch.randn(2, 5)
print(torch.equal(make("decoder")(Step(logits)), logits))
"""
