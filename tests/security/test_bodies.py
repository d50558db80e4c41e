"""Bodies: none is kept beyond the limit, whatever route it is sent to and however it is cut."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

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
PATHS = {
    ("POST", "/programs"): JSON,
    ("POST", "/programs/batch"): JSON,
    ("PUT", "/jobs/charge"): JSON,
    ("PATCH", "/programs/run-1/job-data/charge"): JSON,
    ("POST", "/callbacks/{token}/complete"): JSON,
    ("PATCH", "/callbacks/{token}/job-data"): JSON,
    ("POST", "/token-keys/rotate"): JSON,
    ("POST", "/ui/sign-in"): FORM,
    ("POST", "/ui/workers/drain"): FORM,
}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, with a low limit."""
    async with serving(database, jobs=JOBS, max_body_bytes=MOST) as served:
        yield served


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

    path = path.format(token=token)
    headers = [
        (b"host", b"localhost"),
        (b"content-type", PATHS.get((method, path), JSON if "/ui/" not in path else FORM)),
        (b"transfer-encoding", b"chunked"),
        (b"sec-fetch-site", b"same-origin"),
    ]
    scope = {
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
    await service.app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert received == MOST + len(PIECE)
