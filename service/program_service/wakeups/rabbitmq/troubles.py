"""Troubles: what is wrong with single queues; logged once, and shown until it is over."""

from collections.abc import Mapping

from program_service.logs import log
from program_service.telemetry import Event


class Troubles:
    """What one process knows to be wrong with queues, by queue and by what it wanted there."""

    def __init__(self) -> None:
        """Begin with none."""
        self._texts: dict[tuple[str, str], str] = {}

    @property
    def texts(self) -> Mapping[str, str]:
        """What is wrong, as {queue: text}."""
        return {queue: text for (queue, _), text in self._texts.items()}

    def note(self, queue: str, use: str, error: Exception) -> None:
        """Keep what is wrong, and log it unless it was known."""
        text = str(error)
        if self._texts.get((queue, use)) != text:
            self._texts[queue, use] = text
            log.warning(Event.QUEUE_UNUSABLE, queue=queue, during=use, error_message=text)

    def clear(self, queue: str, use: str) -> None:
        """Forget it: the queue works."""
        self._texts.pop((queue, use), None)
