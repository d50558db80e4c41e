"""Testing kit: run a program of your jobs in process, with a clock that jumps instead of waiting.

    def test_a_customer_is_charged_once(program_runner):
        run = program_runner.run([charge, mail], program_data={"customer": 42})

        assert run.status == "finished"
        assert run.job_data["charge"] == {"receipt": "r-42"}
        assert [attempt.outcome for attempt in run.attempts] == ["retry", "done", "done"]

Everything is real but the clock and the broker: the same execution, retries, job data and database
statements as in a worker, on a SQLite file. The fixture `program_runner` comes with the package.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from program_service.bookkeeping.database import Database
    from program_service.bookkeeping.ledger.reading import Attempt, Program
    from program_workers.engine import Engine
    from program_workers.library import Job

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
MAX_TURNS = 1_000
"""A program that is claimed more often than this in one test will not end."""


class FakeClock:
    """A clock that stands still until it is told to jump."""

    def __init__(self) -> None:
        """Begin in 2030."""
        self.now = EPOCH

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def jump_to(self, moment: datetime) -> None:
        """Jump forwards, never back."""
        self.now = max(self.now, moment)


@dataclass(frozen=True, slots=True)
class Run:
    """A program that was run, and what became of it."""

    program: "Program"
    attempts: "Sequence[Attempt]"
    started: "Sequence[Program]"
    """The programs that its jobs started; they are not run."""
    waited: timedelta
    """How far the clock jumped: the delays of the retries."""

    @property
    def status(self) -> str:
        """How it ended: finished or errored."""
        return self.program.status.value

    @property
    def job_data(self) -> dict[str, dict[str, Any]]:
        """The data of its jobs, by name."""
        return self.program.job_data

    @property
    def error_message(self) -> str | None:
        """The last error of a job."""
        return self.program.error_message


class ProgramRunner:
    """Run programs of jobs, one after the other, on one SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Keep the file in this folder."""
        self._url = f"sqlite:///{folder / 'programs.db'}"
        self.clock = FakeClock()

    def run(self, jobs: "Sequence[Job | type[Any]]", **options: Any) -> Run:
        """Run a program of these jobs to its end; options are those of `ProgramRunner.arun`."""
        return asyncio.run(self.arun(jobs, **options))

    async def arun(
        self,
        jobs: "Sequence[Job | type[Any]]",
        *,
        program_data: dict[str, Any] | None = None,
        job_data: dict[str, dict[str, Any]] | None = None,
        others: "Sequence[Job | type[Any]]" = (),
    ) -> Run:
        """Run a program of these jobs to its end, within an async test.

        `others` are jobs that may be in programs which these jobs start. Classes are jobs, too.

        Raises:
            LibraryError: two jobs have one name, or a class cannot be a job.
        """
        from program_service.bookkeeping.database import Database  # noqa: PLC0415 - a light plugin
        from program_service.bookkeeping.migrations import migrate  # noqa: PLC0415
        from program_workers.library import job_of  # noqa: PLC0415

        database = Database.connect(self._url, clock=self.clock)
        try:
            await migrate(database)
            return await self._run(
                database,
                [job_of(each) for each in jobs],
                [job_of(each) for each in others],
                program_data=program_data or {},
                job_data=job_data or {},
            )
        finally:
            await database.close()

    async def _run(
        self, database: "Database", jobs: "Sequence[Job]", others: "Sequence[Job]", **data: Any
    ) -> Run:
        from program_service.bookkeeping.ledger import attempts, reading, registry, submitting  # noqa: PLC0415
        from program_workers.library import JobLibrary  # noqa: PLC0415
        from program_workers.presence import registered  # noqa: PLC0415

        library, began = JobLibrary([*jobs, *others]), self.clock.now
        await database.transact(registry.register_jobs, registered(library))
        new = submitting.NewProgram(
            run_id=secrets.token_hex(8),
            jobs=[job.name for job in jobs],
            queue=jobs[0].queue,
            **data,
        )
        await database.transact(submitting.submit, [new])
        program = await self._until_final(database, self._engine(database, library), new.run_id)
        everything = reading.Filter(has_data=True)
        page = await database.read(reading.list_programs, everything, limit=MAX_TURNS)
        programs = page.programs
        while page.next_cursor:
            page = await database.read(
                reading.list_programs, everything, limit=MAX_TURNS, cursor=page.next_cursor
            )
            programs += page.programs
        return Run(
            program=program,
            # by their numbers: with a clock that stands still their times say little
            attempts=sorted(
                await database.read(attempts.list_attempts, new.run_id),
                key=lambda each: (each.step, each.attempt),
            ),
            started=[each for each in programs if each.parent_run_id == new.run_id],
            waited=self.clock.now - began,
        )

    async def _until_final(self, database: "Database", engine: "Engine", run_id: str) -> "Program":
        from program_service.bookkeeping.ledger.claiming import Claim  # noqa: PLC0415
        from program_service.bookkeeping.ledger.reading import find  # noqa: PLC0415
        from program_service.bookkeeping.lifecycle import Claimed  # noqa: PLC0415

        async with engine.running():
            for _ in range(MAX_TURNS):
                claimed = await engine.recorder.claims.add(Claim(run_id, secrets.token_hex(8)))
                if isinstance(claimed, Claimed):
                    await engine.execution.run(claimed, float("inf"))
                program = await database.read(find, run_id)
                if program.status.is_final or program.due_at is None:
                    return program
                self.clock.jump_to(program.due_at)
        message = f"the program was claimed {MAX_TURNS} times and has not ended"
        raise AssertionError(message)

    def _engine(self, database: "Database", library: Any) -> "Engine":
        from program_service.settings import Settings  # noqa: PLC0415
        from program_service.telemetry import Metrics  # noqa: PLC0415
        from program_service.wakeups.memory import MemoryBroker  # noqa: PLC0415
        from program_workers.engine import Engine  # noqa: PLC0415

        queues = sorted({job.queue for job in library.values()})
        settings = Settings(queues=queues, threads=4)
        return Engine(
            "test",
            settings,
            database,
            broker=MemoryBroker(),
            library=library,
            metrics=Metrics(),
        )


@pytest.fixture
def program_runner(tmp_path: Path) -> ProgramRunner:
    """Run programs of your jobs in this test."""
    return ProgramRunner(tmp_path)
