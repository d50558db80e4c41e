"""Bounded: a connection of uvicorn, with limits on what its client may send, and how slowly.

Uvicorn has none on the head of a request, on the time for it and for the body, or on connections.
They hold on each port, before any application is asked.
"""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Self

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from program_service.settings import Settings

if TYPE_CHECKING:
    from program_executor.web import BoundedConfig

MOST_PIPELINED = 100
"""Requests that one connection may send before the first of them is answered."""

LINGER_S = 2.0
"""How long what a refused client still sends is read and dropped: a connection that is closed with
unread bytes is reset, and the client may never see why."""

STALL_S = 60.0
"""How long a client may read nothing of an answer, and how long a closed connection may linger."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may send and take."""

    head_bytes: int = 65_536
    head_s: float = 10.0
    body_s: float = 60.0
    connections: int = 900

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take what the settings say."""
        return cls(
            settings.max_head_bytes,
            settings.max_head_s,
            settings.max_body_s,
            settings.max_connections,
        )


class BoundedProtocol(HttpToolsProtocol):
    """One connection, whose client is waited for only so long."""

    config: "BoundedConfig"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin to wait for the first head."""
        super().__init__(*args, **kwargs)
        self._bounds = self.config.bounds
        self._is_refused = False
        self._is_between = True
        """Whether nothing of a request has come since the last one was read."""
        self._is_in_head = False
        self._raw_bytes = self._parsed_bytes = 0
        """Of the head: bytes that were fed while it was read, and those of its parsed parts."""
        self.waits_since = time.monotonic()
        """When the client began to send what it has not sent yet; infinite if we do not wait."""
        self._waits_until = self.waits_since + self._bounds.head_s
        self._stalls_at = inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, unless there are too many that are being answered."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections and not self._make_room():
            self._refuse(503, "too_many_connections", f"{self._bounds.connections} are open.")
            transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client, if any does."""
        waiting = [
            each
            for each in self.connections
            if isinstance(each, BoundedProtocol) and each is not self and each.is_idle
        ]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda each: each.waits_since)
        self.config.note("idle")
        oldest.close()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether no request of this connection is being answered, or was read to the end."""
        is_waiting = self._is_refused or (self.waits_since < inf and not self._is_answering)
        return is_waiting and not self.transport.is_closing()

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Parse what comes, piece by piece: the parser keeps a head until it is complete."""
        self._unset_keepalive_if_required()
        if self._waits_until == inf:
            self._wait_for_head()
        while data and not self._is_refused and not self.transport.is_closing():
            was_between, was_in_head = self._is_between, self._is_in_head
            room = self._bounds.head_bytes - (self._raw_bytes if was_in_head else 0)
            piece, data = data[:room], data[room:]
            self._parse(piece)
            if self._is_in_head:
                # how much of a piece belongs to a head that began within it, nobody says
                self._raw_bytes += len(piece) if was_in_head or was_between else 0
                if self._raw_bytes >= self._bounds.head_bytes:
                    self._refuse_head()
                elif self._waits_until == inf:  # it began behind the end of another request
                    self._wait_for_head()

    def _parse(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError:
            self._refuse(400, "malformed_request", "This is no request of HTTP/1.1.")
        except httptools.HttpParserUpgrade:
            pass  # a client that asks for another protocol is answered in this one

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._is_between, self._is_in_head = False, True
        self._raw_bytes = self._parsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count it."""
        self._parsed_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it."""
        self._parsed_bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait for the body from now on."""
        self._is_in_head = False
        if self._parsed_bytes > self._bounds.head_bytes:
            self._refuse_head()
        if len(self.pipeline) >= MOST_PIPELINED:
            self._refuse(429, "too_many_requests", f"At most {MOST_PIPELINED} may be pipelined.")
        if self._is_refused:
            raise _Refused
        self.waits_since = time.monotonic()
        self._waits_until = self.waits_since + self._bounds.body_s
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the client no more: all of the request is here."""
        super().on_message_complete()
        self._is_between, self.waits_since, self._waits_until = True, inf, inf

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes a connection that is idle for 5 seconds."""
        super().on_response_complete()
        if self.waits_since == inf and not self.transport.is_closing():
            self.waits_since = time.monotonic()

    def pause_writing(self) -> None:
        """Watch a client that does not read."""
        super().pause_writing()
        self._stalls_at = time.monotonic() + STALL_S

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        self._stalls_at = inf

    def look(self, now: float) -> None:
        """Close the connection if its client has taken too long."""
        if self.transport.is_closing():
            self._stalls_at = min(self._stalls_at, now + STALL_S)
        if now >= self._stalls_at:
            if not self._is_refused:
                self.config.note("answer_not_read")
            self.transport.abort()
        elif now >= self._waits_until:
            self._time_out(now)

    def _wait_for_head(self) -> None:
        self.waits_since = time.monotonic()
        self._waits_until = self.waits_since + self._bounds.head_s

    def _time_out(self, now: float) -> None:
        if not (self._is_in_head or self._is_between):
            most = f"{self._bounds.body_s:g} s"
            self._refuse(408, "body_too_slow", f"The body took longer than {most} to come.")
        elif self._is_answering:  # the request before
            self._waits_until = now + self._bounds.head_s
        else:
            most = f"{self._bounds.head_s:g} s"
            self._refuse(408, "head_too_slow", f"The head took longer than {most} to come.")

    def _refuse_head(self) -> None:
        most = self._bounds.head_bytes
        self._refuse(431, "head_too_large", f"Request line and headers exceed {most} bytes.")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer for ourselves, if no answer is under way, and close."""
        if self._is_refused:
            return
        self._is_refused, self._waits_until = True, inf
        self.config.note(code)
        is_answering, is_only = self._is_answering, not self.pipeline
        if is_answering and is_only and not self._is_in_head and not self.cycle.response_started:
            self.cycle.disconnected = True  # what the application answers is for nobody
            self.cycle.message_event.set()
            is_answering = False
        if is_answering:  # those before are answered, and this one is not
            self.cycle.keep_alive = False
            return
        self.transport.write(_problem(status, code, detail))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._stalls_at = time.monotonic() + LINGER_S

    def close(self) -> None:
        """Close it without an answer: nothing was asked, or it was refused already."""
        self._is_refused = True
        self.transport.close()


def _problem(status: int, code: str, detail: str) -> bytes:
    """Return an answer with a problem as RFC 9457 has it, after which nothing follows."""
    phrase = HTTPStatus(status).phrase
    problem = {
        "type": f"urn:program-executor:problem:{code}",
        "title": phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    body = orjson.dumps(problem)
    retry = "retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\n{retry}"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


class _Refused(Exception):
    """The parser shall stop."""
