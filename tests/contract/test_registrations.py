"""What another release stored, or a person wrote: one row that cannot be read hides no other."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.endpoints import put_endpoint, rotate_secret
from program_service.bookkeeping.ledger.registry import (
    CALLBACK,
    Endpoint,
    Job,
    Secret,
    find_job,
    list_endpoints,
    list_jobs,
)
from program_service.bookkeeping.ledger.workers import Worker, beat, list_workers
from program_workers.catalogue import Catalogue
from program_workers.library import JobLibrary
from servers import on_sqlite

BEAT_S = 5.0
SECRET = "whsec_" + "A" * 32
SECRET_2 = "whsec_" + "B" * 32
ENDPOINT = Endpoint("https://mail.example/send", [Secret(SECRET)], "00ff", 3)
ENDPOINT_TEXT = orjson.dumps(ENDPOINT.as_json()).decode()
JSON = {"endpoint", "policy", "queues", "jobs", "newest_wakeups", "endpoints"}
UNREADABLE = ["null", "[]", "5", '"text"', "{}", '{"x": 1e400}', r'{"x": "\ud83d"}']
"""JSON, as every database takes it."""


def job(name: str) -> Job:
    return Job(name, CALLBACK, "default", 30.0, {"max_attempts": 3}, endpoint=ENDPOINT)


def worker(name: str) -> Worker:
    return Worker(name, "pod-7", "1.2.3", ["default"], ["mail"], 9, 1, newest_wakeups={})


@pytest.fixture
async def registered(database: Database) -> Database:
    for name in ("broken", "mail"):
        await database.transact(put_endpoint, job(name), brings_secret=True, beat_s=BEAT_S)
        await database.transact(beat, worker(name))
    return database


async def by_hand(database: Database, table: str, column: str, text: Any) -> None:
    """Write a text into a column of the row `broken`, as somebody with psql would."""
    table_name, value = getattr(database.tables, table).name, ":value"
    if column in JSON and database.engine.dialect.name == "postgresql":
        value = "CAST(CAST(:value AS text) AS json)"
    statement = sa.text(f"UPDATE {table_name} SET {column} = {value} WHERE name = 'broken'")
    async with database.engine.begin() as connection:
        assert (await connection.execute(statement, {"value": text})).rowcount == 1


def catalogue_of(jobs: list[Job]) -> Catalogue:
    catalogue = Catalogue(JobLibrary())
    catalogue.update(jobs)
    return catalogue


def unreadable_documents() -> Iterator[tuple[str, str]]:
    for text in UNREADABLE:
        yield "endpoint", text
    for text in UNREADABLE[:4]:
        yield "policy", text
    for field, value in {
        "url": 5,
        "secrets": "x",
        "token_key": "no hex",
        "max_concurrency": "many",
        "cancel_url": "http://[",
    }.items():
        yield "endpoint", orjson.dumps(ENDPOINT.as_json() | {field: value}).decode()
    yield "policy", '{"max_attempts": 0}'
    yield "policy", '{"jitter": "some"}'


@pytest.mark.parametrize(("column", "text"), list(unreadable_documents()))
async def test_job_that_cannot_be_read_is_not_called_and_the_others_are(
    registered: Database, column: str, text: str
) -> None:
    await by_hand(registered, "jobs", column, text)
    for listing in (list_jobs, list_endpoints):
        jobs = await registered.read(listing)
        assert [(each.name, each.flaw is None) for each in jobs] == [
            ("broken", False),
            ("mail", True),
        ]
        assert sorted(catalogue_of(jobs)) == ["mail"]
    assert (await registered.read(find_job, "broken")).endpoint is None


@pytest.mark.parametrize(
    ("column", "value"), [("endpoint", {"secrets": [{"secret": "short"}]}), ("timeout_s", -1)]
)
async def test_job_that_could_not_be_called_is_not_called(
    registered: Database, column: str, value: Any
) -> None:
    text = value if column == "timeout_s" else orjson.dumps(ENDPOINT.as_json() | value).decode()
    await by_hand(registered, "jobs", column, text)
    assert sorted(catalogue_of(await registered.read(list_endpoints))) == ["mail"]


async def test_job_of_a_kind_that_is_not_known_is_listed(registered: Database) -> None:
    await by_hand(registered, "jobs", "kind", "of-the-next-release")
    broken, mail = await registered.read(list_jobs)
    assert (broken.kind, broken.endpoint) == ("of-the-next-release", None)
    assert mail.endpoint == ENDPOINT


async def test_fields_of_the_next_release_are_ignored_and_kept(registered: Database) -> None:
    stored = ENDPOINT.as_json() | {"mode": "batch"}
    stored["secrets"] = [secret | {"algorithm": "ed25519"} for secret in stored["secrets"]]
    await by_hand(registered, "jobs", "endpoint", orjson.dumps(stored).decode())
    await by_hand(registered, "jobs", "policy", '{"max_attempts": 3, "deadline_s": 60}')
    broken = await registered.read(find_job, "broken")
    assert broken.endpoint == replace(ENDPOINT, unknown={"mode": "batch"})
    assert (broken.flaw, broken.retry.max_attempts) == (None, 3)
    assert "broken" in catalogue_of([broken])
    again = await registered.transact(rotate_secret, "broken", SECRET_2, overlap=timedelta(0))
    assert again.endpoint == replace(broken.endpoint, secrets=[Secret(SECRET_2)])
    assert again.policy == {"max_attempts": 3, "deadline_s": 60}


async def test_fields_that_the_last_release_did_not_have_are_defaulted(
    registered: Database,
) -> None:
    stored = {"url": ENDPOINT.url, "secrets": [{"secret": SECRET}], "token_key": "00ff"}
    await by_hand(registered, "jobs", "endpoint", orjson.dumps(stored).decode())
    await by_hand(registered, "jobs", "policy", "{}")
    broken = await registered.read(find_job, "broken")
    assert broken.endpoint == replace(ENDPOINT, max_concurrency=None)
    assert broken.retry.max_attempts == 25


@pytest.mark.parametrize("column", ["queues", "jobs", "newest_wakeups"])
@pytest.mark.parametrize("text", ["5", '"text"', '[{"a": 1}]', "null", r'["\ud83d"]', "[1e400]"])
async def test_worker_that_cannot_be_read_hides_no_other(
    registered: Database, column: str, text: str
) -> None:
    await by_hand(registered, "workers", column, text)
    assert [each.name for each in await registered.read(list_workers, beat_s=BEAT_S)] == ["mail"]


async def test_report_that_a_worker_of_the_next_release_makes_is_read(
    registered: Database,
) -> None:
    report = '{"breakers": {"h": {"state": "open"}}, "running": 5, "waiting": {"ship": 1}}'
    await by_hand(registered, "workers", "endpoints", report)
    broken, _ = await registered.read(list_workers, beat_s=BEAT_S)
    assert broken.endpoints == {"breakers": {"h": {"state": "open"}}, "waiting": {"ship": 1}}


async def test_moments_that_a_worker_cannot_have_reported_are_ignored(
    registered: Database,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    stored = {
        "late": (now + timedelta(days=1)).isoformat(),
        "latest": "9999-12-31T23:59:59-23:59",
        "text": "yesterday",
        "number": 5,
        "naive": now.replace(tzinfo=None).isoformat(),
        "right": now.isoformat(),
    }
    await by_hand(registered, "workers", "newest_wakeups", orjson.dumps(stored).decode())
    broken, _ = await registered.read(list_workers, beat_s=BEAT_S)
    assert broken.newest_wakeups == {"naive": now, "right": now}


FUTURE = {
    "postgresql": ["infinity", "294276-12-31", "9999-12-31 23:59:59+00"],
    "mysql": ["9999-12-31 23:59:59.999999", "2999-01-01"],
    "sqlite": ["infinity", "9999-12-31 23:59:59.999999", "yesterday"],
}


async def test_worker_that_was_seen_in_the_future_is_no_live_worker(registered: Database) -> None:
    """Nobody is woken for it for ever, and it keeps no sweeper from its work."""
    table = registered.tables.workers.name
    for moment in FUTURE[registered.engine.dialect.name]:
        async with registered.engine.begin() as connection:
            await connection.exec_driver_sql(
                f"UPDATE {table} SET last_seen_at = '{moment}' WHERE name = 'broken'"
            )
        live = await registered.read(list_workers, beat_s=BEAT_S)
        assert [each.name for each in live] == ["mail"]
    await registered.transact(beat, worker("broken"))
    assert len(await registered.read(list_workers, beat_s=BEAT_S)) == 2


@on_sqlite  # which keeps anything
@pytest.mark.parametrize(
    ("column", "value"), [("kind", b"\xff"), ("queue", 7), ("timeout_s", "soon"), ("queue", b"x")]
)
async def test_job_with_a_value_of_another_kind_is_listed_with_texts(
    registered: Database, column: str, value: Any
) -> None:
    await by_hand(registered, "jobs", column, value)
    broken, _ = await registered.read(list_jobs)
    assert (type(broken.kind), type(broken.queue)) == (str, str)
    assert (column == "timeout_s") == (broken.flaw == "timeout_s is a text, not a number")
