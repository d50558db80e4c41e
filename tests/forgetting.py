"""Forgetting: a database that commits and whose answer is then lost, and what must come of that.

Every function that a transaction is made of is found in the source, so that no test can miss one.
"""

import ast
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.database import Database

ROOT = Path(__file__).parents[1]
PRODUCT = ("service", "workers", "client")

TRANSACTIONS = {"transact": 0, "transact_within": 1, "transact_past_outages": 1}
"""{method of a database: which of its arguments is the function that it runs}."""

COMMITS = {
    (name, verb)
    for name in ("connection", "_connection", "engine", "session", "_session")
    for verb in ("begin", "commit")
}
"""(what, verb) of what begins or commits a transaction."""

VARIES = frozenset(
    (
        "id",
        "lease",
        "minute",
        "shard",
        "token_key",
        "secret",
        "run_id",
        "links",
        "deadline",
        "notes",
    )
)
"""What is another one each time."""


@dataclass(slots=True)
class Losses:
    """How many answers to COMMIT are to be lost."""

    to_come: int = 0
    of_works: Collection[str] | None = None
    """The names of the functions whose answers may be lost; None for all."""


class Forgetful(Database):
    """A database that commits, and whose answer is then lost, as often as it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Lose nothing yet."""
        super().__init__(*args, **kwargs)
        self.losses = Losses()  # the same for its copies, which leave connections to others

    @asynccontextmanager
    async def _transaction(self, work: Callable[..., Any]) -> AsyncIterator[Books]:
        async with super()._transaction(work) as books:
            yield books
        losses = self.losses
        if losses.to_come and (losses.of_works is None or work.__name__ in losses.of_works):
            losses.to_come -= 1
            cut = ConnectionResetError("the answer to COMMIT was lost")
            raise sa.exc.DBAPIError("COMMIT", None, cut, connection_invalidated=True)


async def empty(database: Database) -> None:
    """Delete all rows."""
    async with database.engine.begin() as connection:
        for table in database.tables.metadata.tables.values():
            await connection.execute(sa.delete(table))


async def tables_of(database: Database) -> dict[str, Any]:
    """Return all rows of all tables, without what is another one each time."""
    tables = {}
    async with database.engine.connect() as connection:
        for name, table in database.tables.metadata.tables.items():
            rows = (await connection.execute(sa.select(table))).all()
            tables[name] = sorted((plain(dict(row._mapping)) for row in rows), key=repr)
    return tables


def plain(value: Any) -> Any:
    """Return what two executions of the same have in common: no ids, and of moments that they are.

    >>> plain({"id": 7, "step": 1, "due_at": datetime(2026, 1, 1)})
    {'step': 1, 'due_at': 'a moment'}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, dict):
        return {
            name: plain("a moment" if str(name).endswith("_at") and each else each)
            for name, each in value.items()
            if name not in VARIES
        }
    if isinstance(value, set | frozenset):
        return len(value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, BaseException):
        return repr(value)
    return "a moment" if isinstance(value, datetime) else value


def works() -> Iterator[tuple[str, str]]:
    """Yield (name, where) of every function that the product makes a transaction of."""
    for where, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (work := _work_of(node)) is not None:
                yield from ((name, f"{where}:{node.lineno}") for name in _names(work))


def committing() -> set[str]:
    """Return the files of the product that begin or commit transactions besides a database."""
    return {
        where
        for where, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (_last_name(node.func.value), node.func.attr) in COMMITS
    }


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PRODUCT:
        for file in sorted((ROOT / package).rglob("*.py")):
            if file.name != "database.py":
                tree = ast.parse(file.read_text(encoding="utf-8"))
                yield str(file.relative_to(ROOT)), tree


def _work_of(node: ast.Call) -> ast.expr | None:
    name, arguments = _last_name(node.func), list(node.args)
    if name == "partial" and arguments:
        name, *arguments = _last_name(arguments[0]), *arguments[1:]
    position = TRANSACTIONS.get(name)
    return None if position is None or len(arguments) <= position else arguments[position]


def _names(work: ast.expr) -> list[str]:
    if isinstance(work, ast.IfExp):
        return [*_names(work.body), *_names(work.orelse)]
    return [_last_name(work)]


def _last_name(node: ast.expr) -> str:
    return getattr(node, "attr", None) or getattr(node, "id", None) or ast.unparse(node)
