"""What the tests of the API share: a service that knows the jobs of the builders."""

from collections.abc import AsyncIterator

import pytest

from builders import JOBS
from program_service.bookkeeping.database import Database
from serving import Service, serving


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve without keys; no worker runs."""
    async with serving(database, jobs=JOBS) as served:
        yield served
