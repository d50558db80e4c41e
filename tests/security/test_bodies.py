"""Bodies: none is kept beyond the limit, whatever route it is sent to and however it is cut."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from builders import JOBS
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.token_keys import TokenKey, require_token_key
from program_service.webhooks.tokens import write_token
from servers import on_sqlite
from serving import Service, serving

pytestmark = on_sqlite

KIB = 1024
MOST = 64 * KIB
PIECE = b" " * 16 * KIB

JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
PATHS = [
    ("POST", "/programs"),
    ("POST", "/programs/batch"),
    ("PUT", "/jobs/charge"),
    ("PATCH", "/programs/run-1/job-data/charge"),
    ("POST", "/callbacks/{token}/complete"),
    ("PATCH", "/callbacks/{token}/job-data"),
    ("POST", "/token-keys/rotate"),
    ("POST", "/ui/sign-in"),
    ("POST", "/ui/workers/drain"),
]


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, with a low limit."""
    async with serving(database, jobs=JOBS, max_body_bytes=MOST) as served:
        yield served


def scope_of(service: Service, method: str, path: str) -> Any:
    """Return what ASGI says of a request whose body is sent in chunks."""
    headers = [
        (b"host", b"localhost"),
        (b"content-type", FORM if path.startswith("/ui/") else JSON),
        (b"transfer-encoding", b"chunked"),
        (b"sec-fetch-site", b"same-origin"),
    ]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 50_000),
        "server": ("localhost", 80),
        "headers": headers,
        "app": service.app,
    }


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_body_without_an_end_is_read_up_to_the_limit(
    service: Service, method: str, path: str
) -> None:
    key = await service.database.transact(require_token_key, "ab" * 32)
    assert key == TokenKey(1, "ab" * 32, key.created_at)
    token = write_token(Ticket("run-1", 0, 0, 1), "charge", token_key="cd" * 32, by=key)
    received, sent = 0, list[Any]()

    async def receive() -> Any:
        nonlocal received
        received += len(PIECE)
        await asyncio.sleep(0)
        return {"type": "http.request", "body": PIECE, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    await service.app(scope_of(service, method, path.format(token=token)), receive, send)
    assert sent[0]["status"] == 413
    assert received == MOST + len(PIECE)


@pytest.mark.parametrize(
    "path", ["/programs", "/programs/batch", "/token-keys/rotate", "/ui/sign-in"]
)
async def test_client_that_leaves_in_the_middle_is_no_bug_of_ours(
    service: Service, path: str
) -> None:
    sent = list[Any]()
    messages = iter(
        [
            {"type": "http.request", "body": b'{"jobs": [', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        await asyncio.sleep(0)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    with capture_logs() as lines:
        await service.app(scope_of(service, "POST", path), receive, send)
    assert sent[0]["status"] == 400
    assert [line for line in lines if line["event"] == "request.failed"] == []
