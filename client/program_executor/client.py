"""Client: talk to the service from Python.

with Client("https://programs.example", key="pe_…") as client:
    program = client.submit(["charge", "provision", "mail"], program_data={"customer": 42})
    program = client.wait(program["run_id"])
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx
from httpx_sse import EventSource

from program_executor import calls
from program_executor.access import Access
from program_executor.calls import Call
from program_executor.exchange import (
    TRIES,
    Answer,
    Pause,
    client_options,
    exchange,
    request_options,
)
from program_executor.following import Following
from program_executor.paging import walk
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

DEFAULT_URL = "http://127.0.0.1:8080"
HOLD_S = 20.0
"""How long one request of `wait` holds; below the idle limits of common proxies."""


class Client(Access):
    """A client for threads; its methods block. `AsyncClient` has the same for event loops."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        tries: int = TRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Talk to the service at this address, with this API key."""
        self._http = httpx.Client(**client_options(url, key, transport))
        self._tries = tries

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

    def send(self, call: Call[T]) -> T:
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
            answer = self._do(step)

    def _do(self, step: Call[Any] | Pause) -> Answer | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(**request_options(step))
        except httpx.TransportError as error:
            return error

    def submit(
        self,
        jobs: Sequence[str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ProgramOptions],
    ) -> Program:
        """Submit a program; the same key answers the same program again."""
        return self.send(calls.submit(jobs, options, idempotency_key or str(uuid.uuid4())))

    def submit_batch(self, programs: Sequence[ProgramBody]) -> list[str]:
        """Submit programs, all or nothing, and return their run_ids."""
        return [each["run_id"] for each in self.send(calls.submit_batch(programs))]

    def get(self, run_id: str, *, wait_s: float = 0) -> Program:
        """Return a program as it stands now, or within `wait_s` seconds, once it has ended."""
        return self.send(calls.get(run_id, wait_s=wait_s))

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

    def follow(self, run_id: str) -> Iterator[Program]:
        """Return a program now and after each change, until it has ended."""
        following = Following(run_id)
        while not following.is_over:
            if not following.is_deaf:
                yield from self._listen(following)
            if not following.is_over:
                yield from following.news(self.send(following.asking()))

    def _listen(self, following: Following) -> Iterator[Program]:
        try:
            with self._http.stream(**request_options(following.listening())) as answer:
                if following.hears(answer):
                    for event in EventSource(answer).iter_sse():
                        yield from following.heard(event)
        except httpx.TransportError as error:
            following.lose(error)

    def page(self, *, cursor: str | None = None, **filters: Unpack[Filters]) -> ProgramPage:
        """Return one page of programs."""
        return self.send(calls.list_page(filters, cursor))

    def programs(self, **filters: Unpack[Filters]) -> Iterator[ListedProgram]:
        """Walk through programs, page by page; `limit` is the size of a page.

        They come without their data, unless `include="data"` asks for them.
        """
        return walk(self.send, partial(calls.list_page, filters), "programs")

    def cancel(self, run_id: str, *, reason: str | None = None) -> Program:
        """Cancel a program; the reason is kept in the audit trail."""
        return self.send(calls.cancel(run_id, reason))

    def resume(
        self, run_id: str, *, from_step: int | None = None, reason: str | None = None
    ) -> Program:
        """Let an errored or cancelled program go on, from its step or from another."""
        return self.send(calls.resume(run_id, from_step, reason))

    def attempt_page(self, run_id: str, **paging: Unpack[Paging]) -> AttemptPage:
        """Return one page of the tries of a program's steps, the first first."""
        return self.send(calls.attempt_page(run_id, paging))

    def attempts(self, run_id: str, **paging: Unpack[Paging]) -> Iterator[Attempt]:
        """Walk through every try of every step, page by page."""
        while True:
            page = self.attempt_page(run_id, **paging)
            yield from page["attempts"]
            if page["next_cursor"] is None:
                return
            paging["cursor"] = page["next_cursor"]

    def explain(self, run_id: str) -> Explanation:
        """Say why a program is not moving, and when it will."""
        return self.send(calls.explain(run_id))

    def job_data(self, run_id: str, job: str) -> Json:
        """Read what a job keeps in a program."""
        return self.send(calls.job_data(run_id, job))

    def set_job_data(self, run_id: str, job: str, value: Json) -> Json:
        """Replace what a job keeps in a program."""
        return self.send(calls.set_job_data(run_id, job, value))

    def merge_job_data(self, run_id: str, job: str, value: Json) -> Json:
        """Merge into what a job keeps in a program, shallowly."""
        return self.send(calls.merge_job_data(run_id, job, value))

    def jobs(self) -> list[Job]:
        """List the registered jobs."""
        found, cursor = self.send(calls.jobs())
        while cursor is not None:
            more, cursor = self.send(calls.jobs(cursor))
            found += more
        return found

    def job(self, name: str) -> Job:
        """Look at a job."""
        return self.send(calls.job(name))

    def put_job(self, name: str, **endpoint: Unpack[Endpoint]) -> Job:
        """Have an HTTP endpoint called as a job; a secret that the service makes is shown once."""
        return self.send(calls.put_job(name, endpoint))

    def rotate_secret(
        self, name: str, *, secret: str | None = None, overlap_s: float | None = None
    ) -> Job:
        """Sign the calls of a job with a new secret, and for `overlap_s` with the old one, too."""
        return self.send(calls.rotate_secret(name, secret, overlap_s))

    def rotate_token_key(self, *, overlap_s: float | None = None) -> list[TokenKey]:
        """Sign the links of calls with a new key; older links stay valid for `overlap_s`."""
        return self.send(calls.rotate_token_key(overlap_s))

    def delete_job(self, name: str) -> None:
        """Forget a job that no unfinished program needs."""
        self.send(calls.delete_job(name))

    def workers(self) -> list[Worker]:
        """List the live workers."""
        found, cursor = self.send(calls.workers())
        while cursor is not None:
            more, cursor = self.send(calls.workers(cursor))
            found += more
        return found
