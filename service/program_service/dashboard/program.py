"""Program: one program's whole life, and what can be done about it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from program_service.api.explain import explained
from program_service.api.programs import RunId
from program_service.api.seen import shown_to
from program_service.api.steering import cancel_now, resume_now
from program_service.bookkeeping.ledger.attempts import page_of_attempts
from program_service.bookkeeping.ledger.auditing import AuditFilter, list_entries
from program_service.bookkeeping.ledger.reading import Attempt, Program
from program_service.bookkeeping.lifecycle import Status
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import (
    OURS,
    Form,
    Found,
    PageRoute,
    Steersman,
    Viewer,
    because,
)
from program_service.dashboard.filters import number_of
from program_service.dashboard.pages import ONE, page, to_program
from program_service.dashboard.timeline import Span, timeline, totals

router = APIRouter(route_class=PageRoute, include_in_schema=False)

WIDTH = 1000
"""Units of the timeline's drawing."""

NARROWEST = 4

MOST_ATTEMPTS = 200
MOST_LOGS = 20
MOST_AUDITED = 20
TREE_BYTES = 32_768
"""Above this, data is shown as a text, and cut: a tree of a megabyte stops a browser."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn, from `x` on, in units of the drawing."""

    x: int
    width: int
    span: Span


@dataclass(frozen=True, slots=True)
class StepView:
    """A step on the rail: `state` is done, current or to-come."""

    index: int
    job: str
    state: str
    bars: Sequence[Bar]
    tries: int
    running_s: float


@router.get(f"{ONE}/cancel")
async def ask_to_cancel(request: Request, program: Found, caller: Steersman) -> Response:
    """Ask once, and say what will happen."""
    del caller
    return page(request, "cancel.html", program=program)


@router.post(f"{ONE}/cancel", dependencies=OURS)
async def cancel_it(
    run_id: RunId, request: Request, board: Boarding, form: Form, actor: Steersman
) -> Response:
    """Cancel the program."""
    await cancel_now(board.services, run_id, because(actor, form))
    return to_program(request, run_id)


@router.get(f"{ONE}/resume")
async def ask_to_resume(request: Request, program: Found, caller: Steersman) -> Response:
    """Ask from which step, and say what will happen."""
    del caller
    return page(request, "resume.html", program=program)


@router.post(f"{ONE}/resume", dependencies=OURS)
async def resume_it(
    run_id: RunId, request: Request, board: Boarding, form: Form, actor: Steersman
) -> Response:
    """Resume the program, from the step that was chosen."""
    from_step = number_of(form.get("from_step", ""))
    await resume_now(board.services, run_id, because(actor, form), from_step=from_step)
    return to_program(request, run_id)


@router.get(ONE)
async def program_page(
    request: Request, program: Found, board: Boarding, caller: Viewer
) -> Response:
    """Show steps, times, tries, data and the reason why it does not move."""
    (program,) = await shown_to(board.services, caller, [program])
    now = datetime.now(UTC)
    tries = await board.services.database.read(
        page_of_attempts, program.run_id, limit=MOST_ATTEMPTS, is_newest_first=True
    )
    attempts, has_older = tries.attempts[::-1], tries.next_cursor is not None
    spans = timeline(program, attempts, now=now, is_whole=not has_older)
    of_program = AuditFilter(run_id=program.run_id)
    audited = await board.services.database.read(list_entries, of_program, limit=MOST_AUDITED)
    return page(
        request,
        "program.html",
        program=program,
        attempts=attempts,
        audited=audited,
        most_logs=MOST_LOGS,
        has_older=has_older,
        steps=_steps(program, attempts, spans),
        width=WIDTH,
        totals=totals(spans),
        explanation=await explained(board.services, program),
        data={"program_data": program.program_data, "job_data": program.job_data},
        is_small=len(orjson.dumps([program.program_data, program.job_data])) <= TREE_BYTES,
        most_text=TREE_BYTES,
        curl=as_curl(program, str(request.base_url)),
        now=now,
    )


def as_curl(program: Program, url: str) -> str:
    """Return the command that submits the same program again."""
    body: dict[str, Any] = {"jobs": program.jobs}
    for name in ("program_data", "labels", "notify"):
        if value := getattr(program, name):
            body[name] = value
    words = ["curl", "-X", "POST", f"{url.rstrip('/')}/programs"]
    words += ["-H", "Content-Type: application/json", "-d", orjson.dumps(body).decode()]
    return shlex.join(words)


def _steps(program: Program, attempts: Sequence[Attempt], spans: Sequence[Span]) -> list[StepView]:
    drawn: dict[int, list[Bar]] = {}
    for bar in _bars(spans):
        drawn.setdefault(bar.span.step, []).append(bar)
    tries: dict[int, int] = {}
    for attempt in attempts:
        tries[attempt.step] = tries.get(attempt.step, 0) + 1
    return [
        StepView(
            index=index,
            job=job,
            state=_state(program, index),
            bars=drawn.get(index, []),
            tries=tries.get(index, 0),
            running_s=sum(bar.span.seconds for bar in drawn.get(index, []) if bar.span.outcome),
        )
        for index, job in enumerate(program.jobs)
    ]


def _state(program: Program, index: int) -> str:
    if index < program.step or program.status is Status.FINISHED:
        return "done"
    return "current" if index == program.step else "to-come"


def _bars(spans: Sequence[Span]) -> list[Bar]:
    if not spans:
        return []
    begin = spans[0].begin
    whole_s = max(0.001, (spans[-1].end - begin).total_seconds())
    bars = []
    for span in spans:
        x = int((span.begin - begin).total_seconds() / whole_s * WIDTH)
        width = max(NARROWEST, round(span.seconds / whole_s * WIDTH))
        bars.append(Bar(min(x, WIDTH - NARROWEST), width, span))
    return bars
