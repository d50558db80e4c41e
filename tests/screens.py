"""Screens: a page of the dashboard in a real browser, and what the browser complained of."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.async_api import ConsoleMessage, Page, Response

from debian import why_not_installed

CHROMIUM = "/usr/bin/chromium"
OPTIONS = (
    "--disable-gpu",
    "--no-first-run",
    "--no-sandbox",  # root has none
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoChromiumError(Exception):
    """There is no browser, and none could be installed."""


@contextmanager
def a_chromium() -> Iterator[str]:
    """Return the path of a Chromium."""
    if shutil.which(CHROMIUM) is None and (why_not := why_not_installed("chromium")) is not None:
        raise NoChromiumError(why_not)
    yield CHROMIUM


VIEWS = ("/", "/ui/programs", "/ui/failures", "/ui/jobs", "/ui/workers")


@dataclass  # no slots: Playwright notes its listeners at the object
class Screen:
    """A page in the browser; errors of scripts, of the policy and of the service are kept."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen."""
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", self._look)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _look(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} {response.url}")

    async def open(self, path: str) -> None:
        """Go to a page of the dashboard."""
        await self.page.goto(f"{self.url}{path}")

    async def press(self, name: str) -> None:
        """Press a button, or follow a link, by its name."""
        button = self.page.get_by_role("button", name=name, exact=True)
        await button.or_(self.page.get_by_role("link", name=name, exact=True)).click()

    async def mark(self) -> None:
        """Leave a mark that a reload would wipe out."""
        await self.page.evaluate("window.mark = 'here'")

    async def is_marked(self) -> bool:
        """Say whether the page was never loaded again since."""
        return bool(await self.page.evaluate("window.mark === 'here'"))
