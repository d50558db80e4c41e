"""Following: a program's changes as they happen, whatever stands between it and us.

The clients listen to its events. When a stream breaks, they ask for the program once and listen
again, after what they heard last. Where events do not come through, as behind a proxy that holds
answers back, they only ask.
"""

from dataclasses import dataclass

import httpx
from httpx_sse import ServerSentEvent

from program_executor import calls
from program_executor.calls import Call
from program_executor.exchange import PASSING
from program_executor.shapes import FINAL, Program

EVENT = "program"
"""The kind of event that carries a program."""

ASK_S = 1.0
"""How long one question holds: so late is a change seen where events do not come through."""


@dataclass(slots=True)
class Following:
    """What was heard of a program; the clients do the listening and asking."""

    run_id: str
    program: Program | None = None
    last_event_id: str | None = None
    is_deaf: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the program has ended."""
        return self.program is not None and self.program["status"] in FINAL

    def listening(self) -> Call[None]:
        """Return the call that listens."""
        return calls.events(self.run_id, self.last_event_id)

    def asking(self) -> Call[Program]:
        """Return the call that asks."""
        return calls.get(self.run_id, wait_s=ASK_S)

    def hears(self, answer: httpx.Response) -> bool:
        """Say whether an answer is a stream of events; if it never will be, stop listening."""
        kind = answer.headers.get("content-type", "")
        is_stream = answer.is_success and kind.startswith("text/event-stream")
        self.is_deaf |= not is_stream and answer.status_code not in PASSING
        return is_stream

    def lose(self, error: httpx.TransportError) -> None:
        """Stop listening to a stream that is silent for longer than the service ever is."""
        self.is_deaf |= isinstance(error, httpx.ReadTimeout)

    def heard(self, event: ServerSentEvent) -> list[Program]:
        """Take an event; return the program if it is news."""
        if event.event != EVENT:
            return []  # httpx-sse makes an empty one of each comment that keeps the stream alive
        self.last_event_id = event.id
        return self.news(event.json())

    def news(self, program: Program) -> list[Program]:
        """Return the program if it is not as it was."""
        if program == self.program:
            return []
        self.program = program
        return [program]
