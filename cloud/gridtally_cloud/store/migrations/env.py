"""Runs inside `store.meta.prepare`: migrates over the connection (and in the transaction) it is given."""

from __future__ import annotations

from alembic import context

from gridtally_cloud.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
