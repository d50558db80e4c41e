"""Exchange: how a call is sent, answered and repeated, without I/O, for both clients."""

from collections.abc import Generator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any, TypeAlias, TypeVar

import httpx
import orjson

from program_executor.calls import Call
from program_executor.shapes import Json
from program_service.bookkeeping.storable import storable_object
from program_service.tracing.switch import current_headers

T = TypeVar("T")

TIMEOUT_S = 10.0
TRIES = 6
"""How often a call is sent that may be repeated: for 6 s, if nothing answers."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
LONGEST_WAIT_S = 60.0
"""Who is told to come again later than that is told so, and not held."""

PASSING = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""Answers after which the same request may succeed."""


WRONG_KEY = "too_many_failed_tries"
"""The code of a 429 that waiting does not help: the key stays wrong."""


NO_JSON = (ValueError, RecursionError)
"""What reading an answer raises that is no JSON; somebody in between may have sent it."""


class ProblemError(Exception):
    """The service refused a request; `problem` is its RFC 9457 answer."""

    def __init__(self, status: int, problem: Json) -> None:
        """Take the answer."""
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code", "error"))
        super().__init__(f"{status} {self.code}: {problem.get('detail', 'no detail')}")


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next try."""

    seconds: float


Answer: TypeAlias = httpx.Response | httpx.TransportError
Exchange: TypeAlias = Generator[Call[T] | Pause, Answer | None, T]
"""Yields what to do, takes what came of it, and returns the content of the answer."""


def exchange(call: Call[T], *, tries: int = TRIES) -> Exchange[T]:
    """Send a call, again while that is safe and may help.

    Raises:
        ProblemError: the service refused.
        httpx.TransportError: the service cannot be reached.
    """
    for tried in count():
        answer = yield call
        assert answer is not None
        if not _may_help(call, answer) or tried + 1 >= tries:
            break
        pause_s = _pause_s(tried, answer)
        if pause_s > LONGEST_WAIT_S:
            break
        yield Pause(pause_s)
    assert answer is not None
    content: T = _content(answer, call)
    return content


def _may_help(call: Call[Any], answer: Answer) -> bool:
    """Say whether a call may be sent again, and whether that may help."""
    if isinstance(answer, httpx.TransportError):
        return call.is_safe_to_repeat
    # 429: it was refused before anything was done
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return _problem(answer).get("code") != WRONG_KEY
    return call.is_safe_to_repeat and answer.status_code in PASSING


def _pause_s(tried: int, answer: Answer) -> float:
    backoff_s: float = min(FIRST_PAUSE_S * 2**tried, LONGEST_PAUSE_S)
    if isinstance(answer, httpx.TransportError):
        return backoff_s
    after = answer.headers.get("retry-after", "")
    is_number = after.isascii() and after.isdecimal()
    return max(backoff_s, float(after) if is_number else 0.0)


def _content(answer: Answer, call: Call[Any]) -> Any:
    if isinstance(answer, httpx.TransportError):
        raise answer
    if not answer.is_success:
        raise ProblemError(answer.status_code, _problem(answer))
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return None
    try:
        content = answer.json()
        if call.part is None:
            return content
        found = content[call.part]
        return (found, content.get("next_cursor")) if call.is_paged else found
    except (*NO_JSON, KeyError, TypeError) as error:
        # a page of somebody in between, or of another service
        raise ProblemError(answer.status_code, _problem(answer)) from error


def _problem(answer: httpx.Response) -> Json:
    """Read a problem; what somebody in between answered becomes one."""
    try:
        problem = answer.json()
    except NO_JSON:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": answer.text[:500]}


def request_options(call: Call[Any]) -> dict[str, Any]:
    """Return a call as arguments of httpx.

    Raises:
        ValueError: it has data that cannot be stored; the message says where.
    """
    headers = current_headers() | dict(call.headers)
    content = None
    if call.json is not None:
        content = orjson.dumps(storable_object(call.json, what="the request"))
        headers["Content-Type"] = "application/json"
    return {
        "method": call.method,
        "url": call.path,
        "content": content,
        "params": dict(call.params),
        "headers": headers,
        "timeout": TIMEOUT_S + call.hold_s,
    }


def client_options(url: str, key: str | None, transport: Any) -> dict[str, Any]:
    """Return the arguments of an httpx client for a service."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": TIMEOUT_S, "transport": transport}
