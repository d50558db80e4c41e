"""Client: talk to the service from Python.

with Client("https://programs.example", key="pe_…") as client:
    program = client.submit(["charge", "provision", "mail"], program_data={"customer": 42})
    program = client.wait(program["run_id"])
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, cast

import httpx

from program_executor import calls
from program_executor.calls import FINAL, Attempt, Call, Json, Program, ProgramPage, Submission
from program_executor.exchange import Answer, Pause, client_options, exchange, request_options

DEFAULT_URL = "http://127.0.0.1:8080"
HOLD_S = 20.0
"""How long one request of `wait` holds; below the idle limits of common proxies."""


class Client:
    """A client for threads; its methods block. `AsyncClient` has the same for event loops."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Talk to the service at this address, with this API key."""
        self._http = httpx.Client(**client_options(url, key, transport))

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call) -> Any:
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
            answer = self._do(step)

    def _do(self, step: Call | Pause) -> Answer | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(**request_options(step))
        except httpx.TransportError as error:
            return error

    def submit(
        self, jobs: Sequence[str], *, idempotency_key: str | None = None, **options: Any
    ) -> Program:
        """Submit a program; options are program_data, job_data, start_at and labels."""
        body = Submission(**options).body(jobs)
        return cast("Program", self.send(calls.submit(body, idempotency_key or str(uuid.uuid4()))))

    def submit_batch(self, programs: Sequence[Json]) -> list[str]:
        """Submit programs, all or nothing, and return their run_ids."""
        return [each["run_id"] for each in self.send(calls.submit_batch(programs))["programs"]]

    def get(self, run_id: str, *, wait_s: float = 0) -> Program:
        """Return a program as it stands now, or within `wait_s` seconds, once it has ended."""
        return cast("Program", self.send(calls.get(run_id, wait_s=wait_s)))

    def wait(self, run_id: str, *, timeout_s: float = float("inf")) -> Program:
        """Wait until a program has ended.

        Raises:
            TimeoutError: it has not in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            hold_s = max(0.0, min(HOLD_S, deadline - time.monotonic()))
            program = self.get(run_id, wait_s=hold_s)
            if program["status"] in FINAL:
                return program
            if time.monotonic() >= deadline:
                message = f"{run_id} is {program['status']} after {timeout_s} s"
                raise TimeoutError(message)

    def page(self, **filters: Any) -> ProgramPage:
        """Return one page of programs; filters are those of `GET /programs`."""
        return cast("ProgramPage", self.send(calls.list_page(filters)))

    def programs(self, **filters: Any) -> Iterator[Program]:
        """Walk through programs, page by page; filters are those of `GET /programs`."""
        cursor = None
        while True:
            page = self.page(**filters, cursor=cursor)
            yield from page["programs"]
            if (cursor := page["next_cursor"]) is None:
                return

    def cancel(self, run_id: str) -> Program:
        """Cancel a program."""
        return cast("Program", self.send(calls.cancel(run_id)))

    def resume(self, run_id: str, *, from_step: int | None = None) -> Program:
        """Let an errored or cancelled program go on, from its step or from another."""
        return cast("Program", self.send(calls.resume(run_id, from_step)))

    def attempts(self, run_id: str) -> list[Attempt]:
        """List every try of every step."""
        return cast("list[Attempt]", self.send(calls.attempts(run_id))["attempts"])

    def explain(self, run_id: str) -> Json:
        """Say why a program is not moving, and when it will."""
        return cast("Json", self.send(calls.explain(run_id)))

    def jobs(self) -> list[Json]:
        """List the registered jobs."""
        return cast("list[Json]", self.send(calls.jobs())["jobs"])

    def workers(self) -> list[Json]:
        """List the live workers."""
        return cast("list[Json]", self.send(calls.workers())["workers"])
