"""A report that can be checked later: signed with a key of one's own, as a JSON Web Signature.

The signature shows that the report, the case number and the notes are what the holder of the key signed. It does not
show that the report is right, nor when it was signed: the moment is the signer's word.

RFC 7515 (flattened JSON) with Ed25519 (RFC 9864): any JOSE library can check it. Only this algorithm is accepted,
whatever a header says.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from unmask.errors import InputError, OutputError
from unmask.output import write_text
from unmask.types import Plain, Report, Text

if TYPE_CHECKING:
    from joserfc.jwk import GuestProtocol, OKPKey

ALGORITHM, TYPE = "Ed25519", "unmask-report+jws"


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
    from joserfc.jwk import OKPKey

    private = OKPKey.generate_key("Ed25519")
    public = path.with_name(path.name + ".pub")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private.as_pem(private=True))
    except OSError as error:
        raise OutputError(f"cannot write the key {path}: {error.strerror}") from error
    write_text(public, private.as_pem(private=False).decode())
    return public


def sign(report: Report, key: Path, case: str = "", notes: str = "") -> Signed:
    """Raises: UnmaskError for a key that cannot be read."""
    private = _key(key, private=True)
    from joserfc import jws

    now = datetime.now(UTC).isoformat(timespec="seconds")
    statement = Statement(case=case, notes=notes, signed=now, report=report)
    header = {"alg": ALGORITHM, "kid": private.thumbprint(), "typ": TYPE}
    signed: Any = jws.serialize_json(
        {"protected": header}, statement.model_dump_json(by_alias=True), private, [ALGORITHM]
    )
    return Signed.model_validate(signed)


def verify(content: bytes, key: Path) -> Statement:
    """What was signed. Raises: UnmaskError that says what is wrong: not signed, by another key, or changed since."""
    public = _key(key, private=False)
    from joserfc import jws
    from joserfc.errors import BadSignatureError, JoseError, UnsupportedAlgorithmError

    def expected(signed: GuestProtocol) -> OKPKey:
        header = signed.headers()
        if header.get("typ") != TYPE:
            raise InputError("it is not signed in the way of `unmask report sign`")
        if header.get("kid") != public.thumbprint():
            other = str(header.get("kid"))[:60]
            raise InputError(f"it was signed with another key, {other!r}, not {public.thumbprint()!r}")
        return public

    try:
        signed: Any = Signed.model_validate_json(content).model_dump()
        payload = jws.deserialize_json(signed, expected, [ALGORITHM]).payload
    except UnsupportedAlgorithmError:
        raise InputError(f"it is not signed in the way of `unmask report sign` ({ALGORITHM})") from None
    except BadSignatureError:
        raise InputError("the signature does not fit: the report was changed after it was signed") from None
    except InputError:  # of `expected`
        raise
    except (ValidationError, JoseError, ValueError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"it is not a report of `unmask report sign`: {why}") from None
    try:
        return Statement.model_validate_json(payload)
    except ValidationError as error:
        raise InputError(f"the signature fits, but what was signed is no report: {error}") from None


def _key(path: Path, *, private: bool) -> OKPKey:
    """Raises: UnmaskError for what is no such key."""
    _need_library()
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey

    wanted = "private key of `unmask report key`" if private else "public key (the .pub file of `unmask report key`)"
    try:
        key = OKPKey.import_key(path.read_bytes())
    except (OSError, JoseError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no {wanted}: {error}") from None
    if key.is_private != private or key.get("crv") != "Ed25519":
        raise InputError(f"{path} is no {wanted}")
    return key


def _need_library() -> None:
    """Raises: UnmaskError where the library is not installed."""
    if find_spec("joserfc") is None:
        raise InputError('signatures need the extra "sign": pip install "unmask[sign]"')
