"""Resolving: look up names in threads of their own.

A look-up may take half a minute when a name's servers do not answer, and cannot be stopped. In the
event loop's own few threads, some names like that would hold up every other name.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from program_service.webhooks.guard import Address

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[Address]]]
LookUp: TypeAlias = Callable[[str, int], list[Address]]

MAX_LOOK_UPS = 200
"""Names that are looked up at a time, each in a thread; one name is looked up once at a time."""


def look_up(host: str, port: int) -> list[Address]:
    """Return every address of a name.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


class LookUps:
    """Look-ups of names, shared by those who ask for the same name at the same time."""

    def __init__(self, look_up: LookUp = look_up) -> None:
        """Look up with this function, which may block."""
        self._look_up = look_up
        self._running: dict[tuple[str, int], asyncio.Future[list[Address]]] = {}
        self._room = asyncio.Semaphore(MAX_LOOK_UPS)

    async def __call__(self, host: str, port: int) -> list[Address]:
        """Return every address of a name.

        Raises:
            OSError: it has none.
        """
        key = (host, port)
        while key not in self._running:
            await self._room.acquire()
            if key in self._running:
                self._room.release()
            else:
                self._begin(key)
        return await asyncio.shield(self._running[key])

    def _begin(self, key: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def work() -> None:
            addresses, problem = None, None
            try:
                addresses = self._look_up(*key)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                problem = error
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_give, answer, addresses, problem)

        # a daemon: the process does not wait for it at its end
        thread = threading.Thread(target=work, name=f"look-up of {key[0]}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process has too many threads
            self._room.release()
            raise OSError(str(error)) from error
        self._running[key] = answer
        answer.add_done_callback(lambda _: self._end(key, answer))

    def _end(self, key: tuple[str, int], answer: asyncio.Future[list[Address]]) -> None:
        del self._running[key]
        self._room.release()
        if not answer.cancelled():
            answer.exception()  # it counts as retrieved, although everybody may have given up


def _give(
    answer: asyncio.Future[list[Address]],
    addresses: list[Address] | None,
    problem: Exception | None,
) -> None:
    if answer.done():
        return
    if problem is not None:
        answer.set_exception(problem)
    else:
        answer.set_result(addresses or [])
