"""What Alembic runs for each upgrade: on the caller's connection, in its transaction, if any."""

from alembic import context

from program_service.bookkeeping.migrations import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables().metadata,
    version_table=tables().version_table,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
