"""Registry: the jobs that were ever registered."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, TypeAdapter

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import JobNotFound
from program_service.bookkeeping.flaws import kind_of
from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.registrations import flaw_of, name_flaw, read_each
from program_service.bookkeeping.retry import Retry
from program_service.bookkeeping.sql import Sql
from program_service.bookkeeping.stored import read_text
from program_service.bookkeeping.tables import read_json, read_moment, require_moment

IN_PROCESS, CALLBACK = "in_process", "callback"
"""The kinds of jobs: functions in workers, and HTTP endpoints."""


DEFAULT_TIMEOUT_S = 30.0
"""Of a call to an endpoint."""

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that calls are signed with, until it expires, if it does."""

    secret: str
    expires_at: Annotated[datetime, AfterValidator(require_moment)] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how a callback job is called; `secrets` are the newest first."""

    url: str
    secrets: Sequence[Secret]
    token_key: str
    max_concurrency: int | None = None
    cancel_url: str | None = None
    unknown: Json = field(default_factory=dict)
    """What a newer release has stored besides; it is kept."""

    @property
    def host(self) -> str:
        """Scheme and authority of the URL, which all endpoints of one host have in common."""
        parts = urlsplit(self.url)
        authority = parts.netloc.rpartition("@")[2].lower()
        return f"{parts.scheme}://{authority.removesuffix(DEFAULT_PORTS.get(parts.scheme, ''))}"

    def valid_secrets(self, now: datetime) -> list[str]:
        """Return the secrets that calls are signed with now."""
        return [
            each.secret for each in self.secrets if each.expires_at is None or each.expires_at > now
        ]

    def as_json(self) -> Json:
        """Return it as it is stored."""
        secrets = [
            {"secret": each.secret, "expires_at": each.expires_at and each.expires_at.isoformat()}
            for each in self.secrets
        ]
        return self.unknown | {
            "url": self.url,
            "secrets": secrets,
            "token_key": self.token_key,
            "max_concurrency": self.max_concurrency,
            "cancel_url": self.cancel_url,
        }

    @classmethod
    def of_json(cls, stored: Any) -> Self:
        """Read what was stored.

        Raises:
            ValueError: it is no endpoint that could be called.
        """
        document = _DOCUMENT.validate_python(stored)
        known = {name: value for name, value in document.items() if name in cls.__slots__}
        known["unknown"] = {name: document[name] for name in document.keys() - known.keys()}
        endpoint: Self = TypeAdapter(cls).validate_python(known)
        for url in filter(None, (endpoint.url, endpoint.cancel_url)):
            urlsplit(url)
        bytes.fromhex(endpoint.token_key)
        if not endpoint.secrets:
            msg = "secrets: there is none"
            raise ValueError(msg)
        return endpoint


@dataclass(frozen=True, slots=True)
class Job:
    """A registered job; `policy` is its retry policy, {field of Retry: value}.

    A callback job has an endpoint, and is called only while it is not disabled.
    """

    name: str
    kind: str
    queue: str
    timeout_s: float | None
    policy: Json
    created_at: datetime | None = None
    last_seen_at: datetime | None = None
    endpoint: Endpoint | None = None
    disabled_at: datetime | None = None
    flaw: str | None = None
    """Why a callback job cannot be called: what is stored of it cannot be read."""

    @property
    def retry(self) -> Retry:
        """The retry policy."""
        return _RETRY.validate_python(self.policy)


async def register_jobs(books: Books, jobs: Sequence[Job]) -> None:
    """Write down the jobs that a worker knows; what it says of them now is what holds."""
    batch: list[dict[str, Any]] = [
        {
            "new_name": job.name,
            "new_kind": job.kind,
            "new_queue": job.queue,
            "new_timeout_s": job.timeout_s,
            "new_policy": job.policy,
        }
        for job in sorted(jobs, key=lambda job: job.name)
    ]
    await books.run(_upsert_jobs, batch=batch)


async def register_unlocked(books: Books, jobs: Sequence[Job]) -> list[Job]:
    """Write down like `register_jobs`, but wait for no row; return the jobs that are locked."""
    names = [job.name for job in jobs]
    free = {row.name for row in await books.fetch(_lock_unlocked, known=names)}
    there = {row.name for row in await books.fetch(_select_names, known=names)}
    locked = there - free
    await register_jobs(books, [job for job in jobs if job.name not in locked])
    return [job for job in jobs if job.name in locked]


async def list_jobs(books: Books) -> list[Job]:
    """List every registered job by name."""
    return read_each("job", await books.fetch(_select_jobs), job_from)


async def find_job(books: Books, name: str) -> Job:
    """Find one job.

    Raises:
        JobNotFound: nobody ever registered it.
    """
    rows = await books.fetch(_select_job, name=name)
    if not rows:
        msg = f"Nobody ever registered a job {name!r}."
        raise JobNotFound(msg)
    return job_from(rows[0])


async def list_endpoints(books: Books) -> list[Job]:
    """List the callback jobs, also those that are disabled."""
    return read_each("job", await books.fetch(_select_endpoints, kind=CALLBACK), job_from)


_DOCUMENT: TypeAdapter[Json] = TypeAdapter(Json)
_RETRY = TypeAdapter(Retry)


def job_from(row: Any) -> Job:
    """Read a row of the jobs; one whose documents cannot be read has a flaw."""
    is_time = row.timeout_s is None or isinstance(row.timeout_s, int | float)
    job = Job(
        name=read_text(row.name),
        kind=read_text(row.kind),
        queue=read_text(row.queue),
        timeout_s=row.timeout_s if is_time else None,
        policy={},
        created_at=read_moment(row.created_at),
        last_seen_at=read_moment(row.last_seen_at),
        disabled_at=read_moment(row.disabled_at),
    )
    try:
        return _with_documents(job, row)
    except (ValueError, TypeError) as error:
        flaw = flaw_of(error)
        name_flaw("job", job.name, flaw)
        return replace(job, flaw=flaw)


def _with_documents(job: Job, row: Any) -> Job:
    if row.timeout_s != job.timeout_s:
        msg = f"timeout_s is {kind_of(row.timeout_s)}, not a number"
        raise ValueError(msg)
    policy = _DOCUMENT.validate_python(read_json(row.policy))
    if job.kind != CALLBACK:  # a function's own policy is in its worker
        return replace(job, policy=policy)
    _RETRY.validate_python(policy)
    return replace(job, policy=policy, endpoint=Endpoint.of_json(read_json(row.endpoint)))


def _upsert_jobs(sql: Sql) -> str:
    batch = sql.batch(
        new_name="varchar",
        new_kind="varchar",
        new_queue="varchar",
        new_timeout_s="double precision",
        new_policy="json",
    )
    return f"""
        INSERT INTO {sql.jobs} (name, kind, queue, timeout_s, policy, created_at, last_seen_at)
        SELECT new_name, new_kind, new_queue, new_timeout_s, new_policy, {sql.clock}, {sql.clock}
          FROM {batch}
         WHERE TRUE
        {sql.dialect.or_update(["name"], ["kind", "queue", "timeout_s", "policy", "last_seen_at"])}
    """


def _select_names(sql: Sql) -> str:
    return f"SELECT name FROM {sql.jobs} WHERE {sql.among('name', 'known')} ORDER BY name"


def _lock_unlocked(sql: Sql) -> str:
    return f"{_select_names(sql)} {sql.dialect.lock_unlocked}"


JOB = "name, kind, queue, timeout_s, policy, created_at, last_seen_at, endpoint, disabled_at"


def _select_jobs(sql: Sql) -> str:
    return f"SELECT {JOB} FROM {sql.jobs} ORDER BY name"


def _select_job(sql: Sql) -> str:
    return f"SELECT {JOB} FROM {sql.jobs} WHERE name = :name"


def _select_endpoints(sql: Sql) -> str:
    return f"SELECT {JOB} FROM {sql.jobs} WHERE kind = :kind ORDER BY name"
