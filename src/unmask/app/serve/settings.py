"""What a service was started with."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from unmask.errors import InputError
from unmask.media import Limits
from unmask.scanning.options import Options

SHORTEST_TOKEN = 20  # characters; shorter ones can be guessed
SPARE = 64 << 20  # bytes of its disk that uploads leave free, or a twentieth of a small one
LIMITS = Limits(bytes=512 << 20, pixels=50_000_000, seconds=1800.0, frames=200_000, decode_seconds=120.0)
"""What one upload may cost, unless the service is told otherwise: less than a scan of one's own files."""


@dataclass(frozen=True)
class Settings:
    """Everything that the service needs to know.

    Attributes:
        folder: holds `media/` (uploads, deleted after `keep`), and the database where `db` names none.
        db: SQLAlchemy URL; "" means SQLite in `folder`.
        tokens: sha256 of a token -> name of its owner. Empty: nobody is asked for one.
        hosts: names under which the service answers; empty: all. A page of a stranger whose name is made to lead here
            must not be able to speak to a service that asks for no token.
        queue: scans that may wait; more are refused with 429.
        rate: scans that one owner may begin in a minute.
        storage: bytes of uploads that one owner may have lying here.
        keep: seconds after which an upload is deleted. Its report stays until it is deleted or `keep_reports` is over.
        wait: seconds that a request with a small image waits for its report.
        grace: seconds that running scans get when the service is told to stop; then they are queued again.
        memory: bytes that one worker process may allocate.
        batch: seconds that crops of scans that run at once wait for each other, to be scored in one call; None: each
            worker has a network of its own.
        secret: what webhooks are signed with; without it none are sent.
    """

    folder: Path
    options: Options = field(default_factory=lambda: Options(pictures=True, limits=LIMITS, seconds_per_file=300.0))
    host: str = "127.0.0.1"
    port: int = 8000
    db: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    workers: int = 1
    queue: int = 100
    rate: float = 120.0
    storage: int = 20 << 30
    keep: float = 24 * 3600.0
    keep_reports: float = 90 * 24 * 3600.0
    wait: float = 10.0
    grace: float = 20.0
    memory: int = 8 << 30
    batch: float | None = None
    secret: bytes = b""

    def has_space(self, size: int = 0) -> bool:
        """Whether the disk takes an upload of so many bytes, and still leaves some for reports and for deleting."""
        disk = shutil.disk_usage(self.media)
        return disk.free - size >= min(SPARE, disk.total // 20)

    @property
    def media(self) -> Path:
        return self.folder / "media"

    @property
    def shared(self) -> Options:
        """For the one network of all workers: their threads together."""
        return self.options.model_copy(update={"threads": self.options.threads * self.workers})

    @property
    def database(self) -> str:
        return self.db or f"sqlite:///{self.folder.absolute() / 'scans.sqlite'}"


def default_folder() -> Path:
    """Where a service keeps its things when it is not told: state of this user, by the XDG rules."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(home) / "unmask"


def read_tokens(path: Path) -> dict[str, str]:
    """sha256 of each token -> its name. One `name: token` or `token` a line; # begins a remark.

    Raises: UnmaskError when the file cannot be read, holds no token, or one that is short, spaced or there twice.
    """
    tokens: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        name, _, token = (part.strip() for part in line.rpartition(":"))
        if len(token) < SHORTEST_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise InputError(
                f"{path}, line {number}: a token has {SHORTEST_TOKEN} visible ASCII characters or more; make one with: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        digest = hashlib.sha256(token.encode()).hexdigest()
        if digest in tokens:
            raise InputError(f"{path}, line {number}: this token stands there twice")
        tokens[digest] = name or f"token {number}"
    if len(set(tokens.values())) < len(tokens):
        raise InputError(f"{path}: two tokens have the same name, and would see each other's scans")
    if not tokens:
        raise InputError(f"{path} holds no token; write one line `name: token` for each user")
    return tokens


def read_secret(path: Path) -> bytes:
    """The first line of a file. Raises: UnmaskError when it is short."""
    secret = next(iter(_lines(path)), "").encode()
    if len(secret) < SHORTEST_TOKEN:
        raise InputError(f"{path}: a webhook secret has {SHORTEST_TOKEN} characters or more")
    return secret


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def seconds(text: str) -> float:
    """ "90s", "30m", "24h", "7d" -> seconds. Raises: UnmaskError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not found:
        raise InputError(f"{text!r} is no length of time; write 90s, 30m, 24h or 7d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
