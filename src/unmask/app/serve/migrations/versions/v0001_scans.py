"""Scans and their images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scans",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("media", sa.String(64)),
        sa.Column("format", sa.String(16)),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("wishes", sa.Text, nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("started", sa.Float(53)),
        sa.Column("finished", sa.Float(53)),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claimed_by", sa.String(100)),
        sa.Column("lease", sa.Float(53)),
        sa.Column("verdict", sa.String(20)),
        sa.Column("score", sa.Float(53)),
        sa.Column("report", sa.Text),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("webhook", sa.Text),
        sa.Column("webhook_tries", sa.Integer, nullable=False),
        sa.Column("webhook_due", sa.Float(53)),
        sa.UniqueConstraint("owner", "idempotency_key", name="one_scan_for_a_key"),
    )
    op.create_index("scans_to_do", "scans", ["state", "created"])
    op.create_index("scans_of_owner", "scans", ["owner", "created", "id"])
    op.create_index("ix_scans_webhook_due", "scans", ["webhook_due"])
    op.create_table(
        "pictures",
        sa.Column("scan", sa.String(32), sa.ForeignKey("scans.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("track", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(4), primary_key=True),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("pictures")
    op.drop_table("scans")
