"""How Alembic reaches the database: through the connection that the service hands over."""

from __future__ import annotations

from alembic import context

from unmask.app.serve.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
