"""View: the programs with their status, for people with psql or sqlite3."""

from alembic import op

from program_service.bookkeeping.dialects import DIALECTS


def create_view(name: str) -> None:
    """Show the status, which is not stored, beside all columns that the table has now."""
    clock = DIALECTS[op.get_context().dialect.name].clock
    if clock == ":now":  # SQLite is given the time elsewhere; a view has no parameters
        clock = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    op.execute(f"""
        CREATE VIEW {name}_status AS
        SELECT {name}.*, CASE
               WHEN finished_at IS NOT NULL THEN 'finished'
               WHEN errored_at IS NOT NULL AND cancelled_at IS NOT NULL THEN 'cancelled'
               WHEN errored_at IS NOT NULL THEN 'errored'
               WHEN claimed_by IS NOT NULL THEN 'running'
               WHEN awaiting IS NOT NULL THEN 'waiting'
               WHEN step_retry_count > 0 AND due_at > {clock} THEN 'retrying'
               WHEN due_at > {clock} THEN 'scheduled'
               ELSE 'pending' END AS status
          FROM {name}
    """)


def drop_view(name: str) -> None:
    """Take it away: it is made anew when the table has other columns."""
    op.execute(f"DROP VIEW {name}_status")
