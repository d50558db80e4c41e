"""Engine: what runs programs once they are claimed, put together, with the loops it depends on."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.directory import JobDirectory
from program_service.bookkeeping.ledger.claiming import Claimant
from program_service.bookkeeping.ledger.endpoints import disable_endpoint
from program_service.bookkeeping.step_transaction import StepConnections
from program_service.loops.supervisor import Loop, Named, Supervisor
from program_service.redaction import Redaction
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.tracing.switch import traces_of
from program_service.wakeups.broker import Announcement, Broker, Cancelled, Quieted
from program_service.wakeups.relay import Relay, Waker
from program_service.wakeups.submissions import Submissions
from program_service.webhooks.caller import Caller
from program_service.webhooks.guard import Guard
from program_workers.callbacks.calls import CallbackJobs
from program_workers.callbacks.endpoints import CallbackJob
from program_workers.cancels import Cancels
from program_workers.catalogue import Catalogue
from program_workers.desk import Desk
from program_workers.execution import Execution, Tools
from program_workers.inprocess import InProcessJobs
from program_workers.job_log import JobLog
from program_workers.job_tasks import sparing_the_loop
from program_workers.job_threads import JobThreads
from program_workers.lease import LeaseKeeper
from program_workers.library import JobLibrary
from program_workers.observer import Observer
from program_workers.recorder import Recorder
from program_workers.room import Room
from program_workers.safety_net import SafetyNet


class Engine:
    """Run claimed programs: a worker adds the intake, the testing kit a clock of its own."""

    def __init__(  # noqa: PLR0913 - the one place where a worker is put together
        self,
        name: str,
        settings: Settings,
        database: Database,
        *,
        broker: Broker,
        library: JobLibrary,
        metrics: Metrics,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._broker = broker
        self.quieted = asyncio.Event()
        """Whether this worker takes no more programs, because its row requests a drain."""
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="job")
        self.job_threads = JobThreads()
        self.catalogue = Catalogue(library)
        claimant = Claimant(name, self.catalogue, settings.lease_s, slots=settings.concurrency)
        self.room = Room(self.catalogue, threads=settings.threads)
        self.recorder = Recorder(database, metrics, claimant, room=self.room)
        self.keeper = LeaseKeeper(database, metrics, lease_s=settings.lease_s)
        self._cancels = Cancels(database, self.keeper)
        self.relay = Relay(Waker(database, broker, metrics))
        self.submissions = Submissions(database, self.relay, metrics)
        directory = JobDirectory(database)
        traces = traces_of(settings)
        self._caller = Caller(Guard.parse(settings.callback_allow), traces=traces)
        self._connections = StepConnections(database)
        self._job_log = JobLog(settings)

        async def disable(job: CallbackJob) -> bool:
            url, registered_at = job.endpoint.url, job.registered_at
            return await database.transact(
                disable_endpoint, job.name, url=url, registered_at=registered_at
            )

        redaction = Redaction(settings.redact)
        database.max_job_data_bytes = settings.max_job_data_bytes
        self.supervisor = Supervisor(metrics)
        self.endpoints = CallbackJobs(
            self._caller,
            metrics,
            public_url=settings.service_url or f"http://127.0.0.1:{settings.port}",
            disable=disable,
            room=self.room,
            redaction=redaction,
        )
        self.execution = Execution(
            Tools(
                worker=name,
                queues=frozenset(settings.queues),
                catalogue=self.catalogue,
                functions=InProcessJobs(self._threads, self.job_threads, redaction),
                job_log=self._job_log,
                endpoints=self.endpoints,
                room=self.room,
                keeper=self.keeper,
                recorder=self.recorder,
                directory=directory,
                relay=self.relay,
                desk=Desk(
                    self.recorder,
                    self.submissions,
                    directory,
                    traces,
                    max_job_data_bytes=settings.max_job_data_bytes,
                    redaction=redaction,
                ),
                connections=self._connections,
                observer=Observer(metrics, traces, library.hooks, self.catalogue),
                metrics=metrics,
                traces=traces,
                redaction=redaction,
                net=SafetyNet(metrics),
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the loops that jobs depend on, for longer than any job."""
        loops: tuple[Loop, ...] = (
            Named("claims", self.recorder.claims.run),
            Named("outcomes", self.recorder.outcomes.run),
            Named("job_data", self.recorder.job_data.run),
            self.submissions,
            self.keeper,
            self._cancels,
            self.relay,
            self._caller.connections,
            self._broker.listener(self._hear),
            *self._broker.loops,
        )
        async with self.supervisor.running(*loops):
            with self._job_log.listening(), sparing_the_loop():
                yield
            await self.relay.drain()
        await self._caller.aclose()
        await self._connections.aclose()
        # threads that still run are not waited for: the process exits without them
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _hear(self, announcement: Announcement) -> None:
        match announcement:
            case Cancelled() as cancelled:
                self._cancels.hear(cancelled)
            case Quieted():
                pass  # for workers of the release before: ours look at their rows
