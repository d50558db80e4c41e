"""Addresses: of several, the first that answers is called (RFC 8305)."""

import asyncio
import ipaddress
import threading

import pytest

from endpoint_server import endpoint
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import NoConnection, TookTooLong
from program_service.webhooks.guard import Address, Guard
from program_service.webhooks.racing import MAX_ATTEMPTS, Race, interleaved
from program_service.webhooks.resolving import LookUps
from raw_endpoints import Resolver, black_hole, echo

LOCAL = Guard.parse("127.0.0.0/8, ::1/128, billing")
PATIENCE_S = 20.0


def addresses(*texts: str) -> list[Address]:
    """Read addresses."""
    return [ipaddress.ip_address(text) for text in texts]


class Line:
    """A connection of a test."""

    def __init__(self, address: str) -> None:
        """Remember its address."""
        self.address = address
        self.is_aborted = False

    def abort(self) -> None:
        """Close it."""
        self.is_aborted = True


class Network:
    """Connects as a test says, and remembers what was tried."""

    def __init__(self, refusing: tuple[str, ...] = (), silent: tuple[str, ...] = ()) -> None:
        """Take the addresses that refuse, and those that swallow packets."""
        self._refusing = refusing
        self._silent = silent
        self.tried: list[str] = []
        self.given_up: list[str] = []
        self.lines: list[Line] = []

    async def connect(self, address: Address) -> Line:
        """Connect to an address."""
        text = str(address)
        self.tried.append(text)
        if text in self._refusing:
            raise ConnectionRefusedError(text)
        if text in self._silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.append(text)
        self.lines.append(Line(text))
        return self.lines[-1]


async def test_first_address_that_answers_is_the_only_one_tried() -> None:
    network = Network()
    winner = await Race(network.connect).run(addresses("10.0.0.1", "10.0.0.2"))
    assert winner is not None
    assert (winner.address, network.tried) == ("10.0.0.1", ["10.0.0.1"])


async def test_silent_addresses_are_overtaken_and_given_up() -> None:
    network = Network(silent=("10.0.0.1", "10.0.0.2"))
    winner = await Race(network.connect).run(addresses("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    assert winner is not None
    assert winner.address == "10.0.0.3"
    assert sorted(network.given_up) == ["10.0.0.1", "10.0.0.2"]
    assert not winner.is_aborted


async def test_refusals_are_followed_by_the_next_address_at_once() -> None:
    refusing = tuple(f"10.0.0.{number}" for number in range(1, 9))
    network = Network(refusing=refusing)
    race = Race(network.connect)
    assert await race.run(addresses(*refusing)) is None
    assert network.tried == list(refusing)
    assert len(race.problems) == len(refusing)


async def test_second_winner_is_closed() -> None:
    both_are_tried = asyncio.Barrier(2)
    lines: list[Line] = []

    async def connect(address: Address) -> Line:
        await both_are_tried.wait()
        lines.append(Line(str(address)))
        return lines[-1]

    winner = await Race(connect).run(addresses("10.0.0.1", "10.0.0.2"))
    assert winner is not None
    assert len(lines) == 2
    assert [line for line in lines if not line.is_aborted] == [winner]


async def test_race_that_is_cancelled_leaves_no_connection() -> None:
    network = Network(silent=("10.0.0.1", "10.0.0.2"))
    running = asyncio.create_task(Race(network.connect).run(addresses("10.0.0.1", "10.0.0.2")))
    while len(network.tried) < 2:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(network.given_up) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ("::1 ::2 ::3 10.0.0.1 10.0.0.2", "::1 10.0.0.1 ::2 10.0.0.2 ::3"),
        ("10.0.0.1 ::1 10.0.0.2 10.0.0.1", "10.0.0.1 ::1 10.0.0.2"),
        ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        ("", ""),
    ],
)
def test_families_alternate_beginning_with_the_first_of_the_resolver(
    given: str, ordered: str
) -> None:
    assert interleaved(addresses(*given.split())) == addresses(*ordered.split())


def test_attempts_are_bounded() -> None:
    assert len(interleaved(addresses(*(f"10.0.0.{n}" for n in range(200))))) == MAX_ATTEMPTS


@pytest.mark.parametrize("hole", ["127.0.0.2", "::1"])
async def test_host_whose_first_address_is_a_black_hole_is_called_by_another(hole: str) -> None:
    async with endpoint(echo) as server:
        try:
            with black_hole(hole, server.port):
                caller = Caller(LOCAL, resolver=Resolver([hole, "127.0.0.1"]))
                url = f"http://billing:{server.port}/"
                answer = await caller.post(url, headers={}, body=b"{}", within_s=PATIENCE_S)
                await caller.aclose()
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
    assert answer.status == 200
    assert len(server.calls) == 1


async def test_host_that_swallows_everything_does_not_let_us_connect_in_time(
    unused_tcp_port: int,
) -> None:
    holes = ["127.0.0.2", "127.0.0.3"]
    url = f"http://billing:{unused_tcp_port}/"
    with black_hole(holes[0], unused_tcp_port), black_hole(holes[1], unused_tcp_port):
        caller = Caller(LOCAL, resolver=Resolver(holes, holes))
        with pytest.raises(NoConnection, match=r"does not let us connect within 0\.3 s") as caught:
            await caller.post(url, headers={}, body=b"", within_s=PATIENCE_S, connect_within_s=0.3)
        assert not caught.value.has_connected
        with pytest.raises(TookTooLong) as too_long:
            await caller.post(url, headers={}, body=b"", within_s=0.3)
        assert not too_long.value.has_connected
        await caller.aclose()


async def test_names_whose_servers_are_silent_hold_up_no_other_name() -> None:
    may_end = threading.Event()
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[Address]:
        asked.append(host)
        if host.startswith("silent"):
            may_end.wait(PATIENCE_S)
            raise OSError(port, host)
        return addresses("127.0.0.1")

    look_ups = LookUps(look_up)
    waiting = [asyncio.create_task(look_ups(f"silent-{n}", 80)) for n in range(100)]
    again = [asyncio.create_task(look_ups("silent-0", 80)) for _ in range(10)]
    try:
        assert await look_ups("billing", 80) == addresses("127.0.0.1")
        assert asked.count("silent-0") == 1
    finally:
        may_end.set()
        problems = await asyncio.gather(*waiting, *again, return_exceptions=True)
    assert {type(problem) for problem in problems} == {OSError}
    assert await look_ups("billing", 80) == addresses("127.0.0.1")  # and again, anew
    assert asked.count("billing") == 2


async def test_look_up_without_a_thread_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    look_ups = LookUps(lambda _host, _port: addresses("127.0.0.1"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="thread"):
            await look_ups("billing", 80)
    assert await look_ups("billing", 80) == addresses("127.0.0.1")


async def test_look_up_that_everybody_gave_up_harms_nobody() -> None:
    may_end = threading.Event()

    def look_up(host: str, port: int) -> list[Address]:
        may_end.wait(PATIENCE_S)
        raise OSError(port, host)

    look_ups = LookUps(look_up)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await look_ups("billing", 80)
    may_end.set()
    with pytest.raises(OSError, match="billing"):
        await look_ups("billing", 80)
