"""`unmask explain`: one file's verdict in words, and what a vision-language model says of it where one is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.types import FileReport, Pixels
    from unmask.vlm.describing import Statements

MODEL = "Language model"
FACES = 3  # of a file that a model is asked about: nine questions each
ROOM = 0.5  # of the face's side, around it
LARGEST = 768  # pixels: what is sent of a face is no larger


def explain(
    path: Annotated[str, typer.Argument(metavar="FILE", help="An image or a video.")],
    detector: Annotated[str, typer.Option(help="embedded, video, a bundle, or hub:owner/name.")] = "embedded",
    using: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="MODEL",
            help="Also ask this model: address of an OpenAI-compatible server (http://127.0.0.1:8000/v1), a folder of "
            "transformers, or a .gguf file. Images go there and nowhere else.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = "",
    name: Annotated[str, typer.Option("--model", help="The server's name of the model.", rich_help_panel=MODEL)] = "",
    judge: Annotated[
        str,
        typer.Option(
            help="Another model that reads the answers and judges.", show_default=False, rich_help_panel=MODEL
        ),
    ] = "",
    decoder: Annotated[
        str, typer.Option(help="A decoding rule, for models in this process: ritual, vcd.", rich_help_panel=MODEL)
    ] = "",
    key_variable: Annotated[
        str,
        typer.Option(metavar="NAME", help="Environment variable with the server's key.", rich_help_panel=MODEL),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain the verdict on one file.

    Without --with only what was measured is said. What a model says is marked as its words and moves no verdict.
    """
    with errors_in_a_line():
        import json

        from unmask.scanning import scan

        report = scan(path, detector=detector, jobs=1)
        file = report.files[0]
        said = _asked(file, path, using, name, judge, decoder, key_variable) if using else None
        if as_json:
            told = json.loads(report.model_dump_json(by_alias=True))
            told["statements"] = None if said is None else json.loads(said.model_dump_json())
            typer.echo(json.dumps(told, indent=1))
            return
        typer.echo(str(report))
        for line in _more(file, str(report)):
            typer.echo(line)
        if said is not None:
            from unmask.scanning.words import visible
            from unmask.vlm.describing import lines

            typer.echo()
            for line in lines(said):
                typer.echo(visible(line))


def _more(file: FileReport, said: str) -> list[str]:
    """What was measured and is not in the text of the report."""
    from unmask.scanning.words import MEASURED, visible

    pieces = [(one.about, visible(one.text)) for one in file.evidence if one.kind not in ("probability", "claim")]
    found = [f"  - {about}: {text}" for about, text in pieces if text not in said]
    return [f"\n{MEASURED}:", *found] if found else []


def _asked(
    file: FileReport, path: str, using: str, name: str, judge: str, decoder: str, key_variable: str
) -> Statements:
    from unmask.vlm import connect
    from unmask.vlm.describing import describe

    model = connect(using, name, key_variable)
    judging = connect(judge) if judge else model
    where = f", sent to {model.address}" if model.address else ", in this process"
    typer.echo(f"asking {model.name}{where}", err=True)
    return describe(
        model, judging, shown(file, path), decoder=decoder, progress=lambda what: typer.echo(what, err=True)
    )


def shown(file: FileReport, path: str) -> list[tuple[str, str, Pixels]]:
    """The faces that weigh most, each with its state, cut out of the frame that tells most with some package around."""
    from unmask.media import open_media
    from unmask.types import Frame

    if file.state == "failed" or not file.faces:
        return []
    media = open_media(Path(path))
    found: list[tuple[str, str, Pixels]] = []
    for face in sorted(file.faces, key=lambda f: (f.track != file.rests_on, -(f.score or 0)))[:FACES]:
        telling = max(face.samples, key=lambda s: s.score)
        frames = media.frames(1) if media.kind == "image" or media.frames_at is None else media.frames_at([telling.t])
        frame = next((f for f in frames if isinstance(f, Frame)), None)
        if frame is not None:
            found.append((f"face {face.track}", face.state, cut(frame.image, telling.box)))
    return found


def cut(image: Pixels, box: tuple[float, float, float, float]) -> Pixels:
    """The face in its box with ROOM around, at most LARGEST pixels a side."""
    import numpy as np
    from PIL import Image

    x0, y0, x1, y1 = box
    room = ROOM * max(x1 - x0, y1 - y0)
    height, width = image.shape[:2]
    left, top = max(0, int(x0 - room)), max(0, int(y0 - room))
    right, bottom = min(width, int(x1 + room) + 1), min(height, int(y1 + room) + 1)
    part = Image.fromarray(image[top:bottom, left:right])
    part.thumbnail((LARGEST, LARGEST))
    return np.asarray(part)
