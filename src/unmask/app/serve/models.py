"""Tables of the service: scans, and the images that belong to them. The media themselves never come in here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
FACE, HEAT, SHEET = "face", "heat", "page"  # SHEET: of the file, as track 0, beside the other two of the whole image
_HERE = text("media IS NOT NULL")


class Base(DeclarativeBase):
    """All tables."""


class Scan(Base):
    """One thing that somebody asked for, from its acceptance to its report. Times are seconds since 1970."""

    __tablename__ = "scans"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key", name="one_scan_for_a_key"),
        Index("scans_to_do", "state", "created"),
        Index("scans_of_owner", "owner", "created", "id"),
        Index("scans_by_turn", "owner", "started"),
        Index("scans_with_media", "owner", "bytes", sqlite_where=_HERE, postgresql_where=_HERE),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10), default=QUEUED)
    name: Mapped[str] = mapped_column(Text)  # as the user calls it; shown, never opened
    url: Mapped[str | None] = mapped_column(Text)
    media: Mapped[str | None] = mapped_column(String(64))  # random name below media/; None when deleted
    format: Mapped[str | None] = mapped_column(String(16))
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    wishes: Mapped[str] = mapped_column(Text)  # JSON of worker.Wishes
    created: Mapped[float] = mapped_column(Float(53))
    started: Mapped[float | None] = mapped_column(Float(53))
    finished: Mapped[float | None] = mapped_column(Float(53))
    progress: Mapped[float] = mapped_column(Float, default=0.0)

    attempts: Mapped[int] = mapped_column(default=0)
    claimed_by: Mapped[str | None] = mapped_column(String(100))
    lease: Mapped[float | None] = mapped_column(Float(53))  # until then its runner is taken for alive

    verdict: Mapped[str | None] = mapped_column(String(20))
    score: Mapped[float | None] = mapped_column(Float(53))
    report: Mapped[str | None] = mapped_column(Text)

    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    fingerprint: Mapped[str] = mapped_column(String(64))  # of all that was asked

    webhook: Mapped[str | None] = mapped_column(Text)
    webhook_tries: Mapped[int] = mapped_column(default=0)
    webhook_due: Mapped[float | None] = mapped_column(Float(53), index=True)
    webhook_state: Mapped[str | None] = mapped_column(String(20))  # how the last try went; None before the first
    webhook_said: Mapped[str | None] = mapped_column(Text)


class Picture(Base):
    """A JPEG of a scan: the crop of a face that says most, the heat map over it, or the sheet of key frames."""

    __tablename__ = "pictures"

    scan: Mapped[str] = mapped_column(ForeignKey("scans.id", ondelete="CASCADE"), primary_key=True)
    track: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(4), primary_key=True)
    jpeg: Mapped[bytes] = mapped_column(LargeBinary)
