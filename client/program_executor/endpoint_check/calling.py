"""Calling: calls as a worker makes them, and some that only a stranger would make."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
import orjson

from program_executor.endpoint_check.links import Links, Step
from program_service.telemetry import VERSION
from program_service.webhooks.caller import LIMIT_BYTES
from program_service.webhooks.signing import signature_headers


@dataclass(frozen=True, slots=True)
class Plan:
    """What is checked, and how."""

    url: str
    secret: str
    job: str = "check"
    program_data: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 30.0
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; the names of headers are in lower case, `body` is cut after the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def is_too_long(self) -> bool:
        """Whether the body is longer than is taken."""
        return len(self.body) > LIMIT_BYTES

    @property
    def encoding(self) -> str:
        """How the body is compressed; empty when it is not."""
        encoding = self.headers.get("content-encoding", "").lower()
        return "" if encoding == "identity" else encoding


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No whole answer came; `is_late` when one might have come later."""

    text: str
    is_late: bool = False
    is_unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Signing:
    """How a call is signed: with which secrets, and how long ago."""

    keys: Sequence[str]
    age_s: int = 0


class Caller:
    """Calls one endpoint, each time over a connection of its own."""

    def __init__(self, plan: Plan, links: Links) -> None:
        """Take what is called, and where it may answer later."""
        self._plan = plan
        self._links = links
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=plan.timeout_s + 1,  # `post` counts the whole time
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *args: object) -> None:
        """Close what is open."""
        await self._client.aclose()

    def body(self, step: Step, **more: Any) -> bytes:
        """Write the body of a step's newest try, in the way of the worker."""
        deadline = datetime.now(UTC) + timedelta(seconds=step.timeout_s)
        content = {
            "type": "job.execute",
            "run_id": step.run_id,
            "job": self._plan.job,
            "step": 0,
            "attempt": step.attempt,
            "jobs": [self._plan.job],
            "program_data": self._plan.program_data,
            "job_data": step.job_data,
            "deadline": deadline.isoformat(),
            "links": self._links.of(step),
        }
        return orjson.dumps(content | more)

    def headers(self, step: Step, body: bytes, signing: Signing) -> dict[str, str]:
        """Write the headers of a call, signed."""
        message_id = f"{step.run_id}-0"
        deadline = datetime.now(UTC) + timedelta(seconds=step.timeout_s)
        return {
            **signature_headers(
                signing.keys,
                message_id=message_id,
                timestamp=int(time.time()) - signing.age_s,
                body=body,
            ),
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"program-executor/{VERSION}",
            "idempotency-key": message_id,
            "x-program-attempt": str(step.attempt),
            "x-program-deadline": deadline.isoformat(),
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        }

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer | NoAnswer:
        """Post, and return what came within the time limit."""
        within_s = self._plan.timeout_s
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(headers, body)
        except TimeoutError:
            return NoAnswer(f"no whole answer came within {within_s:g} s", is_late=True)
        except httpx.ConnectError as error:
            text = f"nothing lets us connect ({_words(error)})"
            return NoAnswer(text, is_unreachable=True)
        except httpx.TransportError as error:
            return NoAnswer(f"the connection broke, or brought no HTTP ({_words(error)})")
        except Exception as error:  # noqa: BLE001 - everything done for one call
            text = f"{type(error).__name__}: {_words(error)}"
            return NoAnswer(f"what came cannot be read ({text})")

    async def _exchange(self, headers: Mapping[str, str], body: bytes) -> Answer:
        clock = asyncio.get_running_loop().time
        began = clock()
        sending = self._client.stream("POST", self._plan.url, content=body, headers=headers)
        async with sending as response:
            received = bytearray()
            async for part in response.aiter_raw():
                received += part
                if len(received) > LIMIT_BYTES:
                    break
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, found, bytes(received), clock() - began)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
