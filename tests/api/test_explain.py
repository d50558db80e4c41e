"""Explain: why a program is not moving, in words and in fields, and when it will."""

import asyncio
from typing import Any

import pytest

from builders import by_hand, claimed, lapse, seconds_ago
from patience import eventually
from program_executor import JobContext, Retry, RetryableError, job
from servers import on_sqlite
from serving import DownBroker, Service, json_of, serving

pytestmark = on_sqlite  # what it says depends on what is read, not on from where

LATER = "2099-01-01T00:00:00Z"


@job
async def reserve(_ctx: JobContext) -> None:
    """Do nothing."""


@job("charge", queue="bank")
async def charge(_ctx: JobContext) -> None:
    """Run in a queue of its own."""


async def reason(service: Service, run_id: str) -> str:
    """Return the reason, with all that must be true of every explanation."""
    explained = await service.explain(run_id)
    program = await service.get(run_id)
    assert explained.keys() == {"run_id", "status", "reason", "text", "moves_at", "facts"}
    assert (explained["run_id"], explained["status"]) == (run_id, program["status"])
    assert explained["text"].endswith(".") or program["status"] == "retrying"
    is_final = program["status"] in {"finished", "errored", "cancelled"}
    assert explained["moves_at"] == (None if is_final else program["due_at"])
    for fact in ("job", "queue", "step", "step_retry_count", "lease_losses", "claimed_by"):
        assert explained["facts"][fact] == program[fact]
    return str(explained["reason"])


async def test_ended_programs(service: Service) -> None:
    @job("ship")
    async def lost(_ctx: JobContext) -> None:
        raise LookupError("no such address")

    await service.crew.hire(reserve, lost)
    finished = await service.ended((await service.submit("reserve"))["run_id"])
    assert await reason(service, finished["run_id"]) == "finished"
    errored = await service.ended((await service.submit("ship"))["run_id"])
    assert await reason(service, errored["run_id"]) == "errored"
    text = (await service.explain(errored["run_id"]))["text"]
    assert "no such address" in text
    assert "'ship'" in text
    cancelled = (await service.submit("reserve", start_at=LATER))["run_id"]
    await service.client.post(f"/programs/{cancelled}/cancel")
    assert await reason(service, cancelled) == "cancelled"


async def test_program_that_is_not_due(service: Service) -> None:
    run_id = (await service.submit("reserve", start_at=LATER))["run_id"]
    assert await reason(service, run_id) == "not_due"
    assert (await service.explain(run_id))["moves_at"] == LATER


async def test_program_whose_job_nobody_knows(service: Service) -> None:
    await service.crew.hire(reserve)
    run_id = (await service.submit("ship"))["run_id"]
    assert await reason(service, run_id) == "no_worker_knows_the_job"
    assert (await service.explain(run_id))["facts"]["workers_that_know_the_job"] == []


async def test_program_whose_queue_nobody_serves(service: Service) -> None:
    shift = await service.crew.hire(charge)
    run_id = (await service.submit("charge"))["run_id"]
    await by_hand(service.database, run_id, queue="bank")
    assert await reason(service, run_id) == "no_worker_serves_the_queue"
    explained = await service.explain(run_id)
    assert "'bank'" in explained["text"]
    assert explained["facts"]["workers_that_know_the_job"] == [shift.worker.name]
    assert explained["facts"]["workers_that_serve_the_queue"] == []


async def test_program_that_runs(service: Service) -> None:
    let_go = asyncio.Event()

    @job
    async def ship(_ctx: JobContext) -> None:
        await let_go.wait()

    shift = await service.crew.hire(ship)
    run_id = (await service.submit("ship"))["run_id"]
    await eventually(lambda: service.has_status(run_id, "running"))
    assert await reason(service, run_id) == "running"
    assert shift.worker.name in (await service.explain(run_id))["text"]
    let_go.set()
    await service.ended(run_id)


async def test_program_behind_full_workers(service: Service) -> None:
    let_go = asyncio.Event()

    @job
    async def ship(_ctx: JobContext) -> None:
        await let_go.wait()

    await service.crew.hire(ship, concurrency=1, worker_beat_s=0.1)
    await service.submit("ship")
    behind = (await service.submit("ship"))["run_id"]

    async def is_full() -> bool:
        return await reason(service, behind) == "workers_are_full"

    await eventually(is_full)
    let_go.set()
    await service.ended(behind)


async def test_program_that_backs_off(service: Service) -> None:
    @job(retry=Retry(initial_s=3_600, jitter="none"))
    async def ship(_ctx: JobContext) -> None:
        raise RetryableError("the roads are closed")

    await service.crew.hire(ship)
    run_id = (await service.submit("ship"))["run_id"]
    await eventually(lambda: service.has_status(run_id, "retrying"))
    assert await reason(service, run_id) == "backing_off"
    explained = await service.explain(run_id)
    assert "the roads are closed" in explained["text"]
    assert explained["facts"]["step_retry_count"] == 1


async def test_program_of_a_worker_that_is_gone(service: Service) -> None:
    program = await claimed(service.database, worker="gone")
    assert await reason(service, program.run_id) == "lease_of_a_lost_worker"
    explained = await service.explain(program.run_id)
    assert "'gone'" in explained["text"]
    assert explained["moves_at"] > (await service.get(program.run_id))["updated_at"]
    await lapse(service.database, program.run_id)
    assert await reason(service, program.run_id) == "lease_lapsed"


async def test_program_that_awaits_its_completion(service: Service) -> None:
    run_id = (await service.submit("reserve", start_at=LATER))["run_id"]
    await by_hand(service.database, run_id, awaiting=1)
    assert await reason(service, run_id) == "awaiting_completion"


async def test_program_that_is_queued(service: Service) -> None:
    # knows the job and serves the queue, and the wake-up is still on its way
    await service.crew.hire(reserve)
    run_id = (await service.submit("reserve", start_at=LATER))["run_id"]
    columns: dict[str, Any] = {"due_at": seconds_ago(service.database, 0.2)}
    await by_hand(service.database, run_id, **columns)
    assert await reason(service, run_id) == "queued"
    assert (await service.explain(run_id))["facts"]["wakeups_in_queue"] == 0
    await service.ended(run_id)


async def test_program_without_a_broker(service: Service) -> None:
    """Invariant 2: while the broker is down, submitting works."""
    async with serving(service.database, broker=DownBroker()) as cut_off:
        await cut_off.crew.hire(reserve)
        run_id = (await cut_off.submit("reserve"))["run_id"]
        assert await reason(cut_off, run_id) == "broker_down"
        answer = await cut_off.client.get("/readyz")
        assert answer.status_code == 200
        assert json_of(answer)["status"] == "degraded"
    # and when a broker is there again, the sweeper finds what nobody was woken for
    await service.crew.hire(reserve)
    assert (await service.ended(run_id))["status"] == "finished"


@pytest.mark.parametrize("path", ["/explain", "/attempts", ""])
async def test_links_lead_somewhere(service: Service, path: str) -> None:
    program = await service.submit("reserve")
    answer = await service.client.get(program["links"]["self"] + path)
    assert answer.status_code == 200
