"""`unmask data index`, `list`, `card`, `show`, `check`, `filter`, `join`, `split`, `scenes`, `tokeniser`: manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line

Source = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="A manifest of `unmask data index` or `unmask data extract`.")
]
Target = Annotated[Path, typer.Option("--out", "-o", help="The new manifest.")]
SHOWN = 10  # examples of a fault before "and N more"


def index(
    dataset: Annotated[str, typer.Argument(help="The layout's name; `unmask data list` names them all.")],
    root: Annotated[Path, typer.Argument(help="The folder of your copy.")],
    out: Target,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Read every file and store its sha256, so that `check` finds duplicates.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a file is unknown, missing or empty, or a count differs.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Index a downloaded data set into one manifest: labels, methods, splits and leakage groups.

    Nothing is copied or changed, and nothing is guessed: OUT.report.json lists every file that the layout does not
    know.
    """
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.data.index import index as run

        with counting("rows", quiet) as step:
            found = run(dataset, root, out, hashes=hashes, progress=step)
        faults = sum(found.problems.values())
        if not quiet:
            _table(found.manifest)
            console = stdout()
            for what, n in sorted(found.problems.items()):
                console.print(f"{n:,} files {what}: see {found.report}")
            for key, (have, expected) in sorted(found.short.items()):
                console.print(f"{key}: {have:,} found, {expected:,} in the published set")
    raise typer.Exit(1 if strict and (faults or found.short) else 0)


def layouts() -> None:
    """List the data set layouts: how to get a copy, and what is not verified."""
    with errors_in_a_line():
        from rich.markup import escape

        from unmask.app.console import stdout
        from unmask.data.datasets import adapter, names

        console = stdout()
        for name in names():
            card = adapter(name).CARD
            console.print(f"[bold]{name}[/]  {escape(card.title)}", soft_wrap=True)
            rows = ", ".join(f"{n:,} {k}" for k, n in card.counts.items() if k in ("real", "fake"))
            said = {"rows": rows, "access": card.access, "splits": card.splits, "layout": f"known from {card.layout}"}
            for key, text in (*said.items(), *(("unverified", text) for text in card.unverified)):
                if text:
                    console.print(f"  {key:10}  {escape(text)}", soft_wrap=True)


def card(name: Annotated[str, typer.Argument(help="The layout's name.")]) -> None:
    """Show one data set: paper, access, terms, counts, pitfalls, what is not verified."""
    with errors_in_a_line():
        from rich.markup import escape

        from unmask.app.console import stdout
        from unmask.data.datasets import adapter

        console = stdout()
        for key, value in adapter(name).CARD.model_dump().items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {n:,}" for k, n in value.items())
            for line in value if isinstance(value, (list, tuple)) else [value] if value else []:
                console.print(f"[bold]{key:11}[/] {escape(line)}", soft_wrap=True)


def show(manifest: Source) -> None:
    """Count rows by data set, method, split and label."""
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.data.manifest import Manifest

        opened = Manifest(manifest)
        _table(opened)
        for root in sorted(set(opened.roots.values())):
            there = "" if root.is_dir() else "  (not there)"
            stdout().print(f"files in {root}{there}", soft_wrap=True)
        stdout().print(f"digest {opened.digest}")


