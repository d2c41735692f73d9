"""Write the documentation pages that come from the code: the command line and the report's JSON Schema.

Run without arguments after changing either; `--check` only tells whether the committed pages are up to date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from unmask.nouns import Report

DOCS = Path(__file__).resolve().parent.parent / "docs"


def command_line() -> str:
    typer = [sys.executable, "-m", "typer", "unmask.app.cli", "utils", "docs", "--name", "unmask"]
    return subprocess.run(typer, check=True, capture_output=True, text=True).stdout


def schema() -> str:
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=2) + "\n"


def main(check: bool) -> str | None:
    pages = {DOCS / "cli.md": command_line(), DOCS / "report.schema.json": schema()}
    for path, text in pages.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            return f"{path.name} is out of date: run python .ci/reference.py and commit it"
    return None


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
