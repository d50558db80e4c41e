"""Serving: the real application in process, asked over HTTP without a socket."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from patience import eventually, in_own_task
from program_executor.processes import address, listen
from program_executor.web import server
from program_service.api.problems import cut
from program_service.app import create_app
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.registry import Job, register_jobs
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Wakeup
from program_service.wakeups.memory import MemoryBroker
from stage import Crew, quick_settings

Json = dict[str, Any]

URL = "http://localhost"
LONGEST_WAIT_S = 30
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "code"}


@dataclass(frozen=True, slots=True)
class Service:
    """A service, a client that asks it, and the workers beside it."""

    app: FastAPI
    client: httpx.AsyncClient
    database: Database
    broker: MemoryBroker
    metrics: Metrics
    crew: Crew

    async def submit(self, *jobs: str, **fields: Any) -> Json:
        """Submit a program and return it."""
        answer = await self.client.post("/programs", json={"jobs": jobs or ["reserve"], **fields})
        assert answer.status_code == 201, answer.text
        return json_of(answer)

    async def get(self, run_id: str, *, wait_s: int = 0) -> Json:
        """Return a program, at once or when it has ended."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        answer = await self.client.get(f"/programs/{run_id}", headers=headers)
        assert answer.status_code == 200, answer.text
        return json_of(answer)

    async def running(self, *jobs: str) -> str:
        """Submit a program, wait until it runs, and return its run_id."""
        run_id = str((await self.submit(*jobs))["run_id"])
        await eventually(lambda: self.has_status(run_id, "running"))
        return run_id

    async def cancel(self, run_id: str) -> Json:
        """Cancel a program and return it."""
        answer = await self.client.post(f"/programs/{run_id}/cancel")
        assert answer.status_code == 200, answer.text
        return json_of(answer)

    async def has_status(self, run_id: str, status: str) -> bool:
        """Say whether a program has this status by now."""
        self.crew.look_alive()
        return bool((await self.get(run_id))["status"] == status)

    async def ended(self, run_id: str) -> Json:
        """Wait until a program has ended, and return it."""
        program = await self.get(run_id, wait_s=LONGEST_WAIT_S)
        self.crew.look_alive()
        assert program["status"] in {"finished", "errored", "cancelled"}
        return program

    async def explain(self, run_id: str) -> Json:
        """Ask why a program is not moving."""
        answer = await self.client.get(f"/programs/{run_id}/explain")
        assert answer.status_code == 200, answer.text
        return json_of(answer)


def json_of(answer: httpx.Response) -> Json:
    """Return the JSON object of an answer."""
    content = answer.json()
    assert isinstance(content, dict)
    return content


def problem_of(answer: httpx.Response, status: int, code: str) -> Json:
    """Return an answer that must be this problem, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json_of(answer)
    assert problem.keys() - {"errors"} == PROBLEM_FIELDS
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"].endswith(code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == cut(answer.request.url.path)
    return problem


def fields_of(problem: Json) -> dict[str, Json]:
    """Return {field: what is wrong with it}."""
    return {each["field"]: each for each in problem["errors"]}


async def register(database: Database, *names: str, queue: str = "default") -> None:
    """Make jobs known, as a worker does that has gone since."""
    jobs = [Job(name, "in_process", queue, None, {}) for name in names]
    await database.transact(register_jobs, jobs)


@asynccontextmanager
async def _served(
    database: Database, broker: MemoryBroker, settings: Json
) -> AsyncGenerator[Service]:
    metrics = Metrics()
    # the tables are there, and a test may want them not to be
    chosen = quick_settings(**({"migrate_on_start": False} | settings))
    app = create_app(chosen, database=database, broker=broker, metrics=metrics)
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url=URL, timeout=60)
    async with app.router.lifespan_context(app), client:
        crew = Crew(database, broker)
        yield Service(app, client, database, broker, metrics, crew)
        await crew.stop()


class DownBroker(MemoryBroker):
    """A broker that confirms nothing and does not answer."""

    async def publish(self, wakeups: Sequence[Wakeup]) -> list[bool]:
        """Confirm nothing."""
        return [False] * len(wakeups)

    async def depth(self, queue: str) -> int | None:
        """Say nothing."""
        del queue
        return None


@asynccontextmanager
async def serving(
    database: Database,
    *,
    jobs: Sequence[str] = (),
    broker: MemoryBroker | None = None,
    **settings: Any,
) -> AsyncGenerator[Service]:
    """Serve, with these jobs known and these settings; workers are stopped at the end."""
    if jobs:
        await register(database, *jobs)
    served = _served(database, broker or MemoryBroker(), settings)
    async with in_own_task(served) as service:
        yield service


@asynccontextmanager
async def on_a_socket(service: Service) -> AsyncGenerator[str]:
    """Serve on a real socket too; yield the address."""
    listener = listen("127.0.0.1", 0)
    api = server(service.app, keep_lifespan=False)
    serving_too = asyncio.create_task(api.serve([listener]))
    try:
        yield address(listener)
    finally:
        api.should_exit = True
        await serving_too
