"""Tables: what is remembered of programs, their attempts, jobs and workers.

The classes say the columns; `Tables.named` gives them the names that a deployment chose, because
the tables may live in a user's own database.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import Field, SQLModel

from program_service.bookkeeping.access_rows import ApiKeyRow, AuditRow, SessionRow
from program_service.bookkeeping.columns import JSON, NAME, TEXT
from program_service.bookkeeping.columns import TextJson as TextJson  # noqa: PLC0414 - as the next
from program_service.bookkeeping.columns import UtcDateTime as UtcDateTime  # noqa: PLC0414
from program_service.bookkeeping.columns import written as written  # noqa: PLC0414
from program_service.bookkeeping.stored import read_json as read_json  # noqa: PLC0414 - it is sought here
from program_service.bookkeeping.stored import read_moment as read_moment  # noqa: PLC0414
from program_service.bookkeeping.stored import require_moment as require_moment  # noqa: PLC0414

# SQLite counts up only what is called INTEGER
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Labels = JSON.with_variant(postgresql.JSONB(), "postgresql")


class ProgramRow(SQLModel, table=True):
    """One program; `finished_at`, `errored_at` and `due_at` say all about what may happen to it."""

    __tablename__: ClassVar[Any] = "programs"

    id: int = Field(sa_column=sa.Column(_Id, primary_key=True))
    run_id: str = Field(sa_type=NAME, unique=True)
    jobs: list[str] = Field(sa_type=JSON)
    program_data: dict[str, Any] = Field(sa_type=JSON)
    job_data: dict[str, Any] = Field(sa_type=JSON)
    step: int = Field(sa_column_kwargs={"server_default": "0"})
    step_retry_count: int = Field(sa_column_kwargs={"server_default": "0"})
    finished_at: datetime | None = Field(sa_type=UtcDateTime)
    errored_at: datetime | None = Field(sa_type=UtcDateTime)
    error_message: str | None = Field(sa_type=TEXT)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime | None = Field(sa_type=UtcDateTime)
    woken_at: datetime | None = Field(sa_type=UtcDateTime)
    claimed_by: str | None = Field(sa_type=NAME)
    lease: str | None = Field(sa_type=sa.String(32))
    lease_losses: int = Field(sa_column_kwargs={"server_default": "0"})
    resumes: int = Field(sa_column_kwargs={"server_default": "0"})
    awaiting: int | None
    cancelled_at: datetime | None = Field(sa_type=UtcDateTime)
    job: str = Field(sa_type=NAME)
    queue: str = Field(sa_type=NAME)
    labels: dict[str, str] = Field(sa_type=_Labels)
    submitted_by: str | None = Field(sa_type=NAME)
    parent_run_id: str | None = Field(sa_type=NAME)
    traceparent: str | None = Field(sa_type=sa.String(64))
    notify: str | None = Field(sa_type=TEXT)
    version: int = Field(sa_column_kwargs={"server_default": "1"})
    notify_due_at: datetime | None = Field(sa_type=UtcDateTime)
    notify_tries: int = Field(sa_column_kwargs={"server_default": "0"})


class AttemptRow(SQLModel, table=True):
    """One try of one step, written in the transaction that records its outcome."""

    __tablename__: ClassVar[Any] = "attempts"

    run_id: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    lease: str = Field(sa_column=sa.Column(sa.String(32), primary_key=True))
    step: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    attempt: int
    job: str = Field(sa_type=NAME)
    worker: str | None = Field(sa_type=NAME)
    started_at: datetime | None = Field(sa_type=UtcDateTime)
    finished_at: datetime = Field(sa_type=UtcDateTime)
    outcome: str = Field(sa_type=sa.String(32))
    error_type: str | None = Field(sa_type=NAME)
    error_code: str | None = Field(sa_type=NAME)
    error_message: str | None = Field(sa_type=TEXT)
    traceback: str | None = Field(sa_type=TEXT)
    log: list[dict[str, Any]] | None = Field(sa_type=JSON)


class IdempotencyRow(SQLModel, table=True):
    """Which program a client's Idempotency-Key stands for; kept as long as the program."""

    __tablename__: ClassVar[Any] = "idempotency"

    owner: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    key: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    request_hash: str = Field(sa_type=sa.String(64))
    run_id: str = Field(sa_type=NAME)


class JobRow(SQLModel, table=True):
    """A job that some worker registered, once or still, or somebody over HTTP: with an endpoint."""

    __tablename__: ClassVar[Any] = "jobs"

    name: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    kind: str = Field(sa_type=sa.String(32))
    queue: str = Field(sa_type=NAME)
    timeout_s: float | None = Field(sa_type=sa.Double)
    policy: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    endpoint: dict[str, Any] | None = Field(sa_type=JSON)
    disabled_at: datetime | None = Field(sa_type=UtcDateTime)


