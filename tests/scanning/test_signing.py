"""Signed reports: what verifies, and that nothing else does."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.scanning.signing import new_key, sign, verify
from unmask.types import DetectorInfo, FileReport, Report, Settings, UnmaskError

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"
REPORT = Report(
    version="1",
    created="2026-01-01T00:00:00+00:00",
    settings=Settings(),
    detector=DetectorInfo(name="d", weights_sha256=""),
    files=(FileReport(path="a.png", sha256=SHA, state="uncertain", score=0.5, low=0.4, high=0.6),),
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "key")
    return tmp_path / "key"


def code(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def test_what_was_signed_comes_back_and_the_key_is_its_owners_alone(key: Path) -> None:
    found = verify(sign(REPORT, key, "12/26", "seen twice").model_dump_json().encode(), key.with_name("key.pub"))
    assert (found.case, found.notes, found.report) == ("12/26", "seen twice", REPORT)
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnmaskError, match="cannot write the key"):
        new_key(key)


def test_the_signature_is_a_plain_one_of_rfc_7515(key: Path) -> None:
    signed = sign(REPORT, key)
    public = load_pem_public_key(key.with_name("key.pub").read_bytes())
    public.verify(plain(signed.signature), f"{signed.protected}.{signed.payload}".encode())  # type: ignore[union-attr,call-arg,arg-type]
    assert json.loads(plain(signed.protected))["alg"] == "Ed25519"


def test_every_change_is_noticed(key: Path, tmp_path: Path) -> None:
    public = key.with_name("key.pub")
    good = json.loads(sign(REPORT, key, "12/26").model_dump_json())
    header = json.loads(plain(good["protected"]))
    other = new_key(tmp_path / "other")

    def refused(match: str, **changes: str) -> None:
        with pytest.raises(UnmaskError, match=match):
            verify(json.dumps(good | changes).encode(), public)

    refused("changed after it was signed", payload=code(plain(good["payload"]).replace(b"12/26", b"13/26")))
    refused("changed after it was signed", signature=code(bytes(64)))
    refused("not signed in the way", protected=code(json.dumps(header | {"alg": "none"}).encode()), signature="")
    # The classic attack: HMAC with the public key as the secret, and a header that says so.
    forged = code(json.dumps(header | {"alg": "HS256"}).encode())
    mac = hmac.HMAC(public.read_bytes(), hashes.SHA256())
    mac.update(f"{forged}.{good['payload']}".encode())
    refused("not signed in the way", protected=forged, signature=code(mac.finalize()))
    refused("not a report of `unmask report sign`", signature="%%%")
    with pytest.raises(UnmaskError, match="signed with another key"):
        verify(json.dumps(good).encode(), other)
    with pytest.raises(UnmaskError, match="no public key"):
        verify(json.dumps(good).encode(), key)


def test_the_commands_from_key_to_verified_file(tmp_path: Path) -> None:
    run = CliRunner().invoke
    (tmp_path / "report.json").write_text(REPORT.model_dump_json(by_alias=True))
    (tmp_path / "media").write_bytes(b"test")
    (tmp_path / "strange").write_bytes(b"other")
    k, report, out = str(tmp_path / "k"), str(tmp_path / "report.json"), str(tmp_path / "signed.json")
    assert run(app, ["report", "key", k]).exit_code == 0
    assert run(app, ["report", "sign", report, "--key", k, "--case", "7", "-o", out]).exit_code == 0
    ask = ["report", "verify", out, "--key", f"{k}.pub", "--media"]
    good = run(app, [*ask, str(tmp_path / "media")])
    assert good.exit_code == 0
    assert "case: 7" in good.stdout
    assert f"{SHA}  uncertain  a.png" in good.stdout
    assert run(app, [*ask, str(tmp_path / "strange")]).exit_code == 2
