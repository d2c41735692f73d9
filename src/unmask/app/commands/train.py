"""`unmask train` and `export`: from a recipe to a run, and to a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.train.loop import Report


class Runtime(StrEnum):
    """What runs an exported model."""

    onnx = "onnx"
    openvino = "openvino"


class Precision(StrEnum):
    """Of an exported model's weights."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


def train(
    recipe: Annotated[Path, typer.Argument(help="Path of a recipe; see recipes/.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest of the training data.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides: optimizer.lr=1e-4 seed=3.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; an interrupted run in it is resumed.")] = Path(
        "run"
    ),
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 0,
    cpu: Annotated[bool, typer.Option("--cpu", help="Do not use a GPU.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write metrics for TensorBoard (must be installed).")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no numbers.")] = False,
) -> None:
    """Train a method by a recipe. The same command resumes an interrupted run.

    Several processes: torchrun --nproc-per-node 2 -m unmask train ...
    """
    with errors_in_a_line():
        from unmask.tasks import recipe as recipes
        from unmask.train.loop import train as run

        chosen = recipes.load(recipe, changes or ())
        with _shown(quiet) as report:
            say = partial(typer.echo, err=True) if report else _silent
            done = run(chosen, manifest, out, workers=workers, cpu=cpu, tensorboard=tensorboard, report=report, say=say)
        if not quiet and os.environ.get("RANK", "0") == "0":
            typer.echo(f"{out}: {done.step} steps, best {chosen.best} {done.best:.4f} at step {done.best_step}")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `unmask train`.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="The manifest of the training; its validation rows calibrate.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle to write.")],
    to: Annotated[Runtime, typer.Option(help="Runtime to export for; ONNX Runtime is always included.")] = Runtime.onnx,
    precision: Annotated[Precision, typer.Option(help="Of the weights.")] = Precision.fp32,
    base: Annotated[
        str,
        typer.Option(
            "--delta", metavar="ENCODER", help="Leave out the weights that this encoder of `unmask pull` has."
        ),
    ] = "",
    embedding: Annotated[
        bool,
        typer.Option(
            "--embedding", help="Of a pre-training run: a bundle that embeds, for `eval verify` and identity."
        ),
    ] = False,
    bound: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest accepted difference of P(fake).", show_default="by precision"),
    ] = None,
) -> None:
    """Export the best weights of a run: an encoder as a file, a detector as a bundle that scores as the model does."""
    with errors_in_a_line():
        from unmask.tasks import task
        from unmask.train.run import Folder

        if embedding:
            from unmask.exporting.embedding import export_embedding

            made = export_embedding(run, out)
            typer.echo(f"{out}: {made.name}, embeddings of {made.dim} numbers, version {made.sha256[:12]}")
            return
        if task(Folder(run).recipe()).exports == "encoder":
            from unmask.exporting.encoder import export_encoder

            typer.echo(f"{export_encoder(run, out)}: an encoder, for `start` of a recipe")
            return
        from unmask.exporting.bundle import export as make

        card, parity = make(run, manifest, out, runtime=to.value, precision=precision.value, bound=bound, base=base)
        typer.echo(
            f"{out}: {card.name}, {', '.join(card.files)}; P(fake) differs by at most {parity.worst:.2g} "
            f"(allowed {parity.bound:g}) on {parity.crops} crops, at batch 1 and 5, on {', '.join(parity.runtimes)}"
        )


def _silent(line: str) -> None:
    """Print nothing."""


@contextmanager
def _shown(quiet: bool) -> Iterator[Report | None]:
    """A bar while it runs, and a line for each validation."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(step: int, steps: int, row: dict[str, float] | None) -> None:
            bar.update(task, completed=step, total=steps)
            if row is not None:
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
                console.print(numbers, soft_wrap=True)

        yield report
