"""Room: a program whose job has no room waits unclaimed, and is called as soon as there is some."""

import asyncio
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from builders import row_of
from calling import hire, put
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_service.webhooks.breaker import FAILURES_TO_OPEN
from servers import on_sqlite
from serving import Json, Service, json_of

MANY = 30
ENDLESS = {"initial_s": 0, "max_attempts": 1_000}
SEEN_SOON = {"worker_beat_s": 0.2}


async def submitted_all(service: Service, job: str, count: int) -> list[str]:
    """Submit programs in one batch and return their run_ids."""
    programs = [{"jobs": [job]} for _ in range(count)]
    answer = await service.client.post("/programs/batch", json={"programs": programs})
    return [each["run_id"] for each in json_of(answer)["programs"]]


async def outcomes_of(service: Service, run_id: str) -> list[str]:
    """Return what became of each attempt."""
    answer = await service.client.get(f"/programs/{run_id}/attempts")
    return [each["outcome"] for each in json_of(answer)["attempts"]]


async def explained(service: Service, run_id: str, reason: str) -> Json:
    """Wait until a program waits for this reason, and return the explanation."""

    async def look() -> Json | None:
        explanation = await service.explain(run_id)
        return explanation if explanation["reason"] == reason else None

    found = await eventually(look)
    assert found is not None
    return found


async def untouched(service: Service, run_ids: Sequence[str]) -> bool:
    """Say whether nothing has changed in these rows since they were submitted."""
    rows = [await row_of(service.database, run_id) for run_id in run_ids]
    return all((row["version"], row["lease"]) == (1, None) for row in rows)


@pytest.mark.parametrize("limit", [1, 3])
async def test_programs_that_wait_for_room_are_not_touched(service: Service, limit: int) -> None:
    """Each program is claimed once, and has one attempt, however many wait."""
    running, most = 0, 0

    async def count(_call: Call) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return Reply(204)

    async with endpoint(count) as server:
        await put(service, "charge", server.url, max_concurrency=limit)
        await hire(service)
        run_ids = await submitted_all(service, "charge", MANY)
        for run_id in run_ids:
            assert (await service.ended(run_id))["status"] == "finished"
    assert (most, len(server.calls)) == (limit, MANY)
    for run_id in run_ids:
        assert await outcomes_of(service, run_id) == ["done"]
        assert (await row_of(service.database, run_id))["version"] == 3  # submitted, claimed, done


@on_sqlite
async def test_other_worker_runs_what_the_first_has_no_room_for(service: Service) -> None:
    """Limits are each worker's own, and nobody waits beside one that is free."""
    let_go, all_called = asyncio.Event(), asyncio.Event()

    async def hold(_call: Call) -> Reply:
        if len(server.calls) == 4:
            all_called.set()
        await let_go.wait()
        return Reply(204)

    async with endpoint(hold) as server:
        await put(service, "charge", server.url, max_concurrency=2)
        await hire(service)
        run_ids = await submitted_all(service, "charge", 4)

        async def two_are_called() -> bool:
            return len(server.calls) == 2

        await eventually(two_are_called)
        await hire(service)
        async with asyncio.timeout(20):
            await all_called.wait()
        let_go.set()
        for run_id in run_ids:
            assert (await service.ended(run_id))["status"] == "finished"
            assert await outcomes_of(service, run_id) == ["done"]


@on_sqlite
async def test_worker_that_stops_leaves_its_line_to_others(service: Service) -> None:
    let_go = asyncio.Event()

    async def hold(_call: Call) -> Reply:
        await let_go.wait()
        return Reply(204)

    async with endpoint(hold) as server:
        await put(service, "charge", server.url, max_concurrency=1)
        first = await hire(service, **SEEN_SOON)
        run_ids = await submitted_all(service, "charge", 3)
        (_, *waiting) = run_ids

        async def both_wait() -> bool:
            (worker,) = json_of(await service.client.get("/workers"))["workers"]
            return bool(worker["endpoints"]["limits"].get("charge", {}).get("waiting") == 2)

        await eventually(both_wait)
        assert await untouched(service, waiting)
        stopping = asyncio.create_task(first.stop())
        await hire(service)
        let_go.set()
        for run_id in run_ids:
            assert (await service.ended(run_id))["status"] == "finished"
        await stopping


