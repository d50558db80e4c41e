"""What the tests of callback jobs share: a service that may call this machine."""

from collections.abc import AsyncIterator

import pytest

from calling import ALLOW, NOTIFY_SECRET
from program_service.bookkeeping.database import Database
from serving import Service, serving


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve without keys; no worker runs."""
    async with serving(database, callback_allow=ALLOW, notify_secret=NOTIFY_SECRET) as served:
        yield served
