"""App: the HTTP service put together, API and dashboard, started and stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from program_service.api import (
    audit,
    callbacks,
    endpoints,
    events,
    explain,
    health,
    job_data,
    keys,
    problems,
    programs,
    registry,
    sessions,
    token_keys,
)
from program_service.api.auth import Keyring, is_loopback
from program_service.api.authenticator import Authenticator
from program_service.api.bodies import BodyLimit
from program_service.api.callback_file import read_file, register_file
from program_service.api.contract.document import document
from program_service.api.gauges import Gauges
from program_service.api.guarded import Guarded
from program_service.api.hosts import LocallyNamed, is_for_this_machine_alone
from program_service.api.measured import Measured
from program_service.api.rates import Rates, RateTold
from program_service.api.searches import Searches
from program_service.api.services import Services
from program_service.api.strangers import Strangers
from program_service.api.tickets import TokenVerifier
from program_service.api.traced import telemetry
from program_service.api.views import show
from program_service.api.waiting import WaitingRoom
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.migrations import is_migrated
from program_service.bookkeeping.shared import Shared
from program_service.dashboard.installing import install as install_dashboard
from program_service.logs import log
from program_service.loops.migration import Migration
from program_service.loops.purger import Keeping, Purger
from program_service.loops.supervisor import Loop, Once, Supervisor
from program_service.loops.turns import is_set_within
from program_service.redaction import Redaction
from program_service.settings import Settings
from program_service.telemetry import VERSION, Event, Metrics
from program_service.tracing.switch import traces_of
from program_service.wakeups.broker import Broker
from program_service.wakeups.monitor import KEEP_S, BrokerMonitor
from program_service.wakeups.relay import Relay, Waker
from program_service.wakeups.submissions import Submissions
from program_service.wakeups.sweeper import Sweeper
from program_service.webhooks.caller import Caller
from program_service.webhooks.guard import Guard
from program_service.webhooks.notifier import Notifier

TITLE = "Program Executor"
PROBE_KEEP_S = 0.5
"""How old the answer of the database to a probe may be: all probes share one question at a time."""

LOOPS_CONNECTIONS = 2
"""What slow requests, as a search in millions of rows, leave to submits and background loops."""

KEYS_WITHIN_S = 1.0
"""For the table of keys, when the service starts; requests wait for it by themselves."""

MIGRATE_WITHIN_S = 5.0
"""An index of a long table takes minutes: the API is there, and alive, meanwhile."""


def create_app(
    settings: Settings, *, database: Database, broker: Broker, metrics: Metrics
) -> FastAPI:
    """Put the service together; its loops run while the application's lifespan does."""
    supervisor = Supervisor(metrics)
    waker = Waker(database, broker, metrics)
    relay = Relay(waker)
    guard = Guard.parse(settings.callback_allow)
    traces = traces_of(settings)
    caller = Caller(guard, traces=traces)
    redaction = Redaction(settings.redact)
    database.max_job_data_bytes = settings.max_job_data_bytes
    monitor = BrokerMonitor(broker)
    notifier = Notifier(
        database,
        caller,
        guard,
        metrics,
        secret=settings.notify_secret,
        describe=lambda program: show(redaction.program(program)),
    )
    services = Services(
        settings=settings,
        database=database.leaving(LOOPS_CONNECTIONS),
        broker=broker,
        monitor=monitor,
        relay=relay,
        submissions=Submissions(database, relay, metrics),
        directory=JobDirectory(database),
        waiting=WaitingRoom(database),
        authenticator=Authenticator(Keyring.parse(settings.api_keys), database),
        strangers=Strangers(per_minute=settings.failed_tries_per_minute),
        tokens=TokenVerifier(database),
        searches=Searches(database.leaving(LOOPS_CONNECTIONS)),
        is_migrated=Shared(
            partial(is_migrated, database), keep_s=PROBE_KEEP_S, rest_s=PROBE_KEEP_S
        ),
        rates=Rates(most=settings.rate_limit, window_s=settings.rate_limit_window_s)
        if settings.rate_limit
        else None,
        redaction=redaction,
        metrics=metrics,
        gauges=Gauges(database, monitor, metrics, beat_s=settings.worker_beat_s),
        traces=traces,
        guard=guard,
        notifier=notifier,
        supervisor=supervisor,
    )
    jobs_of_file = read_file(Path(settings.callback_jobs)) if settings.callback_jobs else {}
    # newer than the wake-ups that it looks for
    depths = monitor.depths(max_age_s=min(KEEP_S, settings.wake_again_s / 2))
    sweeper = Sweeper(database, depths, waker, settings=settings)
    purger = Purger(
        database,
        metrics,
        retention_days=settings.retention_days,
        keeping=Keeping(
            rollup_days=settings.rollup_days,
            audit_days=settings.audit_days,
            session_idle_s=settings.session_idle_s,
        ),
    )

    migration = Migration(database)
    loops: list[Loop] = [
        relay,
        services.submissions,
        services.waiting,
        sweeper,
        purger,
        caller.connections,
        monitor,
        services.gauges,
        services.authenticator,
        *broker.loops,
        Once("callback_jobs", partial(register_file, services, jobs_of_file)),
    ]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        migrating = [migration] if settings.migrate_on_start else []
        feed = app.state.board.feed
        async with supervisor.running(*migrating, *loops, *notifier.loops, feed):
            if settings.migrate_on_start:
                await migration.is_settled_within(MIGRATE_WITHIN_S)
            await _warn_if_open(services)
            log.info(Event.SERVICE_STARTED, version=VERSION)
            yield
        await caller.aclose()
        log.info(Event.SERVICE_STOPPED)

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,  # it is served below
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        # it would name the host that was asked for, and plain http behind a proxy
        redirect_slashes=False,
        telemetry=telemetry(traces),
    )
    app.state.services = services
    _install_routes(app)
    install_dashboard(app, services)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if settings.rate_limit:
        app.add_middleware(RateTold)
    if is_for_this_machine_alone(settings):
        app.add_middleware(
            LocallyNamed, service_url=settings.service_url, authenticator=services.authenticator
        )
    app.add_middleware(Guarded)
    app.add_middleware(Measured, metrics=metrics)
    return app


async def _warn_if_open(services: Services) -> None:
    """Say that no key is needed, if the table has none either, or nobody knows yet."""
    if not services.authenticator.is_open:
        return
    await is_set_within(services.authenticator.has_read, KEYS_WITHIN_S)
    if services.authenticator.is_open:
        who = "on this machine" if is_loopback(services.settings.host) else "who can connect"
        log.warning(Event.SERVICE_OPEN, text=f"no API keys: everybody {who} may call")


def end_streams(app: FastAPI) -> None:
    """End what clients follow, or wait for, as the process ends: the server waits for them."""
    app.state.services.waiting.close()
    app.state.board.feed.close()


def _install_routes(app: FastAPI) -> None:
    of_programs = (programs, job_data, events, explain)
    app.include_router(programs.submitting)
    of_access = (keys, sessions, audit, token_keys)
    for module in (*of_programs, endpoints, registry, *of_access, callbacks, health):
        app.include_router(module.router)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @cache
    def written() -> bytes:
        return orjson.dumps(app.openapi())

    async def show_document(_request: Request) -> Response:
        # written once: for each who asks, it would hold up the event loop for 50 ms
        return Response(written(), media_type="application/json")

    app.add_route("/openapi.json", show_document, include_in_schema=False)
