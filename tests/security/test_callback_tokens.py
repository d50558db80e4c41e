"""Callback tokens: whoever has none learns nothing, and costs neither a body nor a query."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from builders import claimed, stands
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.endpoints import put_endpoint
from program_service.bookkeeping.ledger.registry import CALLBACK, Endpoint, Job, Secret
from program_service.bookkeeping.ledger.token_keys import (
    TokenKey,
    require_token_key,
    rotate_token_key,
)
from program_service.bookkeeping.lifecycle import Accepted
from program_service.webhooks.tokens import TAG_BYTES, new_token_key, write_token
from servers import on_sqlite
from serving import Service, json_of, problem_of, serving

OF_THE_JOB, OF_THE_DEPLOYMENT = "ab" * 32, "cd" * 32
TICKET = Ticket("run-1", 0, 0, 1)
NOW = datetime.now(UTC)
MOST_OF_AN_ANSWER = 1_000


def token_of(payload: Any) -> str:
    """Make a token that nobody has signed."""
    parts = (orjson.dumps(payload), b"\0" * TAG_BYTES)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


UNKNOWN_KEY = TokenKey(9, new_token_key(), NOW)
ANOTHER_FIRST = TokenKey(1, new_token_key(), NOW)
FORGED = {
    "no-token": "x",
    "very-long": "x" * 60_000,
    "nobody-signed": token_of(["charge", "run-1", 0, 0, 1]),
    "of-a-job-that-is-unknown": token_of(["chrage", "run-1", 0, 0, 1]),
    "of-a-key-that-is-unknown": write_token(TICKET, "charge", token_key="ef" * 32, by=UNKNOWN_KEY),
    "of-another-first-key": write_token(TICKET, "charge", token_key="ef" * 32, by=ANOTHER_FIRST),
    "no-tag-in-the-payload": token_of(["charge", "run-1", 0, 0, 1, 1, 7]),
    "key-is-a-boolean": token_of(["charge", "run-1", 0, 0, 1, True, "AAAA"]),
}

HUGE = orjson.dumps({f"field{number}": number for number in range(50_000)})


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, with a step that is awaited."""
    async with serving(database, failed_tries_per_minute=0) as served:
        endpoint = Endpoint("http://127.0.0.1:9/", [Secret("whsec_x")], OF_THE_JOB)
        job = Job("charge", CALLBACK, "default", 30.0, {}, endpoint=endpoint)
        await database.transact(put_endpoint, job, brings_secret=True, beat_s=5.0)
        program = await claimed(database, "run-1", jobs=("charge",))
        await stands(database, program, Accepted(within_s=600))
        yield served


@pytest.fixture
async def key(service: Service) -> TokenKey:
    """Return the first key of the deployment."""
    return await service.database.transact(require_token_key, OF_THE_DEPLOYMENT)


async def posted(service: Service, token: str, what: str = "complete") -> Any:
    """Send a callback without a body."""
    return await service.client.post(f"/callbacks/{token}/{what}")


@on_sqlite
@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("what", ["complete", "fail", "heartbeat"])
async def test_forged_token_is_answered_before_the_body_is_read(
    service: Service, key: TokenKey, forged: str, what: str
) -> None:
    del key
    sent: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    path = f"/callbacks/{FORGED[forged]}/{what}"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("192.0.2.1", 50_000),
        "server": ("localhost", 80),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "app": service.app,
    }
    await service.app(scope, receive, send)
    assert sent[0]["status"] == 404
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert len(body) < MOST_OF_AN_ANSWER
    assert orjson.loads(body)["code"] == "bad_token"


@on_sqlite
@pytest.mark.parametrize("body", [HUGE, b"{", b"\xff", b"[" * 100_000], ids=len)
async def test_answer_does_not_depend_on_the_body(
    service: Service, key: TokenKey, body: bytes
) -> None:
    del key
    token = FORGED["of-another-first-key"]
    headers = {"Content-Type": "application/json"}
    answer = await service.client.post(
        f"/callbacks/{token}/complete", content=body, headers=headers
    )
    problem_of(answer, 404, "bad_token")
    assert len(answer.content) < MOST_OF_AN_ANSWER


@on_sqlite
async def test_many_forged_tokens_share_two_queries(
    service: Service, key: TokenKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    del key
    read, asked = Database.read, list[str]()

    async def counted(self: Database, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work.__name__ in {"list_token_keys", "list_endpoints", "find_job", "find"}:
            asked.append(work.__name__)
        return await read(self, work, *args, **kwargs)

    monkeypatch.setattr(Database, "read", counted)
    answers = await asyncio.gather(
        *(posted(service, token) for token in list(FORGED.values()) * 25)
    )
    assert {answer.status_code for answer in answers} == {404}
    # each list once for all that came, and once more for those that came while it was read
    assert len(asked) <= 4, asked


async def test_token_of_the_release_before_is_accepted(service: Service) -> None:
    """Its payload is the shorter one; the key of the job signs it."""
    token = write_token(TICKET, "charge", token_key=OF_THE_JOB)
    assert json_of(await posted(service, token))["status"] == "finished"


async def test_token_of_the_deployment_is_accepted_whatever_key_the_job_has(
    service: Service, key: TokenKey
) -> None:
    """A job that was deleted and registered again has another one."""
    token = write_token(TICKET, "charge", token_key=new_token_key(), by=key)
    assert (await posted(service, token, "heartbeat")).status_code == 200
    assert json_of(await posted(service, token))["status"] == "finished"


async def test_rotation_keeps_older_links_for_a_while(service: Service, key: TokenKey) -> None:
    by_key = write_token(TICKET, "charge", token_key=OF_THE_JOB, by=key)
    by_job = write_token(TICKET, "charge", token_key=OF_THE_JOB)
    rotated = json_of(await service.client.post("/token-keys/rotate"))["keys"]
    assert [each["number"] for each in rotated] == [2, 1]
    assert [each["expires_at"] is None for each in rotated] == [True, False]
    for token in (by_key, by_job):
        assert (await posted(service, token, "heartbeat")).status_code == 200
    assert json_of(await posted(service, by_key))["status"] == "finished"


async def test_rotation_without_an_overlap_ends_all_older_links(
    service: Service, key: TokenKey
) -> None:
    by_key = write_token(TICKET, "charge", token_key=OF_THE_JOB, by=key)
    by_job = write_token(TICKET, "charge", token_key=OF_THE_JOB)
    sent = {"overlap_s": 0}
    rotated = json_of(await service.client.post("/token-keys/rotate", json=sent))["keys"]
    assert [each["number"] for each in rotated] == [2]
    for token in (by_key, by_job):
        problem_of(await posted(service, token), 404, "bad_token")
    (newest,) = await service.database.transact(
        rotate_token_key, "99" * 32, overlap=timedelta()
    )  # by another process: this one learns of the key when its first token comes
    token = write_token(TICKET, "charge", token_key=OF_THE_JOB, by=newest)
    assert json_of(await posted(service, token))["status"] == "finished"


async def test_eleventh_valid_key_is_rejected_and_no_link_ends(
    service: Service, key: TokenKey
) -> None:
    for _ in range(9):
        assert (await service.client.post("/token-keys/rotate")).status_code == 200
    problem_of(await service.client.post("/token-keys/rotate"), 409, "too_many_token_keys")
    token = write_token(TICKET, "charge", token_key=OF_THE_JOB, by=key)
    assert json_of(await posted(service, token))["status"] == "finished"
