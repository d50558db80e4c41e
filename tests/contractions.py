"""Contractions: what a change of the tables takes away from code that knew them before.

Read from a database before and after: how a migration was written does not matter.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Shape:
    """What statements may rely on, and what they must keep to, each as (table, words)."""

    tables: frozenset[str]
    promises: frozenset[tuple[str, str]]
    demands: frozenset[tuple[str, str]]


def shape_of(connection: sa.Connection, prefix: str) -> Shape:
    """Read the shape of the tables and views whose names begin with this."""
    inspector = sa.inspect(connection)
    names = [name for name in inspector.get_table_names() if name.startswith(prefix)]
    views = [name for name in inspector.get_view_names() if name.startswith(prefix)]
    promises, demands = set[tuple[str, str]](), set[tuple[str, str]]()
    for name in [*names, *views]:
        for column in inspector.get_columns(name):
            promises.add((name, f"column {column['name']}, {column['type']!r}"))
    for name in names:
        for column in inspector.get_columns(name):
            promises |= {(name, text) for text in _freedoms(column)}
            if not set(_freedoms(column)):
                demands.add((name, f"{column['name']} must be given"))
        demands |= {(name, text) for text in _constraints(inspector, name)}
    return Shape(frozenset([*names, *views]), frozenset(promises), frozenset(demands))


def _freedoms(column: Any) -> Iterator[str]:
    if column["nullable"]:
        yield f"{column['name']} may be NULL"
    if column["nullable"] or column["default"] is not None or column.get("autoincrement") is True:
        yield f"{column['name']} may be left out"


def _constraints(inspector: sa.Inspector, name: str) -> Iterator[str]:
    yield f"primary key {inspector.get_pk_constraint(name)['constrained_columns']}"
    for unique in inspector.get_unique_constraints(name):
        yield f"unique {sorted(unique['column_names'])}"
    for index in inspector.get_indexes(name):
        if index["unique"]:
            yield f"unique {sorted(map(str, index['column_names']))}"
    for check in inspector.get_check_constraints(name):
        yield f"check {check['sqltext']}"
    for key in inspector.get_foreign_keys(name):
        yield f"foreign key {key['constrained_columns']}"


def contractions(before: Shape, after: Shape) -> list[str]:
    """Return what code that knew the tables before can not rely on any more."""
    lost = [f"{name}: no more {text}" for name, text in before.promises - after.promises]
    new = [
        f"{name}: from now on {text}"
        for name, text in after.demands - before.demands
        if name in before.tables
    ]
    return sorted(lost + new)


def complaint(found: Collection[str], unused_since: str | None, released: set[str]) -> str | None:
    """Say what is wrong with a migration that contracts, if it is.

    `unused_since` is the release whose code was the first to do without what is taken away. It must
    be out: the code of the release before this one goes on working while this one's is started.
    """
    if not found or unused_since in released:
        return None
    if unused_since is None:
        return f"takes away what the last release may use, and has no UNUSED_SINCE: {found}"
    return f"UNUSED_SINCE = {unused_since!r} is no release of CHANGELOG.md: {sorted(released)}"
