"""Services: what the routes work with, made once in `app`."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from program_service.api.authenticator import Authenticator
from program_service.api.gauges import Gauges
from program_service.api.rates import Rates
from program_service.api.searches import Searches
from program_service.api.strangers import Strangers
from program_service.api.tickets import TokenVerifier
from program_service.api.waiting import WaitingRoom
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.ledger.workers import Worker, list_workers
from program_service.bookkeeping.shared import Shared
from program_service.loops.supervisor import Supervisor
from program_service.redaction import Redaction
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.tracing.spans import Traces
from program_service.wakeups.broker import Broker
from program_service.wakeups.monitor import BrokerMonitor
from program_service.wakeups.relay import Relay
from program_service.wakeups.submissions import Submissions
from program_service.webhooks.guard import Guard
from program_service.webhooks.notifier import Notifier


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that routes use."""

    settings: Settings
    database: Database
    broker: Broker
    monitor: BrokerMonitor
    relay: Relay
    submissions: Submissions
    directory: JobDirectory
    waiting: WaitingRoom
    authenticator: Authenticator
    strangers: Strangers
    tokens: TokenVerifier
    searches: Searches
    is_migrated: Shared[bool]
    rates: Rates | None
    redaction: Redaction
    metrics: Metrics
    gauges: Gauges
    traces: Traces
    guard: Guard
    notifier: Notifier
    supervisor: Supervisor

    async def live_workers(self) -> list[Worker]:
        """Return the workers whose beats were not missed."""
        beat_s = self.settings.worker_beat_s
        return await self.database.read(list_workers, beat_s=beat_s)


async def services_of(request: Request) -> Services:
    """Return the services of the application that serves a request.

    Async, because FastAPI sends what is not to a thread: a tenth of what a submit takes.
    """
    services: Services = request.app.state.services
    return services


Serving: TypeAlias = Annotated[Services, Depends(services_of)]
