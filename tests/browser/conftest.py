"""What the tests of the dashboard share: a browser, and a service on a socket."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, async_playwright

from program_service.bookkeeping.database import Database
from screens import OPTIONS, NoChromiumError, Screen, a_chromium
from serving import Service, on_a_socket, serving
from skips import or_skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """Find or install the browser; without one the tests are skipped by name."""
    with or_skip("Chromium", a_chromium(), NoChromiumError) as path:
        yield path


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Start the browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*OPTIONS])
        yield browser
        await browser.close()


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve without keys; no worker runs."""
    async with serving(database) as served:
        yield served


@pytest.fixture
async def address(service: Service) -> AsyncIterator[str]:
    """Serve on a socket."""
    async with on_a_socket(service) as url:
        yield url


@pytest.fixture
async def screen(browser: Browser, address: str) -> AsyncIterator[Screen]:
    """Open a page; the browser must find nothing to complain of in what the test does."""
    page = await browser.new_page()
    screen = Screen(page, address)
    yield screen
    await page.close()
    assert screen.complaints == []
