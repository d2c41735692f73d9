"""`unmask eval invariance`: does a verdict survive the way a file took?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line


def invariance(
    sources: Annotated[list[str], typer.Argument(metavar="FILES", help="Images, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the table and the answers.")],
    detector: Annotated[
        str, typer.Option(help="embedded, clip, the path of a bundle, or hub:owner/name.")
    ] = "embedded",
    error_rate: Annotated[float, typer.Option(min=0.001, max=0.499, help="As of `unmask scan`.")] = 0.1,
    items: Annotated[int, typer.Option(min=0, help="At most so many files; 0 = all.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a core.", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Scan each image as it is and in twelve re-deliveries, and count verdicts that flip.

    Re-deliveries: thumbnail, JPEG 40, WebP 50, crop, letterbox, screenshot, collage, one and two messengers, gamma,
    flip, re-encoding. Answers are stored in OUT: an interrupted run is resumable.
    """
    with errors_in_a_line():
        from rich.table import Table

        from unmask.app.console import stdout
        from unmask.app.progress import counted
        from unmask.bench.invariance import Wanted, markdown, run

        wanted = Wanted(tuple(sources), out, detector, error_rate, items, jobs)
        last = 0
        with counted(items or 0, quiet, "files") as step:

            def progress(done: int, of: int) -> None:
                nonlocal last
                step(done - last, 0)
                last = done

            found = run(wanted, progress)
        (out / "table.md").write_text(markdown(found), "utf-8")
        if quiet:
            return
        table = Table(box=None, pad_edge=False)
        for i, head in enumerate(("re-delivery", "verdicts", "flipped", "95 % interval", "lost", "gained")):
            table.add_column(head, no_wrap=True, justify="right" if i else "left")
        for r in (*found.rows, found.anywhere):
            between = f"{r.flips.low:.3f}-{r.flips.high:.3f}"
            table.add_row(r.delivery, f"{r.verdicts}", f"{r.flipped}", between, f"{r.lost}", f"{r.gained}")
        console = stdout()
        console.print(table)
        console.print(f"{found.files:,} images; table: {out / 'table.md'}", soft_wrap=True)
        console.print(f"Rebuild: {found.rebuild}", soft_wrap=True)
