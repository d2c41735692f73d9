"""An index of the scans whose media lie here: few of them all, and asked for with every upload."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    some = sa.text("media IS NOT NULL")
    op.create_index("scans_with_media", "scans", ["owner", "bytes"], sqlite_where=some, postgresql_where=some)


def downgrade() -> None:
    op.drop_index("scans_with_media", "scans")
