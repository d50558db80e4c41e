"""Console: a terminal that obeys our own styles, and nothing that a text from outside holds."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from program_service.terminal import printable


class PrintableConsole(Console):
    """A console that shows control characters and markup instead of obeying them."""

    def __init__(self) -> None:
        """Write to standard output."""
        super().__init__(highlight=False, markup=False, emoji=False)

    def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
        """Render as rich does, with printable texts."""
        for text, style, control in super().render(*args, **options):
            yield Segment(text if control else printable(text), style, control)
