"""What the image and the compose file say, held against the command line and each other: no daemon is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("yaml", reason="PyYAML is not installed")

import yaml

from unmask.app.cli import app

DOCKER = Path(__file__).resolve().parents[3] / "docker"


@pytest.fixture
def composed() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def instructions() -> dict[str, str]:
    """The last of each kind."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    return dict(line.split(" ", 1) for line in text.splitlines() if line and line[0].isupper())


def test_the_command_is_one_that_exists(composed: dict[str, Any]) -> None:
    found = instructions()
    words = json.loads(found["ENTRYPOINT"]) + composed["services"]["unmask"]["command"]
    assert words[:2] == ["unmask", "serve"]
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    with serve.make_context("serve", words[2:], resilient_parsing=False) as context:
        assert context.params["data"] == Path(found["VOLUME"])
        assert context.params["port"] == int(found["EXPOSE"])
        secret = composed["secrets"]["tokens"]
        assert (context.params["token_file"], secret["file"]) == (Path("/run/secrets/tokens"), "./tokens")
    by_variable = {option.envvar for option in serve.params}
    assert set(composed["services"]["unmask"]["environment"]) <= by_variable


def test_who_breaks_in_finds_little(composed: dict[str, Any]) -> None:
    assert int(instructions()["USER"]) > 0
    service, db = composed["services"]["unmask"], composed["services"]["db"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert composed["networks"]["back"]["internal"]
    assert (db["networks"], "ports" in db) == (["back"], False)
    assert (DOCKER / "Dockerfile.dockerignore").read_text().startswith("*\n")  # only what is named gets into the image
