"""Links: the service as an endpoint sees it after a 202, played for a few steps.

Bodies are read by the service's own rules, so that what is refused here is refused there.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError

from program_executor.endpoint_check.wire import Request, Response
from program_service.api.bodies import JSON_TYPE, parse
from program_service.api.problems import Problem
from program_service.api.schemas import CompleteRequest, FailRequest, HeartbeatRequest
from program_service.webhooks.caller import LIMIT_BYTES

METHODS = {"complete": "POST", "fail": "POST", "heartbeat": "POST", "job-data": "PATCH"}
BODIES: dict[str, type[BaseModel]] = {
    "complete": CompleteRequest,
    "fail": FailRequest,
    "heartbeat": HeartbeatRequest,
}
ENDINGS = {"complete", "fail"}
STALE = 409
MOST_MOVES = 10
"""How many times the time limit is waited at most, whatever heartbeats say."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an endpoint said by a link, and what it was answered; `attempt` is the link's."""

    link: str
    attempt: int
    status: int
    detail: str
    body: Any = None


@dataclass(slots=True)
class Step:
    """One step of a played program, which is called once or more."""

    timeout_s: float
    is_stale: bool = False
    """Whether completions are answered as if the step had moved on."""
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempt: int = 0
    answered_attempt: int = 0
    """Of the newest call that was answered: the endpoint knows its links for sure."""
    is_ended: bool = False
    said: list[Said] = field(default_factory=list)
    job_data: dict[str, Any] = field(default_factory=dict)
    due_at: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def endings(self) -> list[Said]:
        """What was said to end it, unless it came too late or by the links of an earlier try."""
        said = [each for each in self.said if each.link in ENDINGS]
        return said if self.is_stale else [each for each in said if each.status != STALE]

    def call_again(self) -> None:
        """Begin a try; what ended the step before counts as lost."""
        self.attempt += 1
        self.is_ended = False
        self.prolong()

    def prolong(self) -> None:
        """Count the time limit anew."""
        self.due_at = asyncio.get_running_loop().time() + self.timeout_s

    async def end(self, *, beyond: int = 0) -> Said | None:
        """Wait for more endings than so many and return the next; None: out of time."""
        self.prolong()
        latest = self.due_at + self.timeout_s * (MOST_MOVES - 1)
        while len(self.endings) <= beyond:
            self.changed.clear()
            until = min(self.due_at, latest)
            try:
                async with asyncio.timeout_at(until):
                    await self.changed.wait()
            except TimeoutError:
                if until in {self.due_at, latest}:  # no heartbeat has moved it
                    return None
        return self.endings[beyond]


@dataclass(slots=True)
class Links:
    """Hands out links and answers what comes to them."""

    base: str = ""
    steps: dict[str, tuple[Step, int]] = field(default_factory=dict)
    """{token: (step, attempt)}"""
    strays: list[str] = field(default_factory=list)
    """What was asked for and is no link."""

    def of(self, step: Step) -> dict[str, str]:
        """Make the links of a step's newest try."""
        token = secrets.token_urlsafe(24)
        self.steps[token] = (step, step.attempt)
        base = f"{self.base}/callbacks/{token}"
        return {link.replace("-", "_"): f"{base}/{link}" for link in METHODS}

    def answer(self, request: Request) -> Response:
        """Answer as the service would."""
        *before, token, link = ["", "", *request.path.split("/")]
        found = self.steps.get(token)
        if found is None or link not in METHODS or before[-1] != "callbacks":
            self.strays.append(f"{request.method} {request.path}")
            return _problem(404, "bad_token", "This is no link of a call.")
        step, attempt = found
        response, body = _answered(step, attempt, link, request)
        detail = str(response.content.get("detail", ""))
        step.said.append(Said(link, attempt, response.status, detail, body))
        step.changed.set()
        return response


def _answered(step: Step, attempt: int, link: str, request: Request) -> tuple[Response, Any]:
    try:
        body = _body(link, request)
    except Problem as problem:
        return _problem(problem.status_code, problem.code, str(problem.detail)), None
    is_newest = attempt >= step.answered_attempt
    is_moved_on = step.is_ended or (step.is_stale and link in ENDINGS)
    if is_moved_on or not (is_newest or link == "complete"):
        return _problem(STALE, "stale_step", "The step has moved on."), body
    return Response(200, ACTIONS[link](step, body)), body


def _body(link: str, request: Request) -> Any:
    """Read a body as strictly as the service does.

    Raises:
        Problem: it refuses it.
    """
    if request.method != METHODS[link]:
        detail = f"The link takes {METHODS[link]}, and not {request.method}."
        raise Problem(405, "method_not_allowed", detail)
    if len(request.body) > LIMIT_BYTES:
        raise Problem(413, "body_too_large", f"The body is longer than {LIMIT_BYTES} bytes.")
    if not request.body and link in {"complete", "heartbeat"}:
        return {}
    if not JSON_TYPE.fullmatch(request.headers.get("content-type", "")):
        raise Problem(415, "not_json", "Send it with the header `Content-Type: application/json`.")
    body = parse(request.body)
    if link == "job-data" and not isinstance(body, dict):
        raise Problem(422, "invalid", "The body must be a JSON object.")
    if link in BODIES and not (body is None and link != "fail"):
        try:
            BODIES[link].model_validate(body)
        except ValidationError as error:
            raise Problem(422, "invalid", _words(error)) from error
    return body


def _words(error: ValidationError) -> str:
    """Say what does not fit, without the body itself."""
    places = ((".".join(map(str, each["loc"])), each["msg"]) for each in error.errors())
    return "; ".join(f"{place}: {message}" if place else message for place, message in places)


def _end(step: Step, _body: Any) -> dict[str, Any]:
    step.is_ended = True
    return {"run_id": step.run_id, "status": "running"}


def _prolong(step: Step, _body: Any) -> dict[str, Any]:
    step.prolong()
    deadline = datetime.now(UTC) + timedelta(seconds=step.timeout_s)
    return {"deadline": deadline.isoformat()}


def _merge(step: Step, body: Any) -> dict[str, Any]:
    step.job_data |= body
    return {"job_data": step.job_data}


ACTIONS: dict[str, Callable[[Step, Any], dict[str, Any]]] = {
    "complete": _end,
    "fail": _end,
    "heartbeat": _prolong,
    "job-data": _merge,
}


def _problem(status: int, code: str, detail: str) -> Response:
    title = HTTPStatus(status).phrase
    fields = {"type": "about:blank", "title": title, "status": status}
    return Response(status, {**fields, "detail": detail, "code": code})
