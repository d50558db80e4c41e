"""Playing: a small worker that calls an endpoint, and a small service that its links lead to."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from patience import eventually
from program_executor.processes import address, listen
from program_executor.web import server
from program_service.webhooks.signing import signature_headers

Json = dict[str, Any]

SECRET = "whsec_" + "ZW5kcG9pbnQt" * 3
OTHER_SECRET = "whsec_" + "b3RoZXItb25l" * 3
METHODS = {"job-data": "PATCH", "heartbeat": "POST", "complete": "POST", "fail": "POST"}
NUMBERS = count(int(time.time()))


@dataclass(frozen=True, slots=True)
class Said:
    """What an endpoint said by a link; `attempt` is of the call that had the link."""

    run_id: str
    attempt: int
    link: str
    body: Json


@dataclass
class PlayedService:
    """Answers links, and remembers what was said."""

    url: str = ""
    said: list[Said] = field(default_factory=list)
    job_data: dict[str, Json] = field(default_factory=dict)
    moved_on: set[tuple[str, int]] = field(default_factory=set)
    """{(run_id, attempt)} whose links are answered 409."""
    unwell: int = 0
    """How many of the next requests are answered 503."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, heartbeats and job data are not answered; a test may close it."""
    waiting: int = 0
    """How many are waiting at the gate."""

    def heard(self, run_id: str, link: str) -> list[Said]:
        """Return what was said of a step by this link."""
        return [each for each in self.said if (each.run_id, each.link) == (run_id, link)]

    async def hear(self, run_id: str, link: str, times: int = 1) -> list[Said]:
        """Wait until something was said so many times, and return it."""

        async def found() -> list[Said]:
            heard = self.heard(run_id, link)
            return heard if len(heard) >= times else []

        return await eventually(found)

    async def answer(self, request: Request, run_id: str, attempt: int, link: str) -> JSONResponse:
        """Answer a request to a link."""
        assert request.headers["content-type"] == "application/json"
        if self.unwell > 0:
            self.unwell -= 1
            return JSONResponse({}, 503)
        if METHODS.get(link) != request.method:
            return JSONResponse({"code": "method_not_allowed"}, 405)
        if (run_id, attempt) in self.moved_on:
            return JSONResponse({"code": "stale_step"}, 409)
        self.said.append(Said(run_id, attempt, link, await request.json()))
        if link in {"heartbeat", "job-data"}:
            self.waiting += 1
            await self.gate.wait()
            self.waiting -= 1
        merged = self.job_data.setdefault(run_id, {})
        if link == "job-data":
            merged |= self.said[-1].body
        return JSONResponse({"job_data": merged})


@asynccontextmanager
async def played_service() -> AsyncGenerator[PlayedService]:
    """Serve links on a free port; the gate is open."""
    played = PlayedService()
    played.gate.set()
    app = FastAPI(openapi_url=None)

    @app.api_route("/callbacks/{run_id}.{attempt}/{link}", methods=["POST", "PATCH"])
    async def answer(request: Request, run_id: str, attempt: int, link: str) -> JSONResponse:
        return await played.answer(request, run_id, attempt, link)

    listener = listen("127.0.0.1", 0)
    played.url = address(listener)
    api = server(app, keep_lifespan=False)
    serving = asyncio.create_task(api.serve([listener]))
    try:
        yield played
    finally:
        played.gate.set()
        api.should_exit = True
        await serving


@dataclass
class Step:
    """One step, that is called as a worker calls it, any number of times."""

    url: str
    service: PlayedService
    job: str
    program_data: Json = field(default_factory=dict)
    timeout_s: float = 30.0
    attempt: int = 0
    run_id: str = field(default_factory=lambda: f"run-{next(NUMBERS)}")

    async def call(
        self, *, age_s: int = 0, secrets: tuple[str, ...] = (SECRET,), spoil: bytes = b""
    ) -> httpx.Response:
        """Call once more; the body is spoiled after it was signed."""
        self.attempt += 1
        sent_at = int(time.time()) - age_s
        body = json.dumps(self._body(sent_at)).encode()
        headers = signature_headers(
            secrets, message_id=f"{self.run_id}-1", timestamp=sent_at, body=body
        )
        headers |= {"content-type": "application/json", "idempotency-key": f"{self.run_id}-1"}
        async with httpx.AsyncClient(timeout=60) as client:
            return await client.post(self.url, content=body + spoil, headers=headers)

    def _body(self, sent_at: int) -> Json:
        base = f"{self.service.url}/callbacks/{self.run_id}.{self.attempt}"
        links = ("job-data", "heartbeat", "complete", "fail")
        return {
            "type": "job.execute",
            "run_id": self.run_id,
            "job": self.job,
            "step": 1,
            "attempt": self.attempt,
            "jobs": ["earlier", self.job, "later"],
            "program_data": self.program_data,
            "job_data": self.service.job_data.get(self.run_id, {}),
            "deadline": datetime.fromtimestamp(sent_at + self.timeout_s, UTC).isoformat(),
            "links": {link.replace("-", "_"): f"{base}/{link}" for link in links},
        }
