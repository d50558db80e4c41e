"""Class jobs: written as for the ancestor, they run like all others."""

import asyncio
import threading
from types import ModuleType
from typing import Any

from lines import Lines, of_event
from program_executor import (
    IgnorableError,
    JobContext,
    JobData,
    JobLibrary,
    Message,
    Retry,
    RetryableError,
    ThreadJobContext,
    ThreadJobData,
    job,
    job_of,
)
from program_executor.testing import ProgramRunner
from program_service.bookkeeping.lifecycle import Status
from stage import Stage

SOON = Retry(max_attempts=3, initial_s=0.01, jitter="none")

SAMPLE = """
class SampleJob:
    name = "sample_job_name"

    @staticmethod
    def create(program_data):
        return SampleJob(program_data)

    def __init__(self, program_data):
        # ... initialize member variables based on program_data if needed
        pass

    async def execute(self, message, job_data_handler):
        job_specific_data = await job_data_handler.get()

        # ... do some processing

        # to update the job data with a new object:
        await job_data_handler.set({"stored": "progress"})
        # or to partially update job data:
        # (later properties overwrite earlier properties with the same name):
        await job_data_handler.merge({"stored": "progress"})
"""
"""The sample job of the ancestor's README, word for word in Python."""


def a_library(text: str) -> JobLibrary:
    """Return what a worker finds in a module of this text."""
    module = ModuleType("jobs")
    exec(text, vars(module))
    library = JobLibrary()
    library.add_module(module)
    return library


async def test_sample_job_of_the_ancestor_runs_word_for_word(stage: Stage) -> None:
    await stage.hire(*a_library(SAMPLE).values())
    given = {"sample_job_name": {"property": "value for first job only"}}
    program = await stage.finished(await stage.submit("sample_job_name", job_data=given))
    assert program.job_data == {"sample_job_name": {"stored": "progress"}}
    assert await stage.outcomes(program.run_id) == ["done"]


async def test_async_class_is_made_from_program_data_and_told_of_its_program(stage: Stage) -> None:
    told: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []

    class Reserve:
        name = "reserve"

        def __init__(self, customer: int) -> None:
            self.customer = customer

        @classmethod
        async def create(cls, program_data: dict[str, Any]) -> "Reserve":
            await asyncio.sleep(0)
            return cls(program_data["customer"])

        async def execute(self, message: Message, job_data: JobData) -> dict[str, int]:
            told.append(dict(message))
            read.append(await job_data.get())
            return {"for": self.customer}

    class Charge(Reserve):
        name = "charge"

    await stage.hire(job_of(Reserve), job_of(Charge))
    data = {"customer": 42}
    run_id = await stage.submit("reserve", "charge", "reserve", program_data=data)
    program = await stage.finished(run_id)
    assert program.job_data == {"reserve": {"for": 42}, "charge": {"for": 42}}
    assert read == [{}, {}, {"for": 42}]
    same = {"run_id": run_id, "program_data": data, "attempt": 1}
    # the remaining jobs, the current one first, as the ancestor's message had them
    assert told == [
        same | {"step": 0, "jobs": ["reserve", "charge", "reserve"]},
        same | {"step": 1, "jobs": ["charge", "reserve"]},
        same | {"step": 2, "jobs": ["reserve"]},
    ]


async def test_plain_class_runs_in_a_thread_and_its_job_data_block(stage: Stage) -> None:
    threads: list[threading.Thread] = []
    read: list[dict[str, Any]] = []

    class Sync:
        name = "sync"

        @classmethod
        def create(cls, _program_data: dict[str, Any]) -> "Sync":
            threads.append(threading.current_thread())
            return cls()

        def execute(self, message: Message, job_data: ThreadJobData) -> dict[str, Any]:
            threads.append(threading.current_thread())
            read.append(job_data.get())
            job_data.set({"page": 1, "rows": {"a": 1}})
            job_data.merge({"page": 2, "rows": {"b": 2}})
            read.append(job_data.get())
            return {"is_done": message["step"] == 0}

    await stage.hire(job_of(Sync))
    program = await stage.finished(await stage.submit("sync"))
    assert threads[0] is threads[1]
    assert threads[0] is not threading.main_thread()
    assert read == [{}, {"page": 2, "rows": {"b": 2}}]
    assert program.job_data == {"sync": {"page": 2, "rows": {"b": 2}, "is_done": True}}


