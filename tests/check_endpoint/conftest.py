"""What the tests of `check-endpoint` share: what serves endpoints, and what checks them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from check_endpoint.samples import SECRET, Answer, Check
from endpoint_server import EndpointServer, endpoint
from program_executor.endpoint_check.calling import Plan
from program_executor.endpoint_check.checks import check_endpoint
from program_executor.endpoint_check.findings import Finding, Report


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Awaitable[EndpointServer]]]:
    """Return what serves an endpoint on a free port."""
    async with AsyncExitStack() as stack:

        async def start(answer: Answer) -> EndpointServer:
            return await stack.enter_async_context(endpoint(answer))

        yield start


@pytest.fixture
def check(serve: Callable[[Answer], Awaitable[EndpointServer]]) -> Check:
    """Return what serves an endpoint and checks it."""

    async def run(answer: Answer, **options: Any) -> Report:
        place = await serve(answer)
        told: list[Finding] = []
        report = await check_endpoint(Plan(place.url, SECRET, **options), told.append)
        assert report.findings == told
        return report

    return run
