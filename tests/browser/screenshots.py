"""Screenshots: take the pictures of docs/screenshots, of a shop whose mail server has a bad day.

Run by `make screenshots`. The programs are real; only the counts of the hour before are made up.
"""

import asyncio
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from playwright.async_api import async_playwright

from program_executor import JobContext, Retry, RetryableError, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.counting import bucket_of
from program_service.bookkeeping.migrations import migrate
from screens import OPTIONS, VIEWS, a_chromium
from serving import Service, on_a_socket, serving

FOLDER = Path("docs/screenshots")
WIDTH, HEIGHT, NARROW = 1200, 760, 360
SOON = Retry(initial_s=1.5, factor=1.5, jitter="none")


@job
async def charge(_ctx: JobContext) -> dict[str, Any]:
    """Take the money."""
    await asyncio.sleep(0.4)
    return {"receipt": "re_4711", "amount": {"value": 4200, "currency": "EUR"}}


@job(retry=SOON)
async def provision(ctx: JobContext) -> dict[str, str]:
    """Set the customer up, at the third try."""
    await asyncio.sleep(0.7)
    if ctx.attempt < ctx.program_data.get("tries", 1):
        raise RetryableError("the cloud answered 503", code="busy")
    return {"tenant": f"t-{ctx.program_data['order']}"}


@job
async def mail(ctx: JobContext) -> None:
    """Send the welcome mail."""
    if ctx.program_data.get("bounces"):
        msg = f"550 no mailbox of this name, order {ctx.program_data['order']}"
        raise ConnectionError(msg)
    await asyncio.sleep(ctx.program_data.get("mailing_s", 0.2))


async def an_hour_before(database: Database) -> None:
    """Make up the counts of an hour of business."""
    now, dice = datetime.now(UTC).replace(second=0, microsecond=0), random.Random(7)
    rows = []
    for minutes in range(1, 60):
        busy = 40 + 25 * dice.random() + (30 if 20 < minutes < 35 else 0)
        times = {
            ("charge", "done", 0.4): busy,
            ("provision", "done", 0.7): busy,
            ("provision", "retry", 0.7): busy * 0.2,
            ("mail", "finished", 0.2): busy * 0.97,
            ("mail", "failed", 0.3): busy * (0.2 if minutes < 12 else 0.01),
        }
        rows += [
            {
                "minute": now - timedelta(minutes=minutes),
                "job": name,
                "outcome": outcome,
                "worker": "worker-1",
                "bucket": bucket_of(seconds * dice.uniform(0.8, 1.6)),
                "shard": 0,
                "count": round(count),
            }
            for (name, outcome, seconds), count in times.items()
            if round(count)
        ]
    async with database.engine.begin() as connection:
        await connection.execute(sa.insert(database.tables.rollups), rows)


async def business(service: Service) -> str:
    """Let programs finish, fail, run and wait; return the one to look at."""
    jobs = ("charge", "provision", "mail")
    await service.crew.hire(charge, provision, mail)
    await service.crew.hire(charge, provision, mail)
    first = await service.submit(
        *jobs, program_data={"order": 1001, "tries": 3, "bounces": True}, labels={"shop": "north"}
    )
    for order in range(1002, 1022):
        data = {"order": order, "bounces": order % 4 == 0}
        await service.submit(*jobs, program_data=data, labels={"shop": "south"})
    await service.ended(first["run_id"])
    for order in range(1022, 1027):
        await service.submit(*jobs, program_data={"order": order, "mailing_s": 600})
    await service.submit(*jobs, program_data={"order": 1027}, start_at="2099-01-01T06:00:00Z")
    await asyncio.sleep(3)
    return str(first["run_id"])


async def main() -> None:
    """Take all pictures: each view by day, by night, and on a telephone."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        database = Database.connect(f"sqlite:///{folder}/programs.db", table_name="programs")
        await migrate(database)
        await an_hour_before(database)
        async with serving(database, grace_s=0) as service, on_a_socket(service) as url:
            run_id = await business(service)
            await take(url, [*VIEWS, f"/ui/programs/{run_id}"])
        await database.close()


LOOKS = {"": (WIDTH, "light"), "-dark": (WIDTH, "dark"), "-360": (NARROW, "light")}
OTHERWISE = {"overview", "program"}
"""Views that are shown by night and on a telephone, too."""

WITHOUT_FOLDER = """(folder) => document.querySelectorAll("pre").forEach((each) => {
    each.textContent = each.textContent.replaceAll(folder, "/srv/shop");
})"""
"""Where these pictures were taken is nobody's business."""


async def take(url: str, views: list[str]) -> None:
    """Open each view and take its pictures."""
    names = [view.removeprefix("/ui/").strip("/") or "overview" for view in views[:-1]]
    async with async_playwright() as playwright:
        with a_chromium() as path:
            browser = await playwright.chromium.launch(executable_path=path, args=[*OPTIONS])
        for view, name in zip(views, [*names, "program"], strict=True):
            for suffix, (width, scheme) in LOOKS.items():
                if suffix and name not in OTHERWISE:
                    continue
                page = await browser.new_page(
                    viewport={"width": width, "height": HEIGHT},
                    color_scheme="dark" if scheme == "dark" else "light",
                )
                await page.goto(url + view)
                await page.evaluate(WITHOUT_FOLDER, str(Path.cwd()))
                await page.screenshot(path=FOLDER / f"{name}{suffix}.png", full_page=True)
                await page.close()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
