"""Events: the changes of one program as Server-Sent Events, over a real socket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest
from fastapi import sse

from program_executor import JobContext, job
from servers import on_sqlite
from serving import Json, Service, on_a_socket

pytestmark = on_sqlite

PATIENCE_S = 30


@pytest.fixture
async def wire(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Serve on a socket, so that an answer arrives while it is being made."""
    async with (
        on_a_socket(service) as address,
        httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client,
    ):
        yield client


class Stream:
    """The events of a program, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        """Read from an answer."""
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, str] | None:
        """Return the fields of the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif not line and fields:
                    return fields
        return None

    async def program(self) -> Json:
        """Return the program that the next event shows."""
        event = await self.next()
        assert event is not None
        assert event["event"] == "program"
        program: Json = orjson.loads(event["data"])
        return program


@asynccontextmanager
async def watching(
    client: httpx.AsyncClient, run_id: str, last_event_id: str | None = None
) -> AsyncGenerator[Stream]:
    """Watch a program."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    async with client.stream("GET", f"/programs/{run_id}/events", headers=headers) as answer:
        yield Stream(answer)


async def test_each_change_is_told_until_the_end(service: Service, wire: httpx.AsyncClient) -> None:
    steps = [asyncio.Event() for _ in range(2)]

    @job
    async def reserve(ctx: JobContext) -> dict[str, int]:
        await steps[ctx.step].wait()
        return {"step": ctx.step}

    run_id = (await service.submit("reserve", "reserve"))["run_id"]
    async with watching(wire, run_id) as stream:
        assert (await stream.program())["status"] == "pending"
        await service.crew.hire(reserve)
        assert (await stream.program())["status"] == "running"
        steps[0].set()
        program = await stream.program()
        assert (program["status"], program["step"]) == ("running", 1)
        assert program["job_data"] == {"reserve": {"step": 0}}
        steps[1].set()
        program = await stream.program()
        assert program["status"] == "finished"
        assert program == await service.get(run_id)
        assert await stream.next() is None


async def test_event_carries_its_id_and_the_whole_program(
    service: Service, wire: httpx.AsyncClient
) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    shown = await service.client.get(f"/programs/{run_id}")
    async with watching(wire, run_id) as stream:
        event = await stream.next()
    assert event is not None
    assert f'"{event["id"]}"' == shown.headers["etag"]
    assert orjson.loads(event["data"]) == shown.json()


async def test_stream_resumes_after_the_last_event_that_was_seen(
    service: Service, wire: httpx.AsyncClient
) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    async with watching(wire, run_id) as stream:
        event = await stream.next()
    assert event is not None
    async with watching(wire, run_id, event["id"]) as stream:
        await service.client.post(f"/programs/{run_id}/cancel")
        # what was seen is not sent again: the first event is the change
        last = await stream.next()
        assert last is not None
        assert orjson.loads(last["data"])["status"] == "cancelled"
        assert await stream.next() is None
    async with watching(wire, run_id, last["id"]) as stream:
        assert await stream.next() is None


async def test_id_of_nobody_is_no_reason_to_keep_silent(
    service: Service, wire: httpx.AsyncClient
) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    async with watching(wire, run_id, "nonsense") as stream:
        assert (await stream.program())["status"] == "pending"


async def test_ended_program_is_shown_once(service: Service, wire: httpx.AsyncClient) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    await service.client.post(f"/programs/{run_id}/cancel")
    async with watching(wire, run_id) as stream:
        assert (await stream.program())["status"] == "cancelled"
        assert await stream.next() is None


async def test_program_that_is_not_there_is_a_404(wire: httpx.AsyncClient) -> None:
    answer = await wire.get("/programs/nope/events")
    assert answer.status_code == 404
    assert answer.json()["code"] == "program_not_found"


async def test_many_watch_one_program(service: Service, wire: httpx.AsyncClient) -> None:
    run_id = (await service.submit("reserve"))["run_id"]

    async def watch() -> list[str]:
        async with watching(wire, run_id) as stream:
            seen = [(await stream.program())["status"]]
            ready.release()
            seen.append((await stream.program())["status"])
        return seen

    ready = asyncio.Semaphore(0)
    watchers = [asyncio.create_task(watch()) for _ in range(10)]
    for _ in watchers:
        await ready.acquire()
    await service.client.post(f"/programs/{run_id}/cancel")
    assert await asyncio.gather(*watchers) == [["pending", "cancelled"]] * 10


async def test_comments_come_while_nothing_changes(
    service: Service, wire: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies give up connections that are silent."""
    assert sse._PING_INTERVAL == 15.0
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    run_id = (await service.submit())["run_id"]
    async with wire.stream("GET", f"/programs/{run_id}/events") as answer:
        comments = (line async for line in answer.aiter_lines() if line.startswith(":"))
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(comments) == await anext(comments) == ": ping"