async def test_plain_execute_runs_in_a_thread_after_an_async_create(stage: Stage) -> None:
    threads: dict[str, threading.Thread] = {}

    class Sync:
        name = "sync"

        @classmethod
        async def create(cls, _program_data: dict[str, Any]) -> "Sync":
            threads["create"] = threading.current_thread()
            return cls()

        def execute(self, message: Message, job_data: ThreadJobData) -> None:
            threads["execute"] = threading.current_thread()
            job_data.set({"cancelled": message.context.cancelled})

    class Wrapped(Sync):
        name = "wrapped"

        @classmethod
        def create(cls, program_data: dict[str, Any]) -> Any:
            return super().create(program_data)  # plain by itself, yet to be awaited

    await stage.hire(job_of(Sync), job_of(Wrapped))
    for name in ("sync", "wrapped"):
        program = await stage.finished(await stage.submit(name))
        assert program.job_data == {name: {"cancelled": False}}
        assert threads["create"] is threading.main_thread()
        assert threads.pop("execute") is not threading.main_thread()


async def test_decorated_error_is_tried_again_with_a_new_object(stage: Stage, logs: Lines) -> None:
    made: list[int] = []

    class Charge:
        name = "charge"
        retry = SOON

        @staticmethod
        def create(program_data: dict[str, Any]) -> "Charge":
            made.append(len(made) + 1)
            if len(made) == 1:
                raise RetryableError.decorate(LookupError("no connection"))
            assert program_data == {"customer": 42}
            return Charge()

        def execute(self, message: Message, _job_data: ThreadJobData) -> dict[str, int]:
            if message.attempt == 2:
                raise RetryableError.decorate(TimeoutError("the bank is closed"))
            return {"attempt": message.attempt}

    await stage.hire(job_of(Charge))
    run_id = await stage.submit("charge", program_data={"customer": 42})
    program = await stage.finished(run_id)
    assert made == [1, 2, 3]
    assert program.job_data == {"charge": {"attempt": 3}}
    attempts = await stage.attempts(run_id)
    assert [(each.outcome, each.error_type) for each in attempts] == [
        ("retry", "LookupError"),
        ("retry", "TimeoutError"),
        ("done", None),
    ]
    lines = of_event(logs, "Consumer error retry")
    assert [line["error_message"] for line in lines] == ["no connection", "the bank is closed"]


async def test_decorated_error_ends_the_program_as_information(stage: Stage, logs: Lines) -> None:
    class Charge:
        name = "charge"

        @classmethod
        def create(cls, _program_data: dict[str, Any]) -> "Charge":
            return cls()

        async def execute(self, _message: Message, _job_data: JobData) -> None:
            raise IgnorableError.decorate(LookupError("the customer has left"))

    await stage.hire(job_of(Charge))
    program = await stage.ended(await stage.submit("charge", "ship"))
    assert (program.status, program.step) == (Status.ERRORED, 0)
    assert program.error_message == "the customer has left"
    assert await stage.outcomes(program.run_id) == ["ignored"]
    assert of_event(logs, "program.ended_ignorably")
    assert not of_event(logs, "Consumer error finish")


async def test_checkpoints_put_the_program_back_in_both_forms(stage: Stage) -> None:
    class Import:
        name = "import"

        @classmethod
        def create(cls, _program_data: dict[str, Any]) -> "Import":
            return cls()

        async def execute(self, message: Message, job_data: JobData) -> dict[str, int]:
            page = (await job_data.get()).get("page", 0)
            while page < 2:
                page += 1
                await job_data.checkpoint({"page": page}, 0)
            return {"attempt": message.attempt}

    class Export:
        name = "export"

        @classmethod
        def create(cls, _program_data: dict[str, Any]) -> "Export":
            return cls()

        def execute(self, message: Message, job_data: ThreadJobData) -> dict[str, int]:
            page = job_data.get().get("page", 0)
            while page < 2:
                page += 1
                job_data.checkpoint({"page": page}, 0)
            return {"attempt": message.attempt}

    await stage.hire(job_of(Import), job_of(Export))
    program = await stage.finished(await stage.submit("import", "export"))
    # no retry is counted: each go is the first try of its step
    expected = {"page": 2, "attempt": 1}
    assert program.job_data == {"import": expected, "export": expected}
    assert await stage.outcomes(program.run_id) == ["yielded", "yielded", "done"] * 2


