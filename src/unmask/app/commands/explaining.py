"""`unmask eval explain`: how faithful the explanations of a detector are."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring

DEFAULT = "occlusion,rise,grad_cam,integrated_gradients,counterfactual"


def explain(
    detector: Annotated[str, typer.Argument(help="embedded, a bundle with model.safetensors, or a run folder.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data forge`: forgeries with masks.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of lines and tables; resumable.")],
    using: Annotated[
        str, typer.Option("--with", metavar="NAMES", help="Explainers; see `unmask methods --kind explainer`.")
    ] = DEFAULT,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.OPTION=VALUE", help="An option of an explainer, e.g. rise.masks=500."),
    ] = None,
    split: Annotated[str, typer.Option(help="Forgeries of this split; or all.")] = "test",
    crops: Annotated[int, typer.Option(min=2, help="Forgeries at most, of each method as many.")] = 100,
    randomised: Annotated[int, typer.Option(min=0, help="Crops explained with random weights too.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of patches, noise and random weights.")] = 0,
    card: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="Write what was found into this bundle's card, for its reports."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Measure explanations on forgeries with known masks, against a centre prior and noise.

    Localisation (pointing game, relevance mass and rank) asks whether a map points at what was forged; deletion,
    insertion and infidelity ask whether it points at what the detector used. Intervals are over leakage groups.
    """
    with errors_in_a_line():
        from unmask.bench.explaining import Wanted, chosen, run, written

        with scoring(quiet) as progress:
            wanted = Wanted(
                detector=detector,
                data=manifest,
                out=out,
                explainers=chosen(listed(using), change or ()),
                split=split,
                crops=crops,
                randomised=randomised,
                seed=seed,
            )
            digest, lines = run(wanted, progress)
        again = ["unmask", "eval", "explain", detector, manifest.name, "--out", out.name, "--with", using]
        again += [w for one in change or () for w in ("--set", one)]
        again += ["--split", split, "--crops", str(crops), "--randomised", str(randomised), "--seed", str(seed)]
        text, fact = written(lines, digest, shlex.join(again), out)
        if card is not None:
            from unmask.bundles.bundle import explained

            explained(card, fact)
        if not quiet:
            typer.echo(text)
