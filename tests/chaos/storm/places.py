"""Places: where a worker or a service runs, with a network and a clock of its own."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from chaos.storm.clock import STEPPED, Clock
from chaos.storm.foreign import Strays
from chaos.storm.network import Link
from journal import note_kill
from processes import JOBS_FOLDER, JOURNAL_VARIABLE, PREFIX, Json, Process, import_path

READY_TRIES = 4
"""A machine that does many things at once has taken a minute to start five processes."""

REVIVED_WITHIN_S = 1.0


@dataclass(slots=True)
class Place:
    """One host, so to speak: whoever dies here is followed by another, of another name."""

    role: str
    journal: Path
    port: int
    settings: Json
    database: Link
    broker: Link
    clock: Clock
    strays: Strays
    process: Process | None = None
    is_changing: bool = False
    """A fault is at work here: whatever ends now was ended by it."""

    former: list[Process] = field(default_factory=list)
    ended_alone: list[str] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def name(self) -> str:
        """The name of who is here now."""
        return self.process.name if self.process else self.role

    @property
    def names(self) -> list[str]:
        """The names of all who were ever here."""
        return [process.name for process in (*self.former, self.process) if process]

    def start(self) -> Process:
        """Start a process here."""
        if self.process is not None:
            self.former.append(self.process)
        name = f"{self.role}-{next(self._numbers)}"
        words = ["serve"] if self.role.startswith("service") else ["work", "jobs_chaos"]
        self.process = Process(name, words, self._environment(name), port=self.port)
        return self.process

    async def ready_at_last(self) -> None:
        """Wait until who is here, or whoever follows, says that it is ready."""
        for _ in range(READY_TRIES):
            assert self.process is not None
            with suppress(AssertionError):
                await self.process.ready()
                return
            await asyncio.sleep(REVIVED_WITHIN_S)
        msg = f"{self.name} is not ready: {self.process.log[-2000:] if self.process else ''}"
        raise AssertionError(msg)

    async def kill(self) -> None:
        """Kill who is here with SIGKILL, and write it into the journal when it is gone."""
        assert self.process is not None
        await self.process.kill()
        note_kill(self.journal, self.name)

    def freeze(self) -> None:
        """Stop who is here with SIGSTOP."""
        assert self.process is not None
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let who is here go on."""
        assert self.process is not None
        self.process.signal(signal.SIGCONT)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Have it to oneself."""
        assert not self.is_changing
        self.is_changing = True
        try:
            yield
        finally:
            self.is_changing = False

    def revive(self) -> None:
        """Start again what ended by itself, as an orchestrator would; note that it did."""
        if self.process is None or self.is_changing or self.process.is_alive:
            return
        self.ended_alone.append(self.name)
        note_kill(self.journal, self.name)
        self.start()

    def _environment(self, name: str) -> dict[str, str]:
        chosen = self.settings | {
            "database_url": f"postgresql://postgres@127.0.0.1:{self.database.port}/postgres",
            "amqp_url": f"amqp://guest:guest@127.0.0.1:{self.broker.port}/",
            "worker_name": name,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        return (
            inherited
            | self.clock.environment
            | self.strays.environment
            | {
                "PYTHONPATH": import_path(STEPPED, JOBS_FOLDER),
                JOURNAL_VARIABLE: str(self.journal),
                **{f"{PREFIX}{key.upper()}": str(value) for key, value in chosen.items()},
            }
        )
