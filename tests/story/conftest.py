"""What the stories share: a service's loops on each kind of database, and what is logged."""

from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
from structlog.testing import capture_logs

from lines import Lines
from program_service.bookkeeping.database import Database
from stage import Stage, staged


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    """Run the loops of a service; no worker runs yet."""
    async with staged(database) as running:
        yield running


@pytest.fixture
def logs() -> Iterator[Lines]:
    """Capture what is logged."""
    with capture_logs() as lines:
        yield cast("Lines", lines)
