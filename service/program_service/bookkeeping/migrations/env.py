"""What Alembic runs for each upgrade; the connection and its transaction are the caller's."""

from alembic import context

from program_service.bookkeeping.migrations import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables().metadata,
    version_table=tables().version_table,
    transaction_per_migration=False,
)
context.run_migrations()
