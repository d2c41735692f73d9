"""A run folder: what was asked for, where it ran, what came out. Each file is whole or absent.

recipe.yaml           all keys, resolved
run.json              hashes of the data and the starting weights: what a run may be continued with
environment.json      versions and hardware of each session that worked on it
metrics.csv, .jsonl   one row for each validation
frozen.safetensors    the weights that do not train, once
best, last            .safetensors: the weights that train; last also holds all that the next step needs
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from unmask._version import __version__
from unmask.errors import CheckpointError, MissingExtraError
from unmask.tasks.recipe import Recipe

RECIPE, RUN, ENVIRONMENT = "recipe.yaml", "run.json", "environment.json"
BEST, LAST, FROZEN = "best.safetensors", "last.safetensors", "frozen.safetensors"
LIBRARIES = ("torch", "torchvision", "accelerate", "transformers", "timm", "peft", "numpy", "pyarrow")
FORM = "unmask.run/1"


class Folder:
    """The files of one run; only the first process of several writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.board: Any = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def open(self, recipe: Recipe, data: str, start: str) -> None:
        """Begin the run, or go on with it.

        Args:
            data: digest of the manifest.
            start: sha256 of the starting weights, or nothing.
        Raises: UnmaskError for a folder of another run, naming what differs, or one that holds something else.
        """
        asked = {"form": FORM, "data": data, "start": start}
        if (self / RUN).is_file():
            self._same(recipe, asked)
        elif self.path.is_dir() and any(p.name != RECIPE and p.suffix != ".partial" for p in self.path.iterdir()):
            raise CheckpointError(f"{self.path} holds files and is no run folder: choose another, or an empty one")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            put(self / RECIPE, recipe.as_yaml())
            put(self / RUN, json.dumps(asked, indent=1) + "\n")
        held = json.loads((self / ENVIRONMENT).read_bytes()) if (self / ENVIRONMENT).is_file() else []
        now = environment()
        if not held or held[-1] != now:
            put(self / ENVIRONMENT, json.dumps([*held, now], indent=1) + "\n")

    def _same(self, recipe: Recipe, asked: dict[str, str]) -> None:
        old, new = self.recipe().model_dump(mode="json"), recipe.model_dump(mode="json")
        # The starting weights may have moved; their hash tells whether they are the same.
        other = sorted(k for k in new if old[k] != new[k] and k != "start")
        held = json.loads((self / RUN).read_bytes())
        other += [word for word in ("data", "start") if held.get(word) != asked[word]]
        if other:
            raise CheckpointError(
                f"{self.path} is a run of another recipe or other data ({', '.join(other)} differ): "
                "choose another folder, or ask for what it was begun with"
            )

    def recipe(self) -> Recipe:
        """The recipe of the run. Raises: UnmaskError where there is no run."""
        try:
            return Recipe.model_validate(yaml.safe_load((self / RECIPE).read_text("utf-8")))
        except OSError as error:
            raise CheckpointError(f"{self.path} is no run folder: {RECIPE}: {error.strerror}") from None

    def facts(self) -> dict[str, str]:
        """Hashes of data and starting weights."""
        facts: dict[str, str] = json.loads((self / RUN).read_bytes())
        return facts

    def resume(self, step: int) -> None:
        """Read the rows up to a step; what was written after the last checkpoint will be written again."""
        path = self / "metrics.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        self.rows = [row for row in map(json.loads, lines) if row["step"] <= step]

    def draw(self, step: int) -> None:
        """Also write rows for TensorBoard; what it holds beyond `step` is dropped. Raises: UnmaskError without it."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--tensorboard needs that package: pip install tensorboard") from None
        self.board = SummaryWriter(str(self / "tensorboard"), purge_step=step + 1)

    def record(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        if self.board:
            for name, value in row.items():
                self.board.add_scalar(name.replace("_", "/", 1), value, int(row["step"]))
            self.board.flush()
        put(self / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in self.rows))
        text = io.StringIO()
        names = list(dict.fromkeys(name for r in self.rows for name in r))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        put(self / "metrics.csv", text.getvalue())


def environment() -> dict[str, Any]:
    """Versions and hardware; no names of people, machines or folders."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    system = {"system": platform.system(), "machine": platform.machine(), "python": platform.python_version()}
    cpu = {"cpus": os.cpu_count(), "threads": torch.get_num_threads(), "cpu": _cpu()}
    return {"unmask": __version__, **system, **cpu, "gpus": gpus, "libraries": found}


def sha256(path: Path) -> str:
    """Of a file's content. Raises: UnmaskError, if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None


def put(path: Path, text: str) -> None:
    """All of the text, or the file as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