@on_sqlite
async def test_limit_and_who_holds_it_are_explained(service: Service) -> None:
    let_go = asyncio.Event()

    async def hold(_call: Call) -> Reply:
        await let_go.wait()
        return Reply(204)

    async with endpoint(hold) as server:
        await put(service, "charge", server.url, max_concurrency=1)
        shift = await hire(service, **SEEN_SOON)
        first = await service.running("charge")
        second = (await service.submit("charge"))["run_id"]
        explanation = await explained(service, second, "limit_reached")
        assert explanation["status"] == "pending"
        for said in ("'charge'", "at most 1 at a time", first, repr(shift.worker.name)):
            assert said in explanation["text"], explanation
        assert "1 program waits there" in explanation["text"]
        assert explanation["moves_at"] is None
        limit = explanation["facts"]["limits"][shift.worker.process]
        assert (limit["limit"], limit["held_by"], limit["waiting"]) == (1, [first], 1)
        assert await untouched(service, [second])
        let_go.set()
        await service.ended(second)


async def test_failing_path_leaves_its_neighbors_on_the_host_alone(service: Service) -> None:
    """A breaker belongs to the job that failed, and the explanation names it."""

    async def answer(call: Call) -> Reply:
        return Reply(500 if call.path == "/bad" else 204)

    async with endpoint(answer) as server:
        base = server.url.removesuffix("/job")
        await put(service, "bad", f"{base}/bad", retry=ENDLESS)
        await put(service, "good", f"{base}/good")
        await hire(service, **SEEN_SOON)
        began = datetime.now(UTC)
        sick = await submitted_all(service, "bad", FAILURES_TO_OPEN + 1)
        explanation = await explained(service, sick[-1], "breaker_open")
        for said in ("The endpoint of 'bad' has failed since", "it answered 500"):
            assert said in explanation["text"], explanation
        moves_at = datetime.fromisoformat(explanation["moves_at"])
        assert began < moves_at < datetime.now(UTC) + timedelta(minutes=2)
        (breaker,) = explanation["facts"]["breakers"].values()
        assert (breaker["error"], breaker["failures"]) >= ("it answered 500", FAILURES_TO_OPEN)
        calls = len(server.calls)
        for run_id in await submitted_all(service, "good", 20):
            assert (await service.ended(run_id))["status"] == "finished"
            assert await outcomes_of(service, run_id) == ["done"]
        assert len(server.calls) - calls - 20 <= FAILURES_TO_OPEN  # and some probes
        for run_id in sick:
            await service.cancel(run_id)


@on_sqlite
async def test_host_without_a_connection_is_left_alone_by_all_its_jobs(service: Service) -> None:
    """The programs of one find out for those of the other, which spend no attempts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    await put(service, "first", f"http://{host}/first", retry=ENDLESS)
    await put(service, "second", f"http://{host}/second")
    await hire(service, **SEEN_SOON)
    (finder,) = await submitted_all(service, "first", 1)

    async def is_open() -> bool:
        (worker,) = json_of(await service.client.get("/workers"))["workers"]
        return host in worker["endpoints"]["breakers"]

    await eventually(is_open)
    waiting = await submitted_all(service, "second", 3)
    explanation = await explained(service, waiting[0], "breaker_open")
    assert f"The host {host} has failed since" in explanation["text"]
    assert "does not let us connect" in explanation["text"]
    attempts = [len(await outcomes_of(service, run_id)) for run_id in waiting]
    assert sum(attempts) <= 2  # probes, at most
    for run_id in (finder, *waiting):
        await service.cancel(run_id)
