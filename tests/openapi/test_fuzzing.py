"""Fuzzing: Schemathesis sends what the document allows and what it forbids, and finds nothing."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builders import JOBS
from contracts import operations
from program_service.api.auth import digest_of, new_key
from program_service.api.contract.examples import SECRET
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.api_keys import ID_DIGITS
from program_service.bookkeeping.ledger.auditing import Entry
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.registry import find_job
from program_service.bookkeeping.ledger.sessions import NewSession, begin_session
from program_service.webhooks.tokens import read_token, write_token
from servers import on_sqlite
from serving import Service, on_a_socket, serving

ROOT = Path(__file__).parents[2]
FILE = ROOT / "openapi" / "program-executor.json"
DOCUMENT = json.loads(FILE.read_bytes())
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"

EXAMPLES = 200
SEED = 7

OFTEN = 3
"""So often at least each operation shall be answered 2xx; without any input more is not tried."""

ENDABLE = 50
"""Keys, and sessions, that a caller may end."""

OF_KEYS = {"post /keys", "delete /keys/{key_id}"}
"""Operations that are not tried without keys: the first key would close the service."""

AWAITED = 500
"""Steps that a caller has tokens of."""

KEY = new_key("fuzz")

WHO = {"open": ("", None), "keyed": (f"fuzz=admin:{digest_of(KEY)}", KEY)}
"""The API_KEYS of a service, and the key that is sent to it."""


@pytest.fixture(params=WHO)
def who(request: pytest.FixtureRequest) -> str:
    """Return whether the service has keys."""
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Target:
    """A service, where it is, and what a caller knows besides the document."""

    service: Service
    url: str
    tokens: Sequence[str]
    ended: str
    open: str
    keys: Sequence[str]
    sessions: Sequence[str]

    def answered(self) -> dict[str, int]:
        """Return how often each operation was answered 2xx."""
        counted = {(operation.method, operation.path): 0 for operation in operations(DOCUMENT)}
        for family in self.service.metrics.registry.collect():
            for sample in family.samples:
                said = sample.labels
                if sample.name.endswith("http_requests_total") and said["code"].startswith("2"):
                    place = (said["method"].lower(), said["route"])
                    counted[place] = counted.get(place, 0) + int(sample.value)
        return {f"{method} {path}": count for (method, path), count in counted.items()}


@pytest.fixture
async def target(database: Database, who: str) -> AsyncIterator[Target]:
    """Serve so that most of what fits is accepted: any job is known, and tokens may fail."""
    settings: dict[str, Any] = {
        "unknown_jobs": "accept",
        "notify_secret": SECRET,
        "max_wait_s": 0.2,
        "failed_tries_per_minute": 0,
    }
    keys, key = WHO[who]
    async with (
        serving(database, jobs=JOBS, api_keys=keys, **settings) as service,
        on_a_socket(service) as address,
    ):
        if key:
            service.client.headers["Authorization"] = f"Bearer {key}"
        ended = (await service.submit())["run_id"]
        await service.cancel(ended)
        tokens = await _tokens(service)
        run_id = read_token(tokens[0]).ticket.run_id
        made = await _keys(service) if key else []
        yield Target(service, address, tokens[1:], ended, run_id, made, await _sessions(service))


async def _keys(service: Service) -> list[str]:
    """Make keys that can be revoked, and return their ids."""
    made = [
        await service.client.post("/keys", json={"name": f"mailer_{number}", "scopes": ["read"]})
        for number in range(ENDABLE)
    ]
    return [each.json()["id"] for each in made]


async def _sessions(service: Service) -> list[str]:
    """Begin sessions that can be ended, and return their ids."""
    sessions = [
        NewSession(digest_of(new_key("fuzz")), digest_of(KEY), "fuzz") for _ in range(ENDABLE)
    ]
    for each in sessions:
        entry = Entry("signed_in", "fuzz", "127.0.0.1")
        await service.database.transact(begin_session, each, entry, lasts_s=3_600.0)
    return [each.digest[:ID_DIGITS] for each in sessions]


async def _tokens(service: Service) -> list[str]:
    """Return tokens of steps that wait to be done, each of another program."""
    put = await service.client.put("/jobs/print", json={"url": "https://print.example/"})
    programs = [{"jobs": ["print", "print"]}] * AWAITED
    batch = await service.client.post("/programs/batch", json={"programs": programs})
    assert (put.status_code, batch.status_code) == (201, 201)
    endpoint = (await service.database.read(find_job, "print")).endpoint
    assert endpoint is not None
    return [
        write_token(Ticket(each["run_id"], 0, 0, 1), "print", token_key=endpoint.token_key)
        for each in batch.json()["programs"]
    ]


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_schemathesis_finds_nothing_in_many_examples(target: Target, who: str) -> None:
    await _fuzz(target, WHO[who][1], examples=EXAMPLES)
    _require_all_answered(target, but=set() if WHO[who][1] else OF_KEYS)


@on_sqlite
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", ["keyed"], indirect=True)
async def test_strangers_find_nothing_in_many_examples(target: Target) -> None:
    await _fuzz(target, None, examples=EXAMPLES)


def _require_all_answered(target: Target, *, but: set[str]) -> None:
    """Require that no operation was only ever refused."""
    answered = target.answered()
    print(answered)
    assert [name for name in answered.keys() - but if answered[name] < OFTEN] == []


async def _fuzz(target: Target, key: str | None, *, examples: int) -> None:
    words = [
        f"--config-file={ROOT / 'openapi' / 'schemathesis.toml'}",
        "run",
        str(FILE),
        f"--url={target.url}",
        f"--max-examples={examples}",
        f"--seed={SEED}",
        *([f"--header=Authorization: Bearer {key}"] if key else []),
    ]
    running = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        *words,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT / "tests"),
            "FUZZ_TOKENS": " ".join(target.tokens),
            "FUZZ_ENDED": target.ended,
            "FUZZ_OPEN": f"{target.open} print",
            "FUZZ_SESSIONS": " ".join(target.sessions),
        }
        | ({"FUZZ_KEYS": " ".join(target.keys)} if target.keys else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    print(said.decode())
    assert running.returncode == 0
