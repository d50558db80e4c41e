"""What the tests of holes share: a service's loops on each kind of database, and what is logged."""

from collections.abc import AsyncIterator

import pytest

from builders import JOBS
from keys import entry_of
from lines import logs as logs
from program_service.bookkeeping.database import Database
from serving import Service, serving
from stage import stage as stage


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Service]:
    """Serve with an administrator's key in the setting."""
    async with serving(database, jobs=JOBS, api_keys=entry_of("admin")) as served:
        yield served
