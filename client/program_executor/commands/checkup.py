"""Check-up: what `program-executor doctor` looks at."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from program_executor.configuring import mistakes, place, unknown_variables
from program_executor.diagnosis import of_broker, of_database
from program_executor.processes import connect_broker
from program_service.api.auth import Keyring, is_loopback
from program_service.bookkeeping import urls
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import BookkeepingError, DatabaseUnavailable
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.ledger.privileges import try_privileges
from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE
from program_service.bookkeeping.migrations import is_migrated
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.wakeups.rabbitmq import link
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from program_service.wakeups.rabbitmq.driver.errors import BrokerError

MAX_APART_S = 5.0

ANSWER_WITHIN_S = 10.0
UNANSWERED = DatabaseUnavailable(f"no answer within {ANSWER_WITHIN_S:.0f} s")


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
    url = settings.database_url.get_secret_value()
    try:
        urls.require_usable(url)
        urls.require_file(url)
        database = Database.connect(url, table_name=settings.table_name)
    except ValueError as error:
        return [Finding("database", is_good=False, text=f"{place('database_url')}: {error}")]
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await _look_into(database)
    except BookkeepingError as error:
        return [Finding("database", is_good=False, text=of_database(error))]
    except TimeoutError:
        return [Finding("database", is_good=False, text=of_database(UNANSWERED))]
    finally:
        await database.close()


async def _look_into(database: Database) -> list[Finding]:
    """Look at a database, its tables and its clock.

    Raises:
        BookkeepingError: there is no connection.
    """
    await database.reach()
    answers = Finding("database", is_good=True, text="answers")
    try:
        is_current = await is_migrated(database)
        if is_current:
            await database.transact_within(0, try_privileges)
        apart_s = (datetime.now(UTC) - await database.read(read_clock)).total_seconds()
    except BookkeepingError as error:
        return [answers, Finding("tables", is_good=False, text=of_database(error))]
    tables = "up to date" if is_current else "not up to date: run `program-executor migrate`"
    return [answers, Finding("tables", is_good=is_current, text=tables), clocks(apart_s)]


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
    url = settings.amqp_url.get_secret_value()
    try:
        link.require_usable(url)
        broker = connect_broker(settings, Metrics())
    except ValueError as error:
        return Finding("broker", is_good=False, text=f"{place('amqp_url')}: {error}")
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await _look_at(broker)
    except BrokerError as error:
        return Finding("broker", is_good=False, text=of_broker(error))
    except TimeoutError:
        return Finding("broker", is_good=False, text=of_broker(str(UNANSWERED)))
    finally:
        await broker.close()


async def _look_at(broker: RabbitBroker) -> Finding:
    """Look at a broker, and at what its user may do.

    Raises:
        BrokerError: it does not answer, or does not let us do what is needed.
    """
    await broker.reach()
    await broker.try_permissions()
    reading = await broker.read([DEFAULT_QUEUE])
    if reading.trouble is not None:
        return Finding("broker", is_good=False, text=of_broker(reading.detail or reading.trouble))
    if trouble := reading.queue_troubles.get(DEFAULT_QUEUE):
        return Finding("broker", is_good=False, text=of_broker(trouble))
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
