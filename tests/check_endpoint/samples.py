"""Samples: endpoints that do everything right, for tests to spoil one thing each."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

from endpoint_server import Call, Reply
from program_executor.endpoint_check.findings import Report

SECRET = "whsec_" + "ZW5kcG9pbnQt" * 3
REFUSED = Reply(401, {"detail": "the signature does not fit"})

Answer = Callable[[Call], Awaitable[Reply]]
Check = Callable[..., Awaitable[Report]]


def is_ours(call: Call) -> bool:
    """Say whether a call was signed with our secret, by a library of the standard's own."""
    try:
        Webhook(SECRET).verify(call.body, call.headers)
    except WebhookVerificationError:
        return False
    return True


@dataclass
class RightEndpoint:
    """Verifies, deduplicates, and answers at once."""

    result: Reply = field(default_factory=lambda: Reply(200, {"job_data": {"total": 3}}))
    verify: Callable[[Call], bool] = is_ours
    runs: int = 0
    answers: dict[str, Reply] = field(default_factory=dict)

    async def __call__(self, call: Call) -> Reply:
        if not self.verify(call):
            return REFUSED
        key = call.headers["webhook-id"]
        if key not in self.answers:
            self.runs += 1
            self.answers[key] = self.result
        return self.answers[key]


@dataclass
class LateEndpoint:
    """Verifies, answers 202, and completes when it may; a step that is called again goes on."""

    completion: Any = field(default_factory=lambda: {"job_data": {"total": 3}})
    link: str = "complete"
    heartbeats: int = 0
    pause_s: float = 0.0
    """Before each heartbeat of the first run."""
    verify: Callable[[Call], bool] = is_ours
    newest: dict[str, dict[str, str]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, call: Call) -> Reply:
        if not self.verify(call):
            return REFUSED
        key = call.headers["webhook-id"]
        if key in self.done:
            return Reply(200, {"job_data": {"total": 3}})
        is_new = key not in self.newest
        self.newest[key] = call.links
        if is_new:
            task = asyncio.create_task(self._run(key))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return Reply(202, {})

    async def _run(self, key: str) -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(self.heartbeats):
                await asyncio.sleep(0 if self.done else self.pause_s)
                await client.post(self.newest[key]["heartbeat"], json={})
                await client.patch(self.newest[key]["job_data"], json={"page": 1})
            self.done.add(key)
            answer = await client.post(self.newest[key][self.link], json=self.completion)
            self.statuses.append(answer.status_code)


def found(report: Report, verdict: str) -> dict[str, str]:
    """Return {check: what was said} of the findings of a kind."""
    return {each.check: each.text for each in report.findings if each.verdict == verdict}
