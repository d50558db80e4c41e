"""Catalogue: every job that a worker can run: its library's, and the registered endpoints."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from program_service.bookkeeping.ledger import registry
from program_service.bookkeeping.registrations import read_each
from program_workers.callbacks.endpoints import CallbackJob
from program_workers.library import Job, JobLibrary

Runnable: TypeAlias = Job | CallbackJob


class Catalogue(Collection[str]):
    """The names of all jobs that can be run now; functions come before endpoints of their name."""

    def __init__(self, library: JobLibrary) -> None:
        """Begin with the functions; endpoints are looked up again and again."""
        self._functions = library.jobs
        self.plain = frozenset(name for name, job in library.items() if job.needs_thread)
        """The functions that run in threads."""
        self._endpoints: dict[str, CallbackJob] = {}
        self._enabled: frozenset[str] = frozenset()
        self.limited: frozenset[str] = frozenset()
        """Of the endpoints that can be called now, those with `max_concurrency`."""

    def update(self, endpoints: Sequence[registry.Job]) -> None:
        """Take what is registered now."""
        readable = [job for job in endpoints if job.endpoint is not None]
        jobs = {job.name: job for job in read_each("job", readable, CallbackJob.of)}
        enabled = {job.name for job in endpoints if job.disabled_at is None and job.name in jobs}
        # what was deleted or disabled may still be running here: its terms are kept
        self._endpoints |= jobs
        self._enabled = frozenset(enabled - self._functions.keys())
        self.limited = frozenset(
            name for name in self._enabled if jobs[name].max_concurrency is not None
        )

    @property
    def functions(self) -> Collection[str]:
        """The names of the functions."""
        return self._functions

    @property
    def endpoints(self) -> Collection[str]:
        """The names of the endpoints that can be called now."""
        return self._enabled

    def find(self, name: str) -> Runnable | None:
        """Return a job, None if no job of this name was ever known here."""
        return self._functions.get(name) or self._endpoints.get(name)

    def of(self, name: str) -> Runnable:
        """Return a job that is known, or was when its program was claimed."""
        return self._functions[name] if name in self._functions else self._endpoints[name]

    def kind(self, name: str) -> str:
        """Say whether a job is a function or an endpoint."""
        return registry.IN_PROCESS if name in self._functions else registry.CALLBACK

    def __contains__(self, name: object) -> bool:
        """Say whether a job can be run now."""
        return name in self._functions or name in self._enabled

    def __iter__(self) -> Iterator[str]:
        """Walk through the names."""
        yield from self._functions
        yield from self._enabled

    def __len__(self) -> int:
        """Count the names."""
        return len(self._functions) + len(self._enabled)
