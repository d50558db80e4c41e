"""Board: what the pages work with, beside the services."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from program_service.api.services import Services
from program_service.dashboard.feed import Feed
from program_service.dashboard.readings import Readings


@dataclass(frozen=True, slots=True)
class Board:
    """The services, what viewers share of what is read, and the feed of changes."""

    services: Services
    readings: Readings
    feed: Feed

    @classmethod
    def of(cls, services: Services) -> "Board":
        """Set it up; `feed.run` must run while pages are open."""
        readings = Readings()
        return cls(services, readings, Feed(services.database, readings.forget))


async def board_of(request: Request) -> Board:
    """Return the board of the application that serves a request."""
    board: Board = request.app.state.board
    return board


Boarding: TypeAlias = Annotated[Board, Depends(board_of)]
