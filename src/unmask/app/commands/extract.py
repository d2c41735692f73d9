"""`unmask data extract`: the faces of a manifest, detected, aligned and stored as crops."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.options import Address, On, Where
from unmask.app.progress import counted

if TYPE_CHECKING:
    from unmask.data.extraction import Elsewhere, Summary
    from unmask.data.manifest import Manifest

EXIT_CODES = "Exit codes: 0 all files were read, 2 wrong usage, 3 a file could not be read, 130 interrupted."


class People(StrEnum):
    """Whose faces are extracted from each file."""

    one = "one"
    all = "all"


class Format(StrEnum):
    """How crops are written; both lossless."""

    png = "png"
    webp = "webp"


def extract(
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help="Of media files, or a faces.parquet to crop again with other options."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CROPS", help="The folder for crops and faces.parquet.")],
    size: Annotated[int, typer.Option(min=16, max=2048, help="Side of a crop, pixels.")] = 256,
    margin: Annotated[
        float, typer.Option(min=0.1, max=4, help="Scale of the crop: its side over that of the face template.")
    ] = 1.3,
    template: Annotated[str, typer.Option(help="Five points to align to: gend5 or arcface5.")] = "gend5",
    frames: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Frames of a video, evenly spaced in time.", show_default="32"),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Frames in a row at each of these places, for video detectors.", show_default="1"
        ),
    ] = None,
    face_detector: Annotated[
        str | None,
        typer.Option("--face-detector", help="embedded, yunet, or an ONNX file.", show_default="embedded"),
    ] = None,
    people: Annotated[
        People | None,
        typer.Option(help="One person in each file (the largest face, or the masked one), or all.", show_default="one"),
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask", help="Use manipulation masks: choose the masked face, crop the mask too.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="Lossless files of this format.")] = Format.png,
    shards: Annotated[
        bool, typer.Option("--shards", help="Also pack the crops into CROPS/shards, tar files of 1,000 (WebDataset).")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try files again that an earlier run could not read.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Files at once.", show_default="one for each core, at most 8")
    ] = None,
    max_file_seconds: Annotated[float, typer.Option(min=1, help="Seconds that one file may take.")] = 900,
    on: Where = On.local,
    address: Address = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")] = False,
) -> None:
    """Detect, align and crop the faces of every file in a manifest.

    The command is resumable: run it again after an interruption. A file without a crop gets a row with the reason.
    """
    with errors_in_a_line():
        from unmask.data.crop_files import Options
        from unmask.data.extraction import cut, inherited, masked, summary
        from unmask.data.manifest import Manifest
        from unmask.data.shards import pack
        from unmask.errors import InputError
        from unmask.scanning.batch import default_jobs

        opened = Manifest(manifest)
        searched = {"frames": frames, "window": window, "faces": face_detector}
        searched |= {"people": people and people.value, "mask": mask or None}
        given = {name: value for name, value in searched.items() if value is not None}
        options = Options(size=size, margin=margin, template=template, format=form.value)
        if opened.kind == "faces":
            if given:
                raise InputError(f"{manifest} holds faces already, which are kept: leave out {', '.join(given)}")
            kept = inherited(opened).model_dump(include={"frames", "window", "faces", "people", "mask"})
            options = options.model_copy(update=kept)
        options = Options.model_validate(options.model_dump() | given)
        masks = masked(opened) if mask else None
        if masks and masks[1] and not masks[0]:
            raise InputError(f"no forged row of {manifest} names a mask: leave out --mask, or index a copy with masks")
        if on is On.ray:  # whose workers have other current folders
            from unmask.app.cluster import located

            out, options = out.absolute(), options.model_copy(update={"faces": located(options.faces)})
        with (
            _machines(on, address, jobs, out, max_file_seconds) as elsewhere,
            counted(len(opened), quiet, "extracting") as step,
        ):
            made = cut(
                opened,
                out,
                options,
                jobs or default_jobs(len(opened)),
                seconds=max_file_seconds,
                retry=retry,
                progress=step,
                elsewhere=elsewhere,
            )
        found = summary(made)
        if shards:
            with counted(found.crops, quiet, "packing") as step:
                pack(made, out / "shards", progress=lambda crops: step(crops, 0))
        if not quiet:
            _show(made, found, masks)
    raise typer.Exit(3 if found.faulty else 0)


def _machines(
    on: On, address: str | None, jobs: int | None, out: Path, seconds: float
) -> AbstractContextManager[Elsewhere | None]:
    if on is On.local:
        return nullcontext()
    from unmask.app.faces_on_ray import machines

    return machines(address, jobs, out, seconds)


def _show(made: Manifest, found: Summary, masks: tuple[int, int] | None) -> None:
    from rich.table import Table

    from unmask.app.console import stdout

    table = Table("", "", box=None, pad_edge=False, show_header=False)
    table.columns[1].justify = "right"
    table.add_row("media", f"{found.media:,}")
    table.add_row("crops", f"{found.crops:,}")
    if masks:
        table.add_row("masks of forged media", f"{masks[0]:,} of {masks[1]:,}")
    for reason, n in found.reasons.items():
        table.add_row(f"no crop: {reason}", f"{n:,}")
    console = stdout()
    console.print(table)
    console.print(f"{len(made):,} rows: {made.path}", soft_wrap=True)
