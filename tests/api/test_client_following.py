"""Clients that follow a program: over streams that break, and where no events come through."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from patience import eventually
from program_executor import AsyncClient, Client, JobContext, job
from program_executor.shapes import Program
from servers import on_sqlite
from serving import Service, on_a_socket
from tcp_proxy import TcpProxy, proxied

pytestmark = on_sqlite

PATIENCE_S = 30


class Gates:
    """Steps that wait to be let through."""

    def __init__(self) -> None:
        self.steps = [asyncio.Event() for _ in range(2)]

    def job(self) -> Any:
        """Make a job that waits for its step's gate."""

        @job
        async def reserve(ctx: JobContext) -> None:
            await self.steps[ctx.step].wait()

        return reserve


@pytest.fixture
async def gates(service: Service) -> Gates:
    """Hire a worker whose steps wait."""
    gates = Gates()
    await service.crew.hire(gates.job())
    return gates


@pytest.fixture
async def proxy(service: Service) -> AsyncIterator[TcpProxy]:
    """Return a network that can be cut, before a service on a socket."""
    async with on_a_socket(service) as url:
        place = urlsplit(url)
        assert place.hostname
        assert place.port
        async with proxied(place.hostname, place.port) as proxy:
            yield proxy


def stand(program: Program) -> tuple[str, int]:
    return program["status"], program["progress"]["done"]


class Spy(httpx.AsyncHTTPTransport):
    """Notes what is asked; may answer for the stream of events as a proxy in between does."""

    def __init__(self, events: httpx.Response | Exception | None = None) -> None:
        super().__init__()
        self.sent: list[httpx.Request] = []
        self._events = events

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if request.url.path.endswith("/events"):
            if isinstance(self._events, Exception):
                raise self._events
            if self._events is not None:
                return self._events
        return await super().handle_async_request(request)

    def paths(self) -> list[str]:
        return [request.url.path.rpartition("/")[2] for request in self.sent]


async def test_each_change_is_told_until_the_end(
    service: Service, gates: Gates, proxy: TcpProxy
) -> None:
    run_id = await service.running("reserve", "reserve")
    spy, seen = Spy(), []
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", transport=spy) as client:
        async for program in client.follow(run_id):
            seen.append(stand(program))
            if seen[-1][0] == "running":
                gates.steps[seen[-1][1]].set()
    assert seen == [("running", 0), ("running", 1), ("finished", 2)]
    assert spy.paths() == ["events"]


async def test_broken_stream_is_taken_up_where_it_broke(
    service: Service, gates: Gates, proxy: TcpProxy
) -> None:
    run_id = await service.running("reserve", "reserve")
    spy, seen = Spy(), []
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", transport=spy) as client:
        async for program in client.follow(run_id):
            seen.append(stand(program))
            if seen[-1] == ("running", 0):
                proxy.cut()
                gates.steps[0].set()  # nobody listens: the change is seen afterwards
                await eventually(lambda: at_step(service, run_id, 1))
            elif seen[-1] == ("running", 1):
                gates.steps[1].set()
    assert seen == [("running", 0), ("running", 1), ("finished", 2)]
    streams = [each for each in spy.sent if each.url.path.endswith("/events")]
    assert len(streams) == 2
    assert streams[1].headers["last-event-id"].endswith("-running")


async def at_step(service: Service, run_id: str, step: int) -> bool:
    return bool((await service.get(run_id))["step"] == step)


@pytest.mark.parametrize(
    "events",
    [
        httpx.Response(200, html="<p>Sign in</p>"),
        httpx.Response(404),
        httpx.ReadTimeout("held back"),
    ],
)
async def test_program_is_asked_for_where_events_do_not_come_through(
    service: Service, gates: Gates, proxy: TcpProxy, events: httpx.Response | Exception
) -> None:
    run_id = await service.running("reserve", "reserve")
    spy, seen = Spy(events), []
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", transport=spy) as client:
        async for program in client.follow(run_id):
            seen.append(stand(program))
            if seen[-1][0] == "running":
                gates.steps[seen[-1][1]].set()
    assert seen == [("running", 0), ("running", 1), ("finished", 2)]
    assert spy.paths().count("events") == 1  # once deaf, it does not try again
    assert all(each.headers["prefer"] == "wait=1" for each in spy.sent[1:])


async def test_thread_follows_the_same(service: Service, gates: Gates, proxy: TcpProxy) -> None:
    run_id = await service.running("reserve", "reserve")
    loop = asyncio.get_running_loop()

    def follow() -> list[tuple[str, int]]:
        seen = []
        with Client(f"http://127.0.0.1:{proxy.port}") as client:
            for program in client.follow(run_id):
                seen.append(stand(program))
                if seen[-1] == ("running", 0):
                    loop.call_soon_threadsafe(proxy.cut)
                if seen[-1][0] == "running":
                    loop.call_soon_threadsafe(gates.steps[seen[-1][1]].set)
        return seen

    async with asyncio.timeout(PATIENCE_S):
        seen = await asyncio.to_thread(follow)
    assert seen == [("running", 0), ("running", 1), ("finished", 2)]
