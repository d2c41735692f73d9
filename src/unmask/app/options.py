"""The options of commands that run here or on a Ray cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class On(StrEnum):
    """What a command runs on."""

    local = "local"
    ray = "ray"


Where = Annotated[
    On,
    typer.Option(
        help="This machine, or a Ray cluster whose hosts share the files and --out, a folder.",
        rich_help_panel="Speed",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT",
        help="Address of the Ray cluster.",
        rich_help_panel="Speed",
        show_default="one is started here",
    ),
]
