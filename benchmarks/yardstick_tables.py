"""Yardstick's tables: what a worker of this design reads and writes at least."""

import sqlalchemy as sa

STATUS = """
CASE WHEN finished_at IS NOT NULL THEN 'finished' WHEN errored_at IS NOT NULL THEN 'errored'
     WHEN claimed_by IS NOT NULL THEN 'running' WHEN step_retry_count > 0 THEN 'retrying'
     ELSE 'pending' END
"""

metadata = sa.MetaData()
moment = sa.DateTime(timezone=True)
programs = sa.Table(
    "yardstick",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Uuid, unique=True, nullable=False),
    sa.Column("jobs", sa.JSON, nullable=False),
    sa.Column("program_data", sa.JSON, nullable=False),
    sa.Column("job_data", sa.JSON, nullable=False),
    sa.Column("step", sa.Integer, nullable=False, server_default="0"),
    sa.Column("step_retry_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("finished_at", moment),
    sa.Column("errored_at", moment),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", moment, nullable=False),
    sa.Column("updated_at", moment, nullable=False),
    sa.Column("due_at", moment),
    sa.Column("woken_at", moment),
    sa.Column("claimed_by", sa.String(64)),
    sa.Column("status", sa.String(16), sa.Computed(STATUS, persisted=True)),
    postgresql_with={"fillfactor": 70},
)
sa.Index("yardstick_due", programs.c.due_at, postgresql_where=programs.c.due_at.isnot(None))
attempts = sa.Table(
    "yardstick_attempts",
    metadata,
    sa.Column("run_id", sa.Uuid, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("job", sa.String(200)),
    sa.Column("worker", sa.String(64)),
    sa.Column("started_at", moment),
    sa.Column("finished_at", moment),
    sa.Column("outcome", sa.String(16)),
)
