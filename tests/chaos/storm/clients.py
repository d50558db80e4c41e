"""Clients: submit, cancel, resume and edit over HTTP, and write down what they were promised.

Each writes one line of JSON to a file of its own when it has an answer, and before what it asks for
when the asking alone may change something. A request without an answer is sent again, to another
service; a submit carries its Idempotency-Key.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from chaos.storm.facts import Note

REQUEST_TIMEOUT_S = 5.0
AGAIN_S = (0.1, 0.6)
PAUSE_S = (0.1, 0.5)
"""Between two programs of one client."""

AT_ONCE = 40
"""Programs that one client looks after at a time."""

BURST_EVERY, BURST = 25, 24
"""Once in so many programs, a burst: more than there are slots, so that queues fill."""

SHAPES: dict[str, list[str]] = {
    "quick": ["quick", "quick", "quick"],
    "slow": ["slow", "heavy", "slow"],
    "long": ["heavy", "slow", "slow", "slow", "heavy", "slow"],
    "lasting": ["lasting", "quick"],
    "far": ["quick", "far", "slow"],
    "stumbling": ["stumble", "heavy"],
    "cancelled": ["slow", "heavy", "slow"],
    "resumed": ["slow", "slow", "heavy"],
    "edited": ["slow", "far", "quick"],
}

Answer = tuple[int, Any]


class Client:
    """Somebody who submits programs all the time."""

    def __init__(self, number: int, seed: int, urls: list[str], folder: Path) -> None:
        """Open the file of what is promised; nothing is sent yet."""
        self._name = f"client-{number}"
        self._chance = random.Random(f"{seed} {number}")
        self._urls = urls
        self._file = folder / f"{self._name}.notes"
        self._http = httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S)
        self._stopping = asyncio.Event()
        self._giving_up = asyncio.Event()

    async def run(self) -> None:
        """Submit until told to stop, and see to what was submitted."""
        room = asyncio.Semaphore(AT_ONCE)
        async with self._http, asyncio.TaskGroup() as lives:
            for turn in count(1):
                if self._stopping.is_set():
                    break
                is_burst = turn % BURST_EVERY == 0
                for part in range(BURST if is_burst else 1):
                    shape = "quick" if is_burst else self._chance.choice([*SHAPES])
                    await room.acquire()
                    living = lives.create_task(self._live(f"{self._name}-{turn}-{part}", shape))
                    living.add_done_callback(lambda _: room.release())
                await asyncio.sleep(self._chance.uniform(*PAUSE_S))

    def stop(self) -> None:
        """Submit no more."""
        self._stopping.set()

    def give_up(self) -> None:
        """Ask no more for what was never answered."""
        self._giving_up.set()

    async def _live(self, key: str, shape: str) -> None:
        """Submit a program, and do to it what its shape says."""
        wait_s, then_s = self._chance.uniform(0.1, 3.0), self._chance.uniform(0.0, 3.0)
        body = {"jobs": SHAPES[shape], "program_data": {"key": key}}
        status, program = await self._ask("POST", "/programs", body, key=key)
        run_id = program["run_id"] if status else ""
        self._note(Note("accepted", key, run_id, status))
        if not run_id or shape not in {"cancelled", "resumed", "edited"}:
            return
        await asyncio.sleep(wait_s)
        if shape == "edited":
            await self._edit(key, run_id)
            return
        await self._steer("cancel", key, run_id)
        if shape == "resumed":
            await asyncio.sleep(then_s)
            await self._steer("resume", key, run_id)

    async def _steer(self, what: str, key: str, run_id: str) -> None:
        # noted before: it may be done though no answer comes
        self._note(Note(what, key, run_id, 0))
        status, _ = await self._ask("POST", f"/programs/{run_id}/{what}")
        self._note(Note(what, key, run_id, status))

    async def _edit(self, key: str, run_id: str) -> None:
        job, data = self._chance.choice(SHAPES["edited"]), {"edited_by": key}
        edit = {"job": job, "data": data}
        self._note(Note("edit", key, run_id, 0, edit))
        status, _ = await self._ask("PATCH", f"/programs/{run_id}/job-data/{job}", data)
        self._note(Note("edit", key, run_id, status, edit))

    async def _ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Answer:
        """Ask one service after the other until one answers; (0, None) when we gave up."""
        headers = {"Idempotency-Key": key} if key else {}
        while not self._giving_up.is_set():
            url = self._chance.choice(self._urls)
            try:
                answer = await self._http.request(method, url + path, json=body, headers=headers)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer.status_code, answer.json()
            await asyncio.sleep(self._chance.uniform(*AGAIN_S))
        return 0, None

    def _note(self, note: Note) -> None:
        words = (note.what, note.key, note.run_id, note.status, note.value)
        with self._file.open("a") as file:
            file.write(json.dumps(words) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_notes(folder: Path) -> list[Note]:
    """Read the files of all clients."""
    files = sorted(folder.glob("client-*.notes"))
    return [Note(*json.loads(line)) for file in files for line in file.read_text().splitlines()]


@asynccontextmanager
async def clients(
    number: int, seed: int, urls: list[str], folder: Path
) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
    """Have clients at work; yield what ends it, giving them so many seconds for their answers."""
    all_of_them = [Client(each, seed, urls, folder) for each in range(number)]
    async with asyncio.TaskGroup() as working:
        tasks = [working.create_task(client.run()) for client in all_of_them]

        async def end(patience_s: float) -> None:
            for client in all_of_them:
                client.stop()
            await asyncio.wait(tasks, timeout=patience_s)
            for client in all_of_them:
                client.give_up()

        yield end