async def test_time_limit_cancels_an_async_create_before_the_thread_begins(stage: Stage) -> None:
    cancelled: list[int] = []

    class Slow:
        name = "slow"
        timeout_s = 0.1
        retry = SOON

        @classmethod
        async def create(cls, _program_data: dict[str, Any]) -> "Slow":
            if not cancelled:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.append(1)
            return cls()

        def execute(self, message: Message, _job_data: ThreadJobData) -> dict[str, int]:
            return {"attempt": message.attempt}

    await stage.hire(job_of(Slow))
    program = await stage.finished(await stage.submit("slow"))
    assert program.job_data == {"slow": {"attempt": 2}}
    assert await stage.outcomes(program.run_id) == ["retry", "done"]


async def test_message_leads_to_the_rest_of_the_context(stage: Stage) -> None:
    class Pack:
        name = "pack"

        @classmethod
        def create(cls, _program_data: dict[str, Any]) -> "Pack":
            return cls()

        async def execute(self, message: Message, _job_data: JobData) -> dict[str, str]:
            child = await message.context.start_program(["ship"])
            return {"child": child, "key": message.context.idempotency_key}

    @job
    async def ship(_ctx: JobContext) -> None:
        pass

    await stage.hire(job_of(Pack), ship)
    program = await stage.finished(await stage.submit("pack"))
    assert program.job_data["pack"]["key"] == f"{program.run_id}-0"
    child = await stage.finished(program.job_data["pack"]["child"])
    assert child.parent_run_id == program.run_id


async def test_create_that_returns_no_job_fails_with_a_clear_message(stage: Stage) -> None:
    class Forgetful:
        name = "forgetful"

        @classmethod
        async def create(cls, _program_data: dict[str, Any]) -> None:
            pass

        async def execute(self, message: Message, job_data: JobData) -> None:
            pass

    await stage.hire(job_of(Forgetful))
    program = await stage.ended(await stage.submit("forgetful"))
    assert program.status is Status.ERRORED
    assert program.error_message == (
        "create of job 'forgetful' returned NoneType, which has no execute"
    )


async def test_plain_job_that_is_async_inside_cannot_block_the_event_loop(stage: Stage) -> None:
    """A thread's calls wait for the event loop: made in the loop, they would wait for ever."""

    async def inside(ctx: ThreadJobContext) -> None:
        ctx.job_data.set({"page": 1})

    @job
    def outside(ctx: ThreadJobContext) -> Any:
        return inside(ctx)

    await stage.hire(outside)
    program = await stage.ended(await stage.submit("outside"))
    assert program.error_message == (
        "job 'outside' is plain, but async inside: make all of it async"
    )


class SendMail:
    """A job in the class form, for the testing kit."""

    name = "sendMail"
    retry = SOON

    def __init__(self, address: str) -> None:
        self.address = address

    @classmethod
    def create(cls, program_data: dict[str, Any]) -> "SendMail":
        return cls(program_data["address"])

    async def execute(self, message: Message, job_data: JobData) -> dict[str, str]:
        await job_data.merge({"tries": message.attempt})
        if message.attempt == 1:
            raise RetryableError.decorate(OSError("no connection"))
        return {"to": self.address}


def test_testing_kit_takes_classes(program_runner: ProgramRunner) -> None:
    @job
    def charge(ctx: ThreadJobContext) -> dict[str, int]:
        return {"customer": ctx.program_data["customer"]}

    data = {"customer": 42, "address": "a@shop.example"}
    run = program_runner.run([charge, SendMail], program_data=data, others=[SendMail])
    assert run.status == "finished", run.error_message
    assert run.job_data == {
        "charge": {"customer": 42},
        "sendMail": {"tries": 2, "to": "a@shop.example"},
    }
    assert [attempt.outcome for attempt in run.attempts] == ["done", "retry", "done"]
