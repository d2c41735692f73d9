"""An index by which owners take turns, and how it went with a scan's webhook."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("scans_by_turn", "scans", ["owner", "started"])
    op.add_column("scans", sa.Column("webhook_state", sa.String(20)))
    op.add_column("scans", sa.Column("webhook_said", sa.Text))


def downgrade() -> None:
    op.drop_column("scans", "webhook_said")
    op.drop_column("scans", "webhook_state")
    op.drop_index("scans_by_turn", "scans")
