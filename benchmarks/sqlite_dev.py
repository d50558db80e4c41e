"""SQLite: drain with `program-executor dev`, everything in one process on one file."""

import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from measuring import Figures
from product import Product, until

STEPS = 3
UNFINISHED = "SELECT count(*) FROM programs WHERE finished_at IS NULL"
COUNTED = "SELECT count(*) FROM programs_attempts WHERE outcome = 'done'"
SPAN = """
SELECT (julianday((SELECT max(finished_at) FROM programs))
      - julianday((SELECT min(started_at) FROM programs_attempts))) * 86400
"""


async def drain(programs: int) -> Figures:
    """Submit in batches while the worker works, and return the rate from the first step to the end.

    Submitting is part of it: the worker of `dev` cannot be kept waiting.
    """
    with tempfile.TemporaryDirectory(prefix="program-executor-bench-") as folder:
        file = Path(folder) / "programs.db"
        ours = Product(f"sqlite:///{file}", "", Path(folder), log_level="ERROR")
        async with ours.developing(Path(folder)):
            await ours.submit(programs)
            await until(_is_finished(file))
            with closing(sqlite3.connect(file)) as connection:
                (span,) = connection.execute(SPAN).fetchone()
                (attempts,) = connection.execute(COUNTED).fetchone()
    assert attempts == STEPS * programs, attempts
    return {"sqlite_per_s": programs / span}


def _is_finished(file: Path) -> Callable[[], Awaitable[bool]]:
    async def is_finished() -> bool:
        with closing(sqlite3.connect(file)) as connection:
            (left,) = connection.execute(UNFINISHED).fetchone()
            return bool(left == 0)

    return is_finished
