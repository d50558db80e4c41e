"""Jobs of the demo: import orders from a CSV file into a SQLite table, then report on them.

Rows have keys: a page that is imported twice, because the process died between the table and the
checkpoint, counts once.
"""

import asyncio
import csv
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

from program_executor import JobContext, Retry, RetryableError, ThreadJobContext, job

PAGE = 200
PAUSE_S = 0.1
"""So that there is something to see."""

STUMBLES_AT_PAGE = 8
MAX_EXECUTION_TIME_S = 60.0

TABLE = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, product TEXT, cents INTEGER)"


@job("demo_import", retry=Retry(initial_s=0.2, max_s=1.0), timeout_s=300)
async def import_orders(ctx: JobContext) -> dict[str, int]:
    """Import `orders.csv` of the program data's folder, page by page, from where it stopped."""
    folder = Path(ctx.program_data["folder"])
    progress = await ctx.job_data.get()
    page, rows = progress.get("page", 0), progress.get("rows", 0)
    while True:
        if page == STUMBLES_AT_PAGE and ctx.attempt == 1:
            raise RetryableError("the disk of the orders was busy", code="busy", after=0.2)
        count = await asyncio.to_thread(import_page, folder, page)
        if count == 0:
            return {"pages": page}
        page, rows = page + 1, rows + count
        await ctx.job_data.checkpoint({"page": page, "rows": rows}, MAX_EXECUTION_TIME_S)
        await asyncio.sleep(PAUSE_S)


@job("demo_report")
def report_orders(ctx: ThreadJobContext) -> dict[str, int]:
    """Write `report.txt`: what was imported, by product."""
    folder = Path(ctx.program_data["folder"])
    with closing(sqlite3.connect(folder / "orders.db")) as database:
        products = database.execute(
            "SELECT product, count(*), sum(cents) FROM orders GROUP BY product ORDER BY product"
        ).fetchall()
    total = sum(count for _, count, _ in products)
    lines = [
        f"{name:<12} {count:>6} orders {cents / 100:>12,.2f}" for name, count, cents in products
    ]
    pages = ctx.results["demo_import"].get("pages", 0)
    text = "\n".join([f"imported rows: {total} (in {pages} pages)", *lines, ""])
    (folder / "report.txt").write_text(text)
    return {"rows": total}


def import_page(folder: Path, page: int) -> int:
    """Copy one page of rows from the file into the table, and return how many they were."""
    with (folder / "orders.csv").open(newline="") as file:
        rows = list(islice(csv.reader(file), 1 + page * PAGE, 1 + (page + 1) * PAGE))
    with closing(sqlite3.connect(folder / "orders.db")) as database, database:
        database.execute(TABLE)
        database.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", rows)
    return len(rows)
