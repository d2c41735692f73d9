"""A report that can be checked later: signed with a key of one's own, as a JSON Web Signature.

The signature shows that the report, the case number and the notes are what the holder of the key signed. It does not
show that the report is right, nor when it was signed: the moment is the signer's word.

RFC 7515 (flattened JSON), RFC 8037 (Ed25519 as "EdDSA"), RFC 7638 (thumbprint of the key): any JOSE library can check
it. Only this algorithm is accepted, whatever a header says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from unmask.errors import InputError, OutputError
from unmask.output import write_text
from unmask.types import Plain, Report, Text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TYPE = "unmask-report+jws"


class Statement(Plain):
    """What is signed."""

    format: Literal["unmask.statement/1"] = "unmask.statement/1"
    case: Text = Field("", description="number of the case")
    notes: Text = ""
    signed: str = Field(description="UTC, ISO 8601, by the signer's clock")
    report: Report


class Signed(Plain):
    """Flattened JWS; all three parts are base64url without padding."""

    payload: str
    protected: str
    signature: str


def new_key(path: Path) -> Path:
    """Writes a new private key (PEM, readable by its owner alone) and beside it the public one, whose path it returns.

    Raises: UnmaskError where there is a file already: a lost key cannot be made again.
    """
    _need_library()
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = path.with_name(path.name + ".pub")
    content = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"cannot write the key {path}: {error.strerror}") from error
    write_text(public, private.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode())
    return public


def sign(report: Report, key: Path, case: str = "", notes: str = "") -> Signed:
    """Raises: UnmaskError for a key that cannot be read."""
    private = _private(key)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    statement = Statement(case=case, notes=notes, signed=now, report=report)
    header = {"alg": "EdDSA", "kid": thumbprint(private.public_key()), "typ": TYPE}
    protected, payload = _coded(_json(header)), _coded(statement.model_dump_json(by_alias=True).encode())
    return Signed(
        payload=payload, protected=protected, signature=_coded(private.sign(f"{protected}.{payload}".encode()))
    )


def verify(content: bytes, key: Path) -> Statement:
    """What was signed. Raises: UnmaskError that says what is wrong: not signed, by another key, or changed since."""
    public = _public(key)
    from cryptography.exceptions import InvalidSignature

    try:
        signed = Signed.model_validate_json(content)
        header = json.loads(_plain(signed.protected))
        signature = _plain(signed.signature)
    except (ValidationError, ValueError) as error:
        raise InputError(f"it is not a report of `unmask report sign`: {str(error).splitlines()[0]}") from None
    if not isinstance(header, dict) or header.get("alg") != "EdDSA" or header.get("typ") != TYPE or "crit" in header:
        raise InputError("it is not signed in the way of `unmask report sign` (EdDSA)")
    if header.get("kid") != thumbprint(public):
        raise InputError(f"it was signed with another key, {str(header.get('kid'))[:60]!r}, not {thumbprint(public)!r}")
    try:
        public.verify(signature, f"{signed.protected}.{signed.payload}".encode())
    except InvalidSignature:
        raise InputError("the signature does not fit: the report was changed after it was signed") from None
    try:
        return Statement.model_validate_json(_plain(signed.payload))
    except (ValidationError, ValueError) as error:
        raise InputError(f"the signature fits, but what was signed is no report: {error}") from None


def thumbprint(public: Ed25519PublicKey) -> str:
    """RFC 7638: SHA-256 of the key's required members, base64url."""
    from cryptography.hazmat.primitives import serialization as s

    x = _coded(public.public_bytes(s.Encoding.Raw, s.PublicFormat.Raw))
    return _coded(hashlib.sha256(_json({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())


def _private(path: Path) -> Ed25519PrivateKey:
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no private key of `unmask report key`: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is a key of another kind: Ed25519 is wanted, as `unmask report key` makes it")
    return key


def _public(path: Path) -> Ed25519PublicKey:
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no public key (the .pub file of `unmask report key`): {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is a key of another kind: Ed25519 is wanted, as `unmask report key` makes it")
    return key


def _need_library() -> None:
    """Raises: UnmaskError where the library is not installed."""
    if find_spec("cryptography") is None:
        raise InputError('signatures need the extra "sign": pip install "unmask[sign]"')


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _plain(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
