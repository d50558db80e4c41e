"""Odd rows: good rows of every table, to be written into, and what is then done with them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import sqlalchemy as sa

from asking_everywhere import Everywhere
from builders import seconds_ago
from patience import eventually
from program_executor import JobContext, job
from program_service.api.auth import digest_of
from program_service.bookkeeping.ledger.auditing import Entry
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.counting import Tally
from program_service.bookkeeping.ledger.counting import count as count_tallies
from program_service.bookkeeping.ledger.sessions import NewSession, begin_session
from program_service.bookkeeping.ledger.token_keys import TokenKey, require_token_key
from program_service.bookkeeping.ledger.workers import Worker, beat
from program_service.webhooks.tokens import new_token_key, write_token
from serving import Service, register

_key_ids = count(2)

NEVER = "2099-01-01T00:00:00Z"
ENDPOINT = {"url": "https://endpoint.invalid/"}


class Gate:
    """A job whose steps run until they are let go."""

    def __init__(self) -> None:
        """Begin closed."""
        self._opened = asyncio.Event()
        self.job = job("hold")(self._run)

    async def _run(self, _ctx: JobContext) -> None:
        await self._opened.wait()

    def let_go(self) -> None:
        """Let those go that run, and no later ones."""
        self._opened.set()
        self._opened = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Scene:
    """Where rows are written into."""

    service: Service
    everywhere: Everywhere
    gate: Gate

    async def submit(self, number: int, *jobs: str, **fields: Any) -> list[str]:
        """Submit so many programs."""
        program = {"jobs": jobs, "labels": {"tenant": "acme"}, **fields}
        body = {"programs": [program] * number}
        answer = await self.service.client.post("/programs/batch", json=body)
        assert answer.status_code == 201, answer.text
        return [each["run_id"] for each in answer.json()["programs"]]

    async def each(self, method: str, paths: str, keys: Sequence[str], **sent: Any) -> list[Any]:
        """Ask for a path of each row, and return what was found."""
        return [
            await self.everywhere.ask(
                method, paths.format(key), after="it was written into", **sent
            )
            for key in keys
        ]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table in one state: how to make some, and how to go on with them."""

    table: str
    key: str
    """The column that finds one, and what the paths call it."""
    make: Callable[[Scene, int], Awaitable[Sequence[str]]]
    go_on: Callable[[Scene, Sequence[str]], Awaitable[object]]


async def _waiting(scene: Scene, number: int) -> Sequence[str]:
    return await scene.submit(number, "reserve", start_at=NEVER)


async def _cancelled(scene: Scene, number: int) -> Sequence[str]:
    run_ids = await _waiting(scene, number)
    for run_id in run_ids:
        await scene.service.cancel(run_id)
    return run_ids


async def _finished(scene: Scene, number: int) -> Sequence[str]:
    run_ids = await scene.submit(number, "reserve")
    for run_id in run_ids:
        await scene.service.ended(run_id)
    return run_ids


async def _running(scene: Scene, number: int) -> Sequence[str]:
    run_ids = await scene.submit(number, "hold", "reserve")
    for run_id in run_ids:
        await eventually(partial(scene.service.has_status, run_id, "running"))
    return run_ids


async def _keys(scene: Scene, number: int) -> Sequence[str]:
    keys = [uuid.uuid4().hex for _ in range(number)]
    for key in keys:
        await _submit_with(scene, key)
    return keys


async def _endpoints(scene: Scene, number: int) -> Sequence[str]:
    names = [f"endpoint-{uuid.uuid4().hex}" for _ in range(number)]
    for name in names:
        answer = await scene.service.client.put(f"/jobs/{name}", json=ENDPOINT)
        assert answer.status_code == 201, answer.text
    return names


async def _jobs(scene: Scene, number: int) -> Sequence[str]:
    names = [f"job-{uuid.uuid4().hex}" for _ in range(number)]
    await register(scene.service.database, *names)
    return names


async def _workers(scene: Scene, number: int) -> Sequence[str]:
    names = [f"gone-{uuid.uuid4().hex}" for _ in range(number)]
    for name in names:
        worker = Worker(name, "host", "1", ["default"], ["reserve"], 9, 1, {}, process=name)
        await scene.service.database.transact(beat, worker)
    return names


async def _rollups(scene: Scene, number: int) -> Sequence[str]:
    names = [f"counted-{uuid.uuid4().hex}" for _ in range(number)]
    tallies = [Tally(name, "done", "worker-1", 1) for name in names]
    await scene.service.database.transact(count_tallies, tallies)
    return names


async def _token_keys(scene: Scene, number: int) -> Sequence[str]:
    database, rows = scene.service.database, list[dict[str, Any]]()
    for _ in range(number):
        fields = {"id": next(_key_ids), "secret": new_token_key(), "created_at": datetime.now(UTC)}
        rows.append(fields)
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.token_keys), rows)
    return [row["secret"] for row in rows]


async def _api_keys(scene: Scene, number: int) -> Sequence[str]:
    keys = []
    for _ in range(number):
        body = {"name": "odd", "scopes": ["submit"]}
        answer = await scene.service.client.post("/keys", json=body)
        assert answer.status_code == 201, answer.text
        keys.append(digest_of(answer.json()["key"]))
    return keys


