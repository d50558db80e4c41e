"""Escaping: whatever stands in any field of any table is shown as text, and never run."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import sqlalchemy as sa

from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import Endpoint, Secret
from program_service.bookkeeping.tables import UtcDateTime
from screens import VIEWS, Screen
from servers import on_sqlite
from serving import Service, serving

pytestmark = on_sqlite

UNSEEN = {
    "programs": {"lease"},
    "attempts": {"run_id", "lease"},
    "jobs": {"kind", "policy"},
    "workers": {"name", "newest_wakeups"},
    "idempotency": {"owner", "key", "request_hash", "run_id"},
    "rollups": {"worker", "outcome"},
    "keys": {"digest", "name", "scopes", "label_key", "label_value"},
    "sessions": {"digest", "key_digest", "key_name"},
    "audit": {"id", "client", "run_id"},
    "token_keys": {"secret"},
}
"""What no view shows, or shows from elsewhere; everything else is seen as the text that it is."""


def payload(place: str) -> str:
    """Return a text that sets a global, if a browser takes it for HTML."""
    return f"""</script>'"><img src=x onerror="window.hacked='{place}'">{place}"""


SHAPES: dict[str, Any] = {
    "programs.jobs": lambda text: [text],
    "programs.labels": lambda text: {text: text},
    "attempts.log": lambda text: [
        {"at": "2026-01-01T00:00:00Z", "level": text, "text": text, "fields": {text: text}}
    ],
    "workers.queues": lambda text: [text],
    "workers.jobs": lambda text: [text, payload("jobs.name")],
    "workers.newest_wakeups": lambda text: {text: datetime.now(UTC).isoformat()},
    "workers.endpoints": lambda text: {"breakers": {text: "open"}, "running": {}},
    "workers.last_seen_at": lambda _text: datetime.now(UTC) + timedelta(minutes=1),
    "jobs.kind": lambda _text: "callback",
    "jobs.endpoint": lambda text: Endpoint(text, [Secret(text)], "ab" * 32).as_json(),
}
"""Columns whose values have a form; the worker is alive for a while."""


def hostile(place: str, column: sa.Column[Any]) -> Any:
    """Return a value for a column that holds the payload wherever a text can stand in it."""
    text = payload(place)
    if place in SHAPES:
        return SHAPES[place](text)
    if isinstance(column.type, UtcDateTime):
        return datetime.now(UTC)
    if isinstance(column.type, sa.JSON):
        return {text: {text: [text]}}
    if isinstance(column.type, sa.String | sa.Text):
        return text
    return 0 if column.primary_key or not column.nullable else None


SAID_ELSEWHERE = {
    "attempts.run_id": "programs.run_id",
    "rollups.job": "jobs.name",
    "audit.run_id": "programs.run_id",
    "programs.finished_at": None,
    "programs.cancelled_at": None,
    "jobs.disabled_at": None,
}
"""A try belongs to the program, a count to the job; the program has errored."""


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve with a key: a service without any is closed by whatever is in the table of keys."""
    async with serving(database, api_keys=entry_of("admin")) as served:
        yield served


@pytest.fixture
async def columns(database: Database) -> list[str]:
    """Write a hostile row into every table, and return the columns of text, as `table.column`."""
    texts, tables = [], database.tables
    for name in UNSEEN:
        table: sa.Table = getattr(tables, name)
        row: dict[str, Any] = {}
        for column in table.columns:
            place = f"{name}.{column.name}"
            row[column.name] = hostile(place, column)
            if place in SAID_ELSEWHERE:
                elsewhere = SAID_ELSEWHERE[place]
                row[column.name] = payload(elsewhere) if elsewhere else None
            elif isinstance(column.type, sa.String | sa.Text | sa.JSON):
                texts.append(place)
        async with database.engine.begin() as connection:
            await connection.execute(sa.insert(table), row)
    return texts


def test_every_table_is_tried(database: Database) -> None:
    tables = {table.name for table in database.tables.metadata.tables.values()}
    named = {getattr(database.tables, name).name for name in UNSEEN}
    assert named == tables


async def test_hostile_text_in_any_field_is_seen_as_text(
    columns: list[str], screen: Screen
) -> None:
    await screen.open("/ui/sign-in")
    await screen.page.locator("input[name=key]").fill(KEYS["admin"])
    await screen.page.locator("main button").click()
    program = f"/ui/programs/{quote(payload('programs.run_id'), safe='')}"
    of_job = urlencode({"job": payload("jobs.name")})
    filters = urlencode({"label": f"a:{payload('query')}", "error": payload("query")})
    views = [
        *VIEWS,
        program,
        f"{program}/resume",
        f"/ui/jobs/test?{of_job}",
        f"/ui/workers/drain?{urlencode({'worker': payload('query')})}",
        f"/ui/programs?{filters}",
        "/ui/bulk/resume?status=errored",
        f"/ui/sign-in?{urlencode({'to': payload('query')})}",
        f"/ui/programs/{quote(payload('query'), safe='')}",
        f"/ui/programs?{urlencode({'status': payload('query')})}",
    ]
    seen = ""
    for view in views:
        await screen.open(view)
        await screen.page.evaluate(
            "document.querySelectorAll('details').forEach((each) => { each.open = true })"
        )
        seen += await screen.page.locator("main").inner_text()
        assert await screen.page.evaluate("window.hacked") is None, view
        assert await screen.page.locator("[onerror]").count() == 0, view
    unseen = [
        place
        for place in columns
        if place.split(".")[1] not in UNSEEN[place.split(".")[0]] and payload(place) not in seen
    ]
    assert not unseen, unseen
    # the browser tells of the two pages that are not there
    assert len(screen.complaints) == 2
    screen.complaints.clear()
