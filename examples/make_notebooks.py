"""Make the notebooks of examples/notebooks from the scripts, with what the scripts printed.

    python examples/make_notebooks.py

Only scripts that run on what the repository holds: the others want your own data. A notebook is JSON, so this needs
neither Jupyter nor a kernel: the script is run, and its output becomes that of the last cell.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = {"scan_folder.py": ["samples", "--out", "{scratch}"], "loss_without_the_framework.py": ["--steps", "101"]}


def cells(script: Path, words: list[str], printed: str) -> list[dict[str, Any]]:
    """The docstring as text, then imports, each function, and a last cell that calls main()."""
    source = script.read_text("utf-8")
    module = ast.parse(source)
    lines = source.splitlines()
    title, _, rest = (ast.get_docstring(module) or "").partition("\n")
    about = "\n".join(line for line in rest.splitlines() if not line.startswith("    ")).strip()
    code, imports = [], []
    for node in module.body[1:]:
        text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(text)
        elif not isinstance(node, ast.If):  # `if __name__ == "__main__"`
            code.append(text)
    call = f"import sys\n\nsys.argv = {[script.name, *words]}\nmain()"
    out = {"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)}
    return [
        _cell("markdown", f"# {title}\n\n{about}"),
        *(_cell("code", text) for text in ("\n".join(imports), *code)),
        _cell("code", call) | {"outputs": [out], "execution_count": 1},
    ]


def _cell(kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(script: Path, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        filled = [word.format(scratch=scratch) for word in words]
        command = [sys.executable, str(script), *filled]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout
    shown = [word.format(scratch="scanned") for word in words]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": cells(script, shown, printed)}


def main() -> None:
    for name, words in SCRIPTS.items():
        path = HERE / "notebooks" / Path(name).with_suffix(".ipynb")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook(HERE / name, words), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
