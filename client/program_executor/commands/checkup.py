"""Check-up: what `program-executor doctor` looks at."""

from dataclasses import dataclass
from datetime import UTC, datetime

from program_executor.processes import UsageError, connect_broker
from program_service.api.auth import Keyring, is_loopback
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.measuring import read_clock
from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE
from program_service.bookkeeping.migrations import is_migrated
from program_service.bookkeeping.trouble import FAILURES
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
    return [*await _database(settings), await _broker(settings), _keys(settings)]


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
    except FAILURES as error:
        text = f"no answer ({type(error).__name__}): look at DATABASE_URL, and whether it runs"
        return [Finding("database", is_good=False, text=text)]
    finally:
        await database.close()
    tables = "up to date" if is_current else "not up to date: run `program-executor migrate`"
    clocks = f"this host's and the database's are {abs(apart_s):.1f} s apart"
    return [
        Finding("database", is_good=True, text="answers"),
        Finding("tables", is_good=is_current, text=tables),
        # leases go by the database's clock alone; log lines and metrics are easier to read together
        Finding("clocks", is_good=abs(apart_s) < MAX_APART_S, text=clocks),
    ]


async def _broker(settings: Settings) -> Finding:
    if settings.amqp_url is None:
        text = "AMQP_URL is not set: only `program-executor dev` can run"
        return Finding("broker", is_good=True, text=text)
    try:
        broker = connect_broker(settings, Metrics())
    except UsageError as error:
        return Finding("broker", is_good=False, text=str(error))
    depth = await broker.depth(DEFAULT_QUEUE)
    await broker.close()
    if depth is None:
        text = "no answer: look at AMQP_URL, and whether RabbitMQ runs"
        return Finding("broker", is_good=False, text=text)
    return Finding("broker", is_good=True, text=f"answers; {depth} wake-ups wait")


def _keys(settings: Settings) -> Finding:
    try:
        keyring = Keyring.parse(settings.api_keys)
    except ValueError as error:
        return Finding("keys", is_good=False, text=str(error))
    if not keyring.is_empty:
        return Finding("keys", is_good=True, text="configured")
    if is_loopback(settings.host):
        return Finding("keys", is_good=True, text="none; the API listens on loopback only")
    text = f"none, but HOST is {settings.host!r}: make one with `program-executor keys new`"
    return Finding("keys", is_good=False, text=text)
