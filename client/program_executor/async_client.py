"""Async client: talk to the service from an event loop.

async with AsyncClient("https://programs.example", key="pe_…") as client:
    program = await client.submit(["charge", "provision", "mail"])
    program = await client.wait(program["run_id"])
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx
from httpx_sse import EventSource

from program_executor import calls
from program_executor.access import AsyncAccess
from program_executor.calls import Call
from program_executor.client import DEFAULT_URL, HOLD_S
from program_executor.exchange import (
    TRIES,
    Answer,
    Pause,
    client_options,
    exchange,
    request_options,
)
from program_executor.following import Following
from program_executor.paging import walk_later
from program_executor.shapes import (
    FINAL,
    Attempt,
    AttemptPage,
    Endpoint,
    Explanation,
    Filters,
    Job,
    Json,
    ListedProgram,
    Paging,
    Program,
    ProgramBody,
    ProgramOptions,
    ProgramPage,
    TokenKey,
    Worker,
)

T = TypeVar("T")


class AsyncClient(AsyncAccess):
    """A client for event loops; what `Client` does, to be awaited."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        tries: int = TRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Talk to the service at this address, with this API key."""
        self._http = httpx.AsyncClient(**client_options(url, key, transport))
        self._tries = tries

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call, again while that is safe and may help; return the content of the answer.

        Raises:
            ProblemError: the service refused.
            httpx.TransportError: the service cannot be reached.
        """
        steps, answer = exchange(call, tries=self._tries), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                content: T = end.value
                return content
            answer = await self._do(step)

    async def _do(self, step: Call[Any] | Pause) -> Answer | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(**request_options(step))
        except httpx.TransportError as error:
            return error

    async def submit(
        self,
        jobs: Sequence[str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ProgramOptions],
    ) -> Program:
        """Submit a program; the same key answers the same program again."""
        return await self.send(calls.submit(jobs, options, idempotency_key or str(uuid.uuid4())))

    async def submit_batch(self, programs: Sequence[ProgramBody]) -> list[str]:
        """Submit programs, all or nothing, and return their run_ids."""
        return [each["run_id"] for each in await self.send(calls.submit_batch(programs))]

    async def get(self, run_id: str, *, wait_s: float = 0) -> Program:
        """Return a program as it stands now, or within `wait_s` seconds, once it has ended."""
        return await self.send(calls.get(run_id, wait_s=wait_s))

    async def wait(self, run_id: str, *, timeout_s: float = float("inf")) -> Program:
        """Wait until a program has ended.

        Raises:
            TimeoutError: it has not in time.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while True:
            hold_s = max(0.0, min(HOLD_S, deadline - clock()))
            program = await self.get(run_id, wait_s=hold_s)
            if program["status"] in FINAL:
                return program
            if clock() >= deadline:
                message = f"{run_id} is {program['status']} after {timeout_s} s"
                raise TimeoutError(message)

    async def follow(self, run_id: str) -> AsyncIterator[Program]:
        """Return a program now and after each change, until it has ended."""
        following = Following(run_id)
        while not following.is_over:
            if not following.is_deaf:
                async for program in self._listen(following):
                    yield program
            if not following.is_over:
                for program in following.news(await self.send(following.asking())):
                    yield program

    async def _listen(self, following: Following) -> AsyncIterator[Program]:
        try:
            async with self._http.stream(**request_options(following.listening())) as answer:
                if following.hears(answer):
                    async for event in EventSource(answer).aiter_sse():
                        for program in following.heard(event):
                            yield program
        except httpx.TransportError as error:
            following.lose(error)

    async def page(self, *, cursor: str | None = None, **filters: Unpack[Filters]) -> ProgramPage:
        """Return one page of programs."""
        return await self.send(calls.list_page(filters, cursor))

    def programs(self, **filters: Unpack[Filters]) -> AsyncIterator[ListedProgram]:
        """Walk through programs, page by page; `limit` is the size of a page.

        They come without their data, unless `include="data"` asks for them.
        """
        return walk_later(self.send, partial(calls.list_page, filters), "programs")

    async def cancel(self, run_id: str, *, reason: str | None = None) -> Program:
        """Cancel a program; the reason is kept in the audit trail."""
        return await self.send(calls.cancel(run_id, reason))

    async def resume(
        self, run_id: str, *, from_step: int | None = None, reason: str | None = None
    ) -> Program:
        """Let an errored or cancelled program go on, from its step or from another."""
        return await self.send(calls.resume(run_id, from_step, reason))

    async def attempt_page(self, run_id: str, **paging: Unpack[Paging]) -> AttemptPage:
        """Return one page of the tries of a program's steps, the first first."""
        return await self.send(calls.attempt_page(run_id, paging))

    async def attempts(self, run_id: str, **paging: Unpack[Paging]) -> AsyncIterator[Attempt]:
        """Walk through every try of every step, page by page."""
        while True:
            page = await self.attempt_page(run_id, **paging)
            for each in page["attempts"]:
                yield each
            if page["next_cursor"] is None:
                return
            paging["cursor"] = page["next_cursor"]

    async def explain(self, run_id: str) -> Explanation:
        """Say why a program is not moving, and when it will."""
        return await self.send(calls.explain(run_id))

    async def job_data(self, run_id: str, job: str) -> Json:
        """Read what a job keeps in a program."""
        return await self.send(calls.job_data(run_id, job))

    async def set_job_data(self, run_id: str, job: str, value: Json) -> Json:
        """Replace what a job keeps in a program."""
        return await self.send(calls.set_job_data(run_id, job, value))

    async def merge_job_data(self, run_id: str, job: str, value: Json) -> Json:
        """Merge into what a job keeps in a program, shallowly."""
        return await self.send(calls.merge_job_data(run_id, job, value))

    async def jobs(self) -> list[Job]:
        """List the registered jobs."""
        found, cursor = await self.send(calls.jobs())
        while cursor is not None:
            more, cursor = await self.send(calls.jobs(cursor))
            found += more
        return found

    async def job(self, name: str) -> Job:
        """Look at a job."""
        return await self.send(calls.job(name))

    async def put_job(self, name: str, **endpoint: Unpack[Endpoint]) -> Job:
        """Have an HTTP endpoint called as a job; a secret that the service makes is shown once."""
        return await self.send(calls.put_job(name, endpoint))

    async def rotate_secret(
        self, name: str, *, secret: str | None = None, overlap_s: float | None = None
    ) -> Job:
        """Sign the calls of a job with a new secret, and for `overlap_s` with the old one, too."""
        return await self.send(calls.rotate_secret(name, secret, overlap_s))

    async def rotate_token_key(self, *, overlap_s: float | None = None) -> list[TokenKey]:
        """Sign the links of calls with a new key; older links stay valid for `overlap_s`."""
        return await self.send(calls.rotate_token_key(overlap_s))

    async def delete_job(self, name: str) -> None:
        """Forget a job that no unfinished program needs."""
        await self.send(calls.delete_job(name))

    async def workers(self) -> list[Worker]:
        """List the live workers."""
        found, cursor = await self.send(calls.workers())
        while cursor is not None:
            more, cursor = await self.send(calls.workers(cursor))
            found += more
        return found
