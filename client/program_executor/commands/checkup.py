"""Check-up: what `program-executor doctor` looks at."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from program_executor.configuring import mistakes, unknown_variables
from program_executor.errors import UsageError
from program_executor.processes import connect_broker
from program_service.api.auth import Keyring, is_loopback
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE
from program_service.bookkeeping.migrations import is_migrated
from program_service.settings import Settings
from program_service.telemetry import Metrics

MAX_APART_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it."""

    what: str
    is_good: bool
    text: str


async def check_up(settings: Settings) -> list[Finding]:
    """Look at everything that a deployment needs."""
    return [
        *_settings(settings),
        *await _database(settings),
        await _broker(settings),
        _keys(settings),
    ]


def _settings(settings: Settings) -> Iterator[Finding]:
    """Find variables that were meant to be settings, and settings that cannot be used."""
    for name, meant in unknown_variables(os.environ):
        hint = f": did you mean {meant}?" if meant else "; docs/settings.md lists them"
        yield Finding("environment", is_good=False, text=f"{name} is no setting{hint}")
    for name, text in mistakes(settings):
        if name not in {"database_url", "amqp_url", "api_keys"}:  # which are looked at below
            yield Finding("settings", is_good=False, text=text)


async def _database(settings: Settings) -> list[Finding]:
    try:
        database = Database.connect(
            settings.database_url.get_secret_value(), table_name=settings.table_name
        )
    except ValueError as error:
        return [Finding("database", is_good=False, text=str(error))]
    try:
        is_current = await is_migrated(database)
        apart_s = (datetime.now(UTC) - await database.read(read_clock)).total_seconds()
    except BookkeepingError as error:
        text = f"{str(error).rstrip('.')}: look at DATABASE_URL, and whether it runs"
        return [Finding("database", is_good=False, text=text)]
    finally:
        await database.close()
    tables = "up to date" if is_current else "not up to date: run `program-executor migrate`"
    return [
        Finding("database", is_good=True, text="answers"),
        Finding("tables", is_good=is_current, text=tables),
        clocks(apart_s),
    ]


def clocks(apart_s: float) -> Finding:
    """Judge how far this host's clock is ahead of the database's, by which programs go."""
    text = f"this host's and the database's are {abs(apart_s):.1f} s apart"
    if abs(apart_s) < MAX_APART_S:
        return Finding("clocks", is_good=True, text=text)
    advice = "set both by NTP; programs go by the database's, log lines by this host's"
    return Finding("clocks", is_good=False, text=f"{text}: {advice}")


async def _broker(settings: Settings) -> Finding:
    if settings.amqp_url is None:
        text = "AMQP_URL is not set: only `program-executor dev` can run"
        return Finding("broker", is_good=True, text=text)
    try:
        broker = connect_broker(settings, Metrics())
    except UsageError as error:
        return Finding("broker", is_good=False, text=str(error))
    reading = await broker.read([DEFAULT_QUEUE])
    await broker.close()
    if reading.trouble is not None:
        text = f"no answer ({reading.detail}): look at AMQP_URL, and whether RabbitMQ runs"
        return Finding("broker", is_good=False, text=text)
    if trouble := reading.queue_troubles.get(DEFAULT_QUEUE):
        return Finding("broker", is_good=False, text=trouble)
    depth = reading.depths[DEFAULT_QUEUE]
    return Finding("broker", is_good=True, text=f"answers; {depth} wake-ups wait")


def _keys(settings: Settings) -> Finding:
    try:
        keyring = Keyring.parse(settings.api_keys)
    except ValueError as error:
        return Finding("keys", is_good=False, text=str(error))
    if not keyring.is_empty:
        named = [
            f"{each.name} ({'+'.join(sorted(each.scopes))})" for each in keyring.callers.values()
        ]
        return Finding("keys", is_good=True, text=", ".join(named))
    if is_loopback(settings.host):
        return Finding("keys", is_good=True, text="none; the API listens on loopback only")
    text = (
        f"none, but HOST is {settings.host!r}: make one with `program-executor keys new NAME"
        " --setting`"
    )
    return Finding("keys", is_good=False, text=text)
