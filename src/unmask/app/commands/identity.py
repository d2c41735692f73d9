"""`unmask identity`: a person's own gallery, and whether an image is that person."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.identity.compare import Comparison
    from unmask.types import InputSpec

Folder = Annotated[
    Path | None,
    typer.Option("--gallery", help="Folder of enrolled people.", show_default="$UNMASK_GALLERY, or your data folder"),
]
Encoder = Annotated[str, typer.Option(help="An embedding bundle (`unmask export --embedding`), or an ONNX file.")]
Margin = Annotated[float, typer.Option(min=0.1, max=4, help="Of an ONNX file: the crop that it takes.")]
Template = Annotated[str, typer.Option(help="Of an ONNX file: gend5 or arcface5.")]
Faces = Annotated[str, typer.Option("--face-detector", help="embedded, yunet, or an ONNX file.")]
Name = Annotated[str, typer.Argument(help="Letters, digits, - and _.")]


def enrol(
    name: Name,
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Images that show this person alone.")],
    consent: Annotated[str, typer.Option(help="Who agreed to what, and when; written into the person's card.")],
    encoder: Encoder,
    margin: Margin = 1.0,
    template: Template = "arcface5",
    face_detector: Faces = "embedded",
    gallery: Folder = None,
) -> None:
    """Enrol a person who agreed to it: embeddings and measures of their photos are kept, the photos are not."""
    with errors_in_a_line():
        from unmask.bundles.embedding import read_embedder
        from unmask.faces import FaceDetector
        from unmask.identity.gallery import Gallery

        held = Gallery(gallery)
        embedder = read_embedder(Path(encoder), _bare(margin, template))
        card = held.enrol(name, photos, embedder, FaceDetector.load(face_detector), consent)
        typer.echo(
            f"{name}: {len(card.photos)} photos in {held.folder / name}; `unmask identity remove {name}` deletes them"
        )


def check(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images that show one person.")],
    encoder: Encoder,
    threshold: Annotated[
        float, typer.Option(min=-1, max=1, help="Cosine from which on two images show one person: see `eval verify`.")
    ],
    detector: Annotated[str, typer.Option(help="What looks for traces of forgery.")] = "embedded",
    margin: Margin = 1.0,
    template: Template = "arcface5",
    face_detector: Faces = "embedded",
    gallery: Folder = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
) -> None:
    """Is an image this enrolled person, another, or a forgery of them? Only this one person is asked about."""
    with errors_in_a_line():
        from dataclasses import asdict

        from unmask import scan
        from unmask.bundles.embedding import read_embedder
        from unmask.faces import FaceDetector
        from unmask.identity.attributes import differences
        from unmask.identity.compare import check_version, compare
        from unmask.identity.gallery import Gallery, one_face

        person = Gallery(gallery).read(name)
        embedder, faces = read_embedder(Path(encoder), _bare(margin, template)), FaceDetector.load(face_detector)
        check_version(person, embedder.card)
        told = []
        for path in files:
            seen = one_face(path, embedder, faces)
            (said,) = scan(path, detector=detector, faces=face_detector, pictures=False, jobs=1).files
            unlike = differences(person.attributes, seen.attributes)
            found = compare(person, embedder(seen.crop[None])[0], threshold, said.state, said.score, unlike)
            told.append({"path": str(path), **asdict(found), "sentence": found.sentence})
            if not json:
                _print(path, found)
        if json:
            typer.echo(jsons.dumps(told, indent=1))


def people(gallery: Folder = None) -> None:
    """List enrolled people."""
    with errors_in_a_line():
        from unmask.identity.gallery import Gallery

        held = Gallery(gallery)
        for name in held.names():
            card = held.read(name).card
            typer.echo(f"{name:20} {len(card.photos):3} photos  encoder {card.encoder} {card.encoder_sha256[:12]}")


def show(name: Name, gallery: Folder = None) -> None:
    """Show the card of an enrolled person: consent, encoder, hashes of the photos."""
    with errors_in_a_line():
        from unmask.identity.gallery import Gallery

        typer.echo(Gallery(gallery).read(name).card.model_dump_json(indent=1))


def remove(name: Name, gallery: Folder = None) -> None:
    """Delete all that is kept of an enrolled person."""
    with errors_in_a_line():
        from unmask.identity.gallery import Gallery

        Gallery(gallery).remove(name)
        typer.echo(f"{name}: deleted")


def _bare(margin: float, template: str) -> InputSpec:
    from unmask.bundles.embedding import ARCFACE

    return ARCFACE.model_copy(update={"margin": margin, "template": template})


def _print(path: Path, found: Comparison) -> None:
    typer.echo(f"{path}: {found.sentence}")
    usual = (
        f", enrolled photos among themselves {found.usual[0]:.2f} to {found.usual[1]:.2f} (median)"
        if found.usual
        else ""
    )
    typer.echo(f"  similarity {found.similarity:.2f}, threshold {found.threshold:.2f}{usual}")
    score = "" if found.score is None else f", P(fake) {found.score:.2f}"
    typer.echo(f"  traces of forgery: {found.traces}{score}")
    for one in found.differences:
        typer.echo(f"  {one.region}: {one}")
