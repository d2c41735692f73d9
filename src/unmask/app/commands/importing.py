"""`unmask import`: convert published checkpoints to bundles, or to encoders that training starts from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unmask.app.errors import errors_in_a_line

app = typer.Typer(name="import", help="Convert published checkpoints to bundles and encoders.", no_args_is_help=True)
Source = Annotated[str, typer.Argument(help="A file, a folder, or hub:owner/name@revision.")]


class Head(StrEnum):
    """Whether the head takes normalised features, or features as they are."""

    norm = "norm"
    linear = "linear"


@app.command()
def gend(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle to write.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write model.onnx, which a scan runs without PyTorch.")
    ] = False,
    head: Annotated[
        Head | None, typer.Option(help="The head, if the checkpoint does not say.", show_default=False)
    ] = None,
) -> None:
    """Convert a GenD checkpoint, or the LN-tuned CLIP of its first paper, to a bundle (not calibrated)."""
    with errors_in_a_line():
        to_bundle = _checkpoints("gend").to_bundle
        card = to_bundle(source, out, onnx=onnx, head=head.value if head else None)
        typer.echo(
            f"{card.name}: {', '.join(card.files)} written to {out}; it is not calibrated, see unmask info {out}"
        )


@app.command()
def encoder(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    backbone: Annotated[
        str | None, typer.Option(help="Name of the backbone, if the file fits several.", show_default=False)
    ] = None,
) -> None:
    """Convert the image encoder of CLIP, Perception Encoder, DINOv2 or DINOv3 to a file that training starts from."""
    with errors_in_a_line():
        typer.echo(f"{_checkpoints('encoder').to_file(source, out, backbone)} written to {out}")


@app.command()
def detector(
    method: Annotated[
        str,
        typer.Argument(
            help="meso4, meso_inception4 (Keras' .h5), efficientnet_b4, effort, genconvit, npr, ucf or xception (.pth)."
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The authors' file; of genconvit also a folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle to write.")],
) -> None:
    """Convert published weights of a detector to a bundle (not calibrated)."""
    with errors_in_a_line():
        card = _checkpoints("published").to_bundle(method, source, out)
        typer.echo(f"{card.name} written to {out}; it is not calibrated, see unmask info {out}")


def _checkpoints(name: str) -> Any:
    import importlib

    from unmask.errors import MissingExtraError

    try:
        return importlib.import_module(f"unmask.exporting.checkpoints.{name}")
    except ImportError as error:
        raise MissingExtraError('importing checkpoints needs an extra: pip install "unmask[train]"') from error