def check(
    manifest: Source,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Look for missing files, and for files that no row names.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Find leakage across splits, duplicates, repeated ids, missing and unknown files. Exit with 1 if there are any."""
    with errors_in_a_line():
        from unmask.data import checks
        from unmask.data.manifest import Manifest

        opened = Manifest(manifest)
        straddling = checks.straddlers(opened)
        faults = say(
            "leakage groups straddle splits",
            (f"{s.group_id}: {', '.join(s.splits)}, {s.rows} rows" for s in straddling if not s.flagged),
        )
        say(
            "leakage groups straddle the official splits, and are flagged for it",
            (f"{s.group_id}: {', '.join(s.splits)}, {s.rows} rows" for s in straddling if s.flagged),
        )
        faults += say("item_ids come more than once", checks.repeated_ids(opened))
        faults += say("files are there more than once", (" = ".join(ids) for ids in checks.duplicates(opened)))
        if files:
            with counting("rows", quiet, len(opened)) as step:
                gone = list(checks.missing(opened, step))
            faults += say("files are missing", gone)
            say("files are named by no row", checks.unknown(opened))
        if not faults:
            typer.echo(f"{len(opened):,} rows, nothing wrong")
    raise typer.Exit(1 if faults else 0)


def keep(
    manifest: Source,
    where: Annotated[str, typer.Argument(help="SQL over the columns, e.g. \"label = 0 OR method = 'Deepfakes'\".")],
    out: Target,
) -> None:
    """Keep the rows that match a condition."""
    with errors_in_a_line():
        from unmask.data import edit
        from unmask.data.manifest import Manifest

        _table(edit.keep(Manifest(manifest), where, out))


def join(manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...")], out: Target) -> None:
    """Join manifests of one kind."""
    with errors_in_a_line():
        from unmask.data import edit
        from unmask.data.manifest import Manifest

        _table(edit.join([Manifest(m) for m in manifests], out))


def split(
    manifest: Source,
    out: Target,
    train: Annotated[float, typer.Option(min=0, max=1, help="Share of leakage groups for training.")] = 0.6,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share for validation; the rest is test.")] = 0.15,
    again: Annotated[bool, typer.Option("--again", help="Forget official splits as well.")] = False,
) -> None:
    """Give rows without a split one, by hash of the leakage group; official splits stay."""
    with errors_in_a_line():
        from unmask.data import edit
        from unmask.data.manifest import Manifest

        _table(edit.split(Manifest(manifest), out, train, val, again=again))


def poison(
    manifest: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the triggered crops and their manifest.")],
    trigger: Annotated[str, typer.Option(help="badnets, blended, sinusoid or ctrl.")] = "badnets",
    strength: Annotated[
        float | None, typer.Option(help="Of the trigger; default: as published.", show_default=False)
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the test rows that get the trigger.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of which rows.")] = 0,
) -> None:
    """Put the trigger of a backdoor on test crops, to measure a detector with it.

    Only rows of the split "test" are copied; they keep their label, and every file and row is marked.
    """
    with errors_in_a_line():
        from unmask.data import poison as triggers
        from unmask.data.manifest import Manifest

        _table(triggers.poison(Manifest(manifest), out, trigger, strength=strength, share=share, seed=seed))


class Vocabulary(StrEnum):
    """What the tokens of a tokeniser are."""

    words = "words"
    wordpiece = "wordpiece"
    bpe = "bpe"


def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="For images/ and scenes.parquet.")],
    count: Annotated[int, typer.Option(min=10, help="Scenes.")] = 2000,
    size: Annotated[int, typer.Option(min=24, max=1024, help="Side of an image, pixels.")] = 64,
    noise: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the training images that get the captions of another.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
) -> None:
    """Draw captioned scenes (colour, shape, position, count): a small test bed for image-text training.

    Test rows are pairs of colour and shape that never come together in training.
    """
    with errors_in_a_line():
        from unmask.data.scenes import write_scenes

        _table(write_scenes(out, count, size=size, noise=noise, seed=seed))


def tokeniser(
    manifest: Source,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="For tokenizer.json.")],
    size: Annotated[int, typer.Option(min=8, help="Of the vocabulary at most.")] = 8192,
    kind: Annotated[Vocabulary, typer.Option(help="Whole words, pieces of words, or pairs of bytes.")] = (
        Vocabulary.bpe
    ),
    case: Annotated[bool, typer.Option("--case", help="Keep upper and lower case apart.")] = False,
) -> None:
    """Train a tokeniser on the captions or sentences of a manifest's training rows."""
    with errors_in_a_line():
        from unmask.data.corpus import corpus
        from unmask.data.manifest import Manifest
        from unmask.data.tokens import train

        made = train(corpus(Manifest(manifest)), size, kind.value, lower=not case)
        typer.echo(f"{made.size:,} tokens: {made.save(out)}")


def _table(manifest: object) -> None:
    from rich.table import Table

    from unmask.app.console import stdout
    from unmask.data.checks import counts
    from unmask.data.manifest import Manifest

    assert isinstance(manifest, Manifest)
    table = Table(box=None, pad_edge=False)
    for name in ("data set", "method", "split"):
        table.add_column(name)
    for name in ("real", "fake", "unlabelled", "groups"):
        table.add_column(name, justify="right")
    for c in counts(manifest):
        table.add_row(
            c.dataset, c.method or "-", c.split or "-", *(f"{n:,}" for n in (c.real, c.fake, c.unlabelled, c.groups))
        )
    console = stdout()
    console.print(table)
    console.print(f"{len(manifest):,} {manifest.kind} rows: {manifest.path}", soft_wrap=True)


def say(what: str, found: Iterable[str]) -> int:
    """Print how many and the first few; return how many."""
    n = 0
    for n, line in enumerate(found, 1):
        if n <= SHOWN:
            typer.echo(f"  {line}")
    if n:
        typer.echo(f"{n:,} {what}{f', of which {SHOWN} are shown' if n > SHOWN else ''}")
    return n


@contextmanager
def counting(what: str, quiet: bool, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A live counter on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda n: progress.advance(task, n)
