"""Where results are printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDE = 10_000  # columns: no table is as wide


def stdout(*, soft_wrap: bool = False) -> Console:
    """Standard output. Off a terminal nothing is cut or wrapped to a width: a log can be scrolled, not widened."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(highlight=False, soft_wrap=soft_wrap, width=width)
