"""`unmask eval certify`: how far a smoothed detector's answer is certain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import scoring


def certify(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="embedded, hub:..., or the folder of a bundle.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data extract`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the table.")],
    sigma: Annotated[float, typer.Option(help="Deviation of the noise, of images in 0..1.")] = 0.1,
    votes: Annotated[int, typer.Option(min=10, help="Noisy copies of each crop.")] = 200,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Probability that a certificate is wrong.")] = 0.001,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split; '' for all.")] = "test",
    items: Annotated[int, typer.Option(min=0, help="At most so many crops of each class of a data set; 0 = all.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Certify a detector by randomised smoothing: majority votes under noise, and their radius.

    Inside the radius no change of a crop, whatever it is, moves the vote. The radius is Euclidean, of images in 0..1.
    """
    with errors_in_a_line():
        from unmask.bench import smoothing
        from unmask.output import write_text

        with scoring(quiet) as progress:
            found = smoothing.run(
                bundle,
                manifest,
                sigma=sigma,
                votes=votes,
                alpha=alpha,
                items=items,
                split=split,
                datasets=tuple(dataset or ()),
                seed=seed,
                progress=progress,
            )
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "certified.json", found.model_dump_json(indent=1))
        write_text(out / "certified.md", smoothing.markdown(found))
        if not quiet:
            typer.echo(smoothing.markdown(found))
