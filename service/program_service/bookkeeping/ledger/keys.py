"""Keys: which program an idempotency key stands for, claimed in the transaction that submits it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.errors import BatchRefused, IdempotencyMismatch
from program_service.bookkeeping.sql import Sql

ROUNDS = 10
"""A key may be deleted with its program just before it is read; not again and again."""

NOT_KEPT = "the database does not keep an idempotency key as it was written"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key: `owner` is the name of its API key, `request_hash` stands for the body.

    `formerly` is the same key as an earlier release has stored it: it counts where `key` is free.
    """

    owner: str
    key: str
    request_hash: str
    formerly: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The program that the same Idempotency-Key submitted before."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Mismatched:
    """The Idempotency-Key was used before with another body."""

    error: IdempotencyMismatch


Answers: TypeAlias = dict[str, Replayed | Mismatched]
"""{run_id: answer} of the programs whose key was taken before."""


async def claim_keys(books: Books, wanted: Mapping[str, IdempotencyKey]) -> Answers:
    """Claim the keys of {run_id: key}; answer for each program whose key was taken before."""
    if not wanted:
        return {}
    answers: Answers = await _taken_formerly(books, wanted)
    # sorted: two processes that claim the same keys in different orders would deadlock
    keys = sorted(
        (_as_row(run_id, key) for run_id, key in wanted.items() if run_id not in answers),
        key=lambda key: (key["of_owner"], key["of_key"]),
    )
    holders = await _held_keys(books, keys)
    for key in keys:
        holder = holders[key["of_owner"], key["of_key"]]
        if holder.request_hash != key["new_hash"]:
            answers[key["new_run_id"]] = Mismatched(IdempotencyMismatch())
        elif holder.run_id != key["new_run_id"]:
            answers[key["new_run_id"]] = Replayed(holder.run_id)
    return answers


async def _held_keys(books: Books, keys: Sequence[dict[str, str]]) -> dict[tuple[str, str], Any]:
    """Insert those of these keys that are free, and return {(owner, key): row} of all of them.

    Raises:
        BatchRefused: the database does not keep what is inserted.
    """
    ours = {key["new_run_id"] for key in keys}
    holders: dict[tuple[str, str], Any] = {}
    for _ in range(ROUNDS):
        unheld = [key for key in keys if (key["of_owner"], key["of_key"]) not in holders]
        if not unheld:
            return holders
        # again for a key that was taken, and then deleted with its program before it was read
        await books.run(_insert_keys, batch=unheld)
        rows = await books.fetch(_select_keys, batch=unheld)
        gone = [row for row in rows if row.program_id is None and row.run_id not in ours]
        await _free_keys(books, gone)
        holders |= {(row.owner, row.key): row for row in rows if row not in gone}
    raise BatchRefused(NOT_KEPT)


async def _taken_formerly(books: Books, wanted: Mapping[str, IdempotencyKey]) -> Answers:
    """Answer for the keys that are free, but not as an earlier release has stored them."""
    answers: Answers = {}
    for run_id, key in wanted.items():
        if key.formerly is None:
            continue
        names = [{"of_owner": key.owner, "of_key": name} for name in (key.key, key.formerly)]
        rows = await books.fetch(_select_keys, batch=names)
        holders = {row.key: row.run_id for row in rows if row.program_id is not None}
        if key.key not in holders and key.formerly in holders:
            answers[run_id] = Replayed(holders[key.formerly])
    return answers


async def _free_keys(books: Books, holders: Sequence[Any]) -> None:
    """Free the keys of programs that were deleted, by hand for example.

    A key and its program are committed together, so one without the other is no program's any more.
    """
    for row in holders:  # one by one: they are few, and a join would read all keys on MariaDB
        await books.run(_delete_key, owner=row.owner, key=row.key, run_id=row.run_id)


def _as_row(run_id: str, key: IdempotencyKey) -> dict[str, str]:
    return {
        "of_owner": key.owner,
        "of_key": key.key,
        "new_hash": key.request_hash,
        "new_run_id": run_id,
    }


def _insert_keys(sql: Sql) -> str:
    batch = sql.batch(
        of_owner="varchar", of_key="varchar", new_hash="varchar", new_run_id="varchar"
    )
    return f"""
        INSERT INTO {sql.idempotency} (owner, "key", request_hash, run_id)
        SELECT of_owner, of_key, new_hash, new_run_id FROM {batch}
         WHERE TRUE
        {sql.dialect.or_ignore(sql.idempotency, ["owner", '"key"'])}
    """


def _select_keys(sql: Sql) -> str:
    return f"""
        SELECT held.owner, held."key", held.request_hash, held.run_id, program.id AS program_id
          FROM {sql.idempotency} AS held
          JOIN {sql.batch(of_owner="varchar", of_key="varchar")}
            ON held.owner = of_owner AND held."key" = of_key
          LEFT JOIN {sql.programs} AS program ON program.run_id = held.run_id
    """


def _delete_key(sql: Sql) -> str:
    return f"""
        DELETE FROM {sql.idempotency} WHERE owner = :owner AND "key" = :key AND run_id = :run_id
    """
