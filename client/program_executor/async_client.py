"""Async client: talk to the service from an event loop.

async with AsyncClient("https://programs.example", key="pe_…") as client:
    program = await client.submit(["charge", "provision", "mail"])
    program = await client.wait(program["run_id"])
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self, cast

import httpx

from program_executor import calls
from program_executor.calls import FINAL, Attempt, Call, Json, Program, ProgramPage, Submission
from program_executor.client import DEFAULT_URL, HOLD_S
from program_executor.exchange import Answer, Pause, client_options, exchange, request_options


class AsyncClient:
    """A client for event loops; what `Client` does, to be awaited."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Talk to the service at this address, with this API key."""
        self._http = httpx.AsyncClient(**client_options(url, key, transport))

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

    async def send(self, call: Call) -> Any:
        """Send a call, again while that is safe and may help; return the content of the answer.

        Raises:
            ProblemError: the service refused.
            httpx.TransportError: the service cannot be reached.
        """
        steps, answer = exchange(call), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value
            answer = await self._do(step)

    async def _do(self, step: Call | Pause) -> Answer | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(**request_options(step))
        except httpx.TransportError as error:
            return error

    async def submit(
        self, jobs: Sequence[str], *, idempotency_key: str | None = None, **options: Any
    ) -> Program:
        """Submit a program; options are program_data, job_data, start_at and labels."""
        body = Submission(**options).body(jobs)
        return cast(
            "Program", await self.send(calls.submit(body, idempotency_key or str(uuid.uuid4())))
        )

    async def submit_batch(self, programs: Sequence[Json]) -> list[str]:
        """Submit programs, all or nothing, and return their run_ids."""
        return [
            each["run_id"] for each in (await self.send(calls.submit_batch(programs)))["programs"]
        ]

    async def get(self, run_id: str, *, wait_s: float = 0) -> Program:
        """Return a program as it stands now, or within `wait_s` seconds, once it has ended."""
        return cast("Program", await self.send(calls.get(run_id, wait_s=wait_s)))

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

    async def page(self, **filters: Any) -> ProgramPage:
        """Return one page of programs; filters are those of `GET /programs`."""
        return cast("ProgramPage", await self.send(calls.list_page(filters)))

    async def programs(self, **filters: Any) -> AsyncIterator[Program]:
        """Walk through programs, page by page; filters are those of `GET /programs`."""
        cursor = None
        while True:
            page = await self.page(**filters, cursor=cursor)
            for program in page["programs"]:
                yield program
            if (cursor := page["next_cursor"]) is None:
                return

    async def cancel(self, run_id: str) -> Program:
        """Cancel a program."""
        return cast("Program", await self.send(calls.cancel(run_id)))

    async def resume(self, run_id: str, *, from_step: int | None = None) -> Program:
        """Let an errored or cancelled program go on, from its step or from another."""
        return cast("Program", await self.send(calls.resume(run_id, from_step)))

    async def attempts(self, run_id: str) -> list[Attempt]:
        """List every try of every step."""
        return cast("list[Attempt]", (await self.send(calls.attempts(run_id)))["attempts"])

    async def explain(self, run_id: str) -> Json:
        """Say why a program is not moving, and when it will."""
        return cast("Json", await self.send(calls.explain(run_id)))

    async def jobs(self) -> list[Json]:
        """List the registered jobs."""
        return cast("list[Json]", (await self.send(calls.jobs()))["jobs"])

    async def workers(self) -> list[Json]:
        """List the live workers."""
        return cast("list[Json]", (await self.send(calls.workers()))["workers"])
