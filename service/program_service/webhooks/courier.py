"""Courier: send signed notifications to receivers, and leave those alone that do not respond."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from program_service.bookkeeping.retry import draw
from program_service.logs import log
from program_service.telemetry import Event, Metrics
from program_service.tracing.spans import HEADER
from program_service.webhooks.breaker import Breakers
from program_service.webhooks.caller import Caller
from program_service.webhooks.errors import CallError, Forbidden
from program_service.webhooks.guard import host_of
from program_service.webhooks.places import Places
from program_service.webhooks.signing import signature_headers

WITHIN_S = 15.0
CONNECT_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Notification:
    """A message about a program, and where to send it."""

    url: str
    message_id: str
    message: Mapping[str, Any]
    secrets: Sequence[str]
    traceparent: str | None = None


class Courier:
    """Sends notifications of all kinds; the places and the breakers are this process's own."""

    def __init__(self, caller: Caller, metrics: Metrics) -> None:
        """Take who calls, and where refusals are counted."""
        self._caller = caller
        self._metrics = metrics
        self.places = Places()
        self._breakers = Breakers()

    def wait_s(self, url: str) -> float:
        """Return for how long to leave a receiver alone; 0 lets the asker call now."""
        wait_s = self._breakers.wait_s(host_of(url))
        # not all of them at the same moment
        return wait_s * (1 + draw())

    async def send(self, notification: Notification) -> str | None:
        """Send a notification, in the trace of its program; return what went wrong, or None."""
        body = orjson.dumps(notification.message, default=str)
        headers = signature_headers(
            notification.secrets,
            message_id=notification.message_id,
            timestamp=int(time.time()),
            body=body,
        )
        if notification.traceparent is not None:
            headers[HEADER] = notification.traceparent
        host = host_of(notification.url)
        try:
            answer = await self._caller.post(
                notification.url,
                headers=headers,
                body=body,
                within_s=WITHIN_S,
                connect_within_s=CONNECT_WITHIN_S,
            )
        except Forbidden as error:
            self._metrics.blocked.labels(error.rule).inc()
            return str(error)
        except CallError as error:
            self._note_silence(host, str(error))
            return str(error)
        self._breakers.succeeded(host)  # whatever it answers, it is there
        is_fine = 200 <= answer.status < 300  # noqa: PLR2004 - as HTTP says
        return None if is_fine else f"it answered {answer.status}"

    def _note_silence(self, host: str, problem: str) -> None:
        """Count a call that got no answer, and say so when that opens the breaker of the host."""
        before = self._breakers.circuit(host)
        was_open = before is not None and before.is_open
        self._breakers.failed(host, problem)
        now = self._breakers.circuit(host)
        if now is not None and now.is_open and not was_open:
            log.warning(Event.NOTIFY_PAUSED, target=host, error_message=problem)