async def _revoke(scene: Scene, digests: Sequence[str]) -> None:
    await scene.each("DELETE", "/keys/{:.16}", digests[::2])
    await scene.everywhere.look_at_lists("keys were revoked")


async def _sessions(scene: Scene, number: int) -> Sequence[str]:
    digests = [digest_of(uuid.uuid4().hex) for _ in range(number)]
    for digest in digests:
        new = NewSession(digest, digest, "odd")
        entry = Entry("signed_in", "odd", "127.0.0.1")
        await scene.service.database.transact(begin_session, new, entry, lasts_s=300.0)
    return digests


async def _end(scene: Scene, digests: Sequence[str]) -> None:
    await scene.each("DELETE", "/sessions/{:.16}", digests[::2])


async def _entries(scene: Scene, number: int) -> Sequence[str]:
    (run_id,) = await _waiting(scene, 1)
    entries = [Entry("odd", "odd", "127.0.0.1", run_id=run_id) for _ in range(number)]
    for entry in entries:
        new = NewSession(digest_of(entry.id), "odd", "odd")
        await scene.service.database.transact(begin_session, new, entry, lasts_s=1.0)
    return [entry.id for entry in entries]


async def _cancel(scene: Scene, run_ids: Sequence[str]) -> None:
    await scene.each("PUT", "/programs/{}/job-data/reserve", run_ids, json={"a": 1})
    await scene.each("PATCH", "/programs/{}/job-data/reserve", run_ids, json={"a": None})
    await scene.each("POST", "/programs/{}/cancel", run_ids)


async def _resume(scene: Scene, run_ids: Sequence[str]) -> None:
    await scene.each("POST", "/programs/{}/resume", run_ids)


async def _let_run(scene: Scene, run_ids: Sequence[str]) -> None:
    database = scene.service.database
    programs = database.tables.programs
    come_due = sa.update(programs).where(programs.c.run_id.in_(run_ids))
    async with database.engine.begin() as connection:
        await connection.execute(come_due.values(due_at=seconds_ago(database, 1)))


async def _let_go(scene: Scene, run_ids: Sequence[str]) -> None:
    await scene.each("GET", "/programs/{}", run_ids)
    scene.gate.let_go()


async def _submit_again(scene: Scene, keys: Sequence[str]) -> None:
    for key in keys:
        await _submit_with(scene, key)
        await _submit_with(scene, key, program_data={"another": "body"})


async def _submit_with(scene: Scene, key: str, **fields: Any) -> None:
    headers, body = {"Idempotency-Key": f'"{key}"'}, {"jobs": ["reserve"], **fields}
    after = "its key was written into"
    await scene.everywhere.ask("POST", "/programs", after=after, headers=headers, json=body)


async def _call(scene: Scene, names: Sequence[str]) -> None:
    for name in names:
        program = await scene.everywhere.ask("POST", "/programs", after=name, json={"jobs": [name]})
        if program is not None:
            await scene.everywhere.look_at(
                {"run_id": program["run_id"]}, "its job was written into"
            )


async def _call_and_replace(scene: Scene, names: Sequence[str]) -> None:
    await _call(scene, names)
    await scene.each("POST", "/jobs/{}/rotate-secret", names)
    await scene.each("PUT", "/jobs/{}", names[::2], json=ENDPOINT)
    await scene.each("DELETE", "/jobs/{}", names[1::3])
    await scene.everywhere.look_at_lists("jobs were replaced and deleted")


async def _call_back(scene: Scene, _secrets: Sequence[str]) -> None:
    """Send a token of each key, and of none: whatever is stored, it is a bad token."""
    ticket, endpoint = Ticket("nobody", 0, 0, 1), "ab" * 32
    for key_id in range(1, 5):
        by = TokenKey(key_id, endpoint, datetime.now(UTC))
        token = write_token(ticket, "reserve", token_key=endpoint, by=by)
        answer = await scene.service.client.post(f"/callbacks/{token}/complete")
        assert answer.status_code in {404, 429}, answer.text
    await scene.service.database.transact(require_token_key, new_token_key())


async def _rest(_scene: Scene, _keys: Sequence[str]) -> None:
    await asyncio.sleep(0)


ROWS = {
    "programs that wait": Rows("programs", "run_id", _waiting, _cancel),
    "programs that come due": Rows("programs", "run_id", _waiting, _let_run),
    "programs that run": Rows("programs", "run_id", _running, _let_go),
    "programs that were cancelled": Rows("programs", "run_id", _cancelled, _resume),
    "programs that finished": Rows("programs", "run_id", _finished, _resume),
    "attempts": Rows("attempts", "run_id", _finished, _resume),
    "idempotency": Rows("idempotency", "key", _keys, _submit_again),
    "jobs with an endpoint": Rows("jobs", "name", _endpoints, _call_and_replace),
    "jobs of workers": Rows("jobs", "name", _jobs, _call),
    "workers": Rows("workers", "name", _workers, _rest),
    "rollups": Rows("rollups", "job", _rollups, _rest),
    "token keys": Rows("token_keys", "secret", _token_keys, _call_back),
    "keys": Rows("keys", "digest", _api_keys, _revoke),
    "sessions": Rows("sessions", "digest", _sessions, _end),
    "audit": Rows("audit", "id", _entries, _rest),
}
