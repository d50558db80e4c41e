"""What the tests of callback jobs share: a service that may call this machine."""

from collections.abc import AsyncIterator

import pytest

from calling import ALLOW
from program_service.bookkeeping.database import Database
from serving import Service, serving

NOTIFY_SECRET = "whsec_" + "bm90aWZ5" * 4


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve without keys; no worker runs."""
    async with serving(database, callback_allow=ALLOW, notify_secret=NOTIFY_SECRET) as served:
        yield served