class WorkerRow(SQLModel, table=True):
    """A worker process and when it was last heard of.

    `name` is the process: the worker's name and a random part. In rows of the release that had no
    `worker`, it is the worker's name.
    """

    __tablename__: ClassVar[Any] = "workers"

    name: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    host: str = Field(sa_type=NAME)
    version: str = Field(sa_type=sa.String(32))
    queues: list[str] = Field(sa_type=JSON)
    jobs: list[str] = Field(sa_type=JSON)
    slots: int
    busy: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    newest_wakeups: dict[str, str] = Field(sa_type=JSON)
    endpoints: dict[str, Any] | None = Field(sa_type=JSON)
    worker: str | None = Field(sa_type=NAME)
    pid: int | None
    drain_requested_at: datetime | None = Field(sa_type=UtcDateTime)


class RollupRow(SQLModel, table=True):
    """How often something came to an end in a minute; written with what it counts."""

    __tablename__: ClassVar[Any] = "rollups"

    minute: datetime = Field(sa_column=sa.Column(UtcDateTime, primary_key=True))
    job: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    outcome: str = Field(sa_column=sa.Column(sa.String(32), primary_key=True))
    worker: str = Field(sa_column=sa.Column(NAME, primary_key=True))
    bucket: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True, autoincrement=False))
    shard: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True, autoincrement=False))
    count: int


class TokenKeyRow(SQLModel, table=True):
    """A key of the deployment that callback tokens are signed with; the newest signs."""

    __tablename__: ClassVar[Any] = "token_keys"

    id: int = Field(sa_column=sa.Column(sa.Integer, primary_key=True, autoincrement=False))
    secret: str = Field(sa_type=sa.String(64))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(sa_type=UtcDateTime)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under the names of one deployment."""

    metadata: sa.MetaData
    programs: sa.Table
    attempts: sa.Table
    idempotency: sa.Table
    jobs: sa.Table
    workers: sa.Table
    rollups: sa.Table
    token_keys: sa.Table
    keys: sa.Table
    sessions: sa.Table
    audit: sa.Table

    @classmethod
    def named(cls, name: str) -> Self:
        """Name the program table `name`, and every other table after it."""
        metadata = sa.MetaData()

        def renamed(row: type[SQLModel], table_name: str) -> sa.Table:
            table = cast("sa.Table", row.__table__)  # type: ignore[attr-defined]
            return table.to_metadata(metadata, name=table_name)

        tables = cls(
            metadata=metadata,
            programs=renamed(ProgramRow, name),
            attempts=renamed(AttemptRow, f"{name}_attempts"),
            idempotency=renamed(IdempotencyRow, f"{name}_idempotency"),
            jobs=renamed(JobRow, f"{name}_jobs"),
            workers=renamed(WorkerRow, f"{name}_workers"),
            rollups=renamed(RollupRow, f"{name}_rollups"),
            token_keys=renamed(TokenKeyRow, f"{name}_token_keys"),
            keys=renamed(ApiKeyRow, f"{name}_keys"),
            sessions=renamed(SessionRow, f"{name}_sessions"),
            audit=renamed(AuditRow, f"{name}_audit"),
        )
        _add_indexes(tables.programs)
        sa.Index(f"{name}_sessions_key", tables.sessions.c.key_digest)
        for column in ("run_id", "actor", "action"):
            sa.Index(f"{name}_audit_{column}", tables.audit.c[column], tables.audit.c.id)
        sa.Index(f"{name}_idempotency_run_id", tables.idempotency.c.run_id)
        return tables

    @property
    def version_table(self) -> str:
        """The name of Alembic's version table."""
        return f"{self.programs.name}_version"


def _add_indexes(programs: sa.Table) -> None:
    """Index what is searched: what is due, to be told, old, failed; when it came, its labels.

    MariaDB, which has no partial indexes, has others; its migrations say which.
    """
    name, columns = programs.name, programs.c
    is_open = sa.and_(columns.finished_at.is_(None), columns.errored_at.is_(None))
    is_told = columns.notify_due_at.is_(None)
    partial: dict[str, tuple[list[sa.Column[Any]], Any]] = {
        "due": ([columns.due_at], is_open),
        # what waits in a long queue is due as well: the sweeper passes over it, every second
        "unwoken": ([columns.due_at], sa.and_(is_open, columns.woken_at.is_(None))),
        "woken": (
            [columns.queue, columns.woken_at],
            sa.and_(is_open, columns.woken_at.is_not(None)),
        ),
        "errored": ([columns.id], columns.errored_at.is_not(None)),
        "troubled": (
            [columns.id],
            sa.or_(
                columns.error_message.is_not(None),
                columns.step_retry_count > sa.literal_column("0"),
            ),
        ),
        "notify": ([columns.notify_due_at], columns.notify_due_at.is_not(None)),
        "old_finished": (
            [columns.finished_at],
            sa.and_(columns.finished_at.is_not(None), is_told),
        ),
        "old_errored": ([columns.errored_at], sa.and_(columns.errored_at.is_not(None), is_told)),
    }
    for suffix, (keys, where) in partial.items():
        sa.Index(f"{name}_{suffix}", *keys, postgresql_where=where, sqlite_where=where)
    # BRIN: rows come in the order of their time, and a B-tree would grow with every update
    sa.Index(f"{name}_created", columns.created_at, postgresql_using="brin")
    sa.Index(
        f"{name}_labels",
        columns.labels,
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
        postgresql_where=sa.text("labels <> '{}'::jsonb"),
        sqlite_where=sa.text("labels <> '{}'"),
    )
