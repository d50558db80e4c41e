"""Workers: who lives, what each is doing, and that one shall take no more."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from program_service.bookkeeping.ledger.workers import request_drain
from program_service.dashboard.board import Boarding
from program_service.dashboard.entrance import OURS, Form, Overseer, PageRoute, Steersman
from program_service.dashboard.pages import PREFIX, page, redirect
from program_service.logs import log
from program_service.telemetry import Event
from program_service.wakeups.broker import Quieted

router = APIRouter(route_class=PageRoute, include_in_schema=False)

WORKERS = f"{PREFIX}/workers"


@router.get(WORKERS)
async def workers_page(request: Request, board: Boarding, caller: Overseer) -> Response:
    """Show the live workers."""
    del caller
    workers = await board.readings.share("workers", board.services.live_workers)
    return page(request, "workers.html", workers=workers, now=datetime.now(UTC))


@router.get(f"{WORKERS}/drain")
async def ask_to_drain(request: Request, caller: Steersman, worker: str) -> Response:
    """Ask once, and say what will happen."""
    caller.caller.require_unbound()
    return page(request, "drain.html", worker=worker)


@router.post(f"{WORKERS}/drain", dependencies=OURS)
async def drain(request: Request, board: Boarding, form: Form, actor: Steersman) -> Response:
    """Request that a process take no more programs."""
    actor.caller.require_unbound()
    worker = form.get("worker", "")
    entry = actor.entry("worker_drained", target=worker)
    if await board.services.database.transact(request_drain, worker, entry):
        log.info(Event.AUDIT_WORKER_DRAINED, worker=worker, by=actor.by, client=actor.client)
        # for workers of the release before, which do not look at their rows
        await board.services.broker.announce(Quieted(worker))
    return redirect(request, WORKERS)
