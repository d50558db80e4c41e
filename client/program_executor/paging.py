"""Paging: walk through a list, page by page, in a thread or in an event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from program_executor.calls import Call

PageOf = Callable[[str | None], Call[Any]]
"""What asks for the page from a cursor on; the first one from None on."""


def walk(send: Callable[[Call[Any]], Any], page_of: PageOf, name: str) -> Iterator[Any]:
    """Yield what the pages have under a name."""
    cursor = None
    while True:
        page = send(page_of(cursor))
        yield from page[name]
        if (cursor := page["next_cursor"]) is None:
            return


async def walk_later(
    send: Callable[[Call[Any]], Awaitable[Any]], page_of: PageOf, name: str
) -> AsyncIterator[Any]:
    """Yield what the pages have under a name."""
    cursor = None
    while True:
        page = await send(page_of(cursor))
        for each in page[name]:
            yield each
        if (cursor := page["next_cursor"]) is None:
            return
