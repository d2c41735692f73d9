"""Clients of the service are generated from its description without a warning, in Python and in TypeScript.

The generators are no dependencies of ours (one of them wants an older typer than we do): uv and npx bring them. Without
npx the TypeScript one is left out, and that is said.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from unmask.app.serve.api import create_app
from unmask.app.serve.settings import Settings

PYTHON, TYPESCRIPT = "openapi-python-client@0.29.1", "openapi-typescript@7"
# It knows no images; they are files like others.
CONFIG = 'content_type_overrides: {image/jpeg: application/octet-stream}\npost_hooks: ["true"]\n'


def run(folder: Path, *command: str) -> str:
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"{command[0]} ended with {made.returncode}:\n{made.stdout}{made.stderr}")
    return made.stdout + made.stderr


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "openapi.json").write_text(json.dumps(create_app(Settings(folder=folder / "data")).openapi()))
        (folder / "config.yml").write_text(CONFIG)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        told = run(
            folder, uv, "tool", "run", PYTHON, "generate", "--fail-on-warning", "--path", "openapi.json",
            "--config", "config.yml", "--output-path", "client",
        )  # fmt: skip
        operations = sorted(path.stem for path in folder.glob("client/*/api/*/*.py") if path.stem != "__init__")
        if "Unable to parse" in told or "create_scan" not in operations:
            sys.exit(f"the Python client is not complete:\n{told}")
        print(f"Python client: {', '.join(operations)}")
        if not shutil.which("npx"):
            print("no npx here: the TypeScript client was not generated")
            return
        run(folder, "npx", "--yes", TYPESCRIPT, "openapi.json", "--output", "client.d.ts")
        print(f"TypeScript client: {len((folder / 'client.d.ts').read_text().splitlines())} lines")


if __name__ == "__main__":
    main()
