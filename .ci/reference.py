"""Write the documentation pages that come from the code: the command line and the report's JSON Schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from unmask.scanning.schema import report_schema

DOCS = Path(__file__).resolve().parent.parent / "docs"


def command_line() -> str:
    typer = [sys.executable, "-m", "typer", "unmask.app.cli", "utils", "docs", "--name", "unmask"]
    page = subprocess.run(typer, check=True, capture_output=True, text=True).stdout
    return page.replace("# `unmask`", "# Command line", 1)


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(command_line(), encoding="utf-8")
    (DOCS / "report.schema.json").write_text(report_schema(), encoding="utf-8")
