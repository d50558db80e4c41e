"""Job log: which lines of a job are kept, how many, and in which form."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from lines import logging_as_workers_do
from program_service.bookkeeping.lifecycle import Claimed, Json
from program_service.bookkeeping.storable import storable_object
from program_service.settings import Settings
from program_service.telemetry import Event
from program_workers.job_log import JobLog, Lines, bind_step

shop = logging.getLogger("shop")

PROGRAM = Claimed(
    id=1,
    run_id="run-1",
    lease="lease-1",
    jobs=["reserve", "charge"],
    step=1,
    step_retry_count=2,
    lease_losses=0,
    program_data={},
    job_data={},
    created_at=datetime.now(UTC),
    claimed_at=datetime.now(UTC),
    version=1,
)


@pytest.fixture(autouse=True)
def _configured(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Log as a worker does, down to DEBUG."""
    del capsys  # what is logged goes to standard error
    with logging_as_workers_do(level="DEBUG"):
        yield
    clear_contextvars()


def kept_of(function: Callable[[], Any], **settings: Any) -> list[Json] | None:
    """Run a function as an attempt, under these settings."""
    log = JobLog(Settings(**settings))
    with log.listening():
        lines = begun(log)
        function()
        return lines.end()


def begun(log: JobLog) -> Lines:
    """Begin an attempt as a worker does."""
    bind_contextvars(run_id=PROGRAM.run_id)
    bind_step(PROGRAM)
    return log.begin(PROGRAM)


def texts(lines: list[Json] | None) -> list[str]:
    """Return what the lines say."""
    return [line["text"] for line in lines or []]


def test_attempt_that_logs_nothing_keeps_nothing() -> None:
    assert kept_of(lambda: None) is None


def test_line_is_kept_with_its_moment_and_its_level() -> None:
    before = datetime.now(UTC)
    (line,) = kept_of(lambda: shop.warning("charged %d %s", 12, "EUR")) or []
    assert before <= datetime.fromisoformat(line.pop("at")) <= datetime.now(UTC)
    assert line == {"level": "warning", "text": "charged 12 EUR"}


def test_fields_are_kept_but_not_those_that_the_attempt_has_already() -> None:
    log = structlog.get_logger()
    (line,) = kept_of(lambda: log.info("charged", cents=12, step=9)) or []
    assert (line["text"], line["level"]) == ("charged", "info")
    # its own step is another one than that which every line carries
    assert line["fields"] == {"cents": 12, "step": 9}


def test_every_line_carries_the_step_that_runs() -> None:
    kept_of(lambda: None)
    assert get_contextvars() == {"run_id": "run-1", "job": "charge", "step": 1, "attempt": 3}


@pytest.mark.parametrize("log", [shop, structlog.get_logger()])
def test_traceback_is_kept(log: Any) -> None:
    def fail() -> None:
        try:
            raise LookupError("no such card")  # noqa: TRY301
        except LookupError:
            log.exception("refused")

    (line,) = kept_of(fail) or []
    assert (line["text"], line["level"]) == ("refused", "error")
    assert line["fields"]["exception"].startswith("Traceback")
    assert line["fields"]["exception"].endswith("LookupError: no such card")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("DEBUG", ["debug", "info", "warning"]),
        ("INFO", ["info", "warning"]),
        ("WARNING", ["warning"]),
    ],
)
def test_lines_from_the_chosen_level_on_are_kept(level: str, expected: list[str]) -> None:
    def tell() -> None:
        shop.debug("debug")
        structlog.get_logger().info("info")
        shop.warning("warning")

    assert texts(kept_of(tell, attempt_log_level=level)) == expected


def test_last_lines_are_kept_and_the_others_counted() -> None:
    def tell() -> None:
        for number in range(10):
            shop.info("line %d", number)

    lines = kept_of(tell, attempt_log_lines=3) or []
    assert texts(lines) == ["7 lines before these were left out", "line 7", "line 8", "line 9"]
    assert lines[0]["fields"] == {"left_out": 7}
    assert lines[0]["at"] <= lines[1]["at"]


def test_last_bytes_are_kept_and_the_others_counted() -> None:
    def tell() -> None:
        for _ in range(50):
            shop.info("é" * 100)

    lines = kept_of(tell, attempt_log_bytes=2_000) or []
    size = sum(len(orjson.dumps(line)) for line in lines[1:])
    assert 1_500 < size <= 2_000
    assert lines[0]["fields"] == {"left_out": 50 - len(lines[1:])}


@pytest.mark.parametrize("character", ["x", "é", "\N{GRINNING FACE}", '"', "\n", "\x01"])
@pytest.mark.parametrize("limit", [200, 1_000, 8_192])
def test_line_that_is_too_long_by_itself_is_cut(character: str, limit: int) -> None:
    log = structlog.get_logger()
    lines = kept_of(lambda: log.info(character * 20_000, note="x" * 20_000),
                    attempt_log_bytes=limit)  # fmt: skip
    (line,) = lines or []
    assert line["text"] == character * (len(line["text"]) - 4) + " […]"
    assert len(orjson.dumps(line)) <= limit
    assert "fields" not in line


def test_limit_below_any_line_leaves_all_of_them_out() -> None:
    def tell() -> None:
        shop.info("x" * 500)
        shop.info("y")

    lines = kept_of(tell, attempt_log_bytes=10)
    assert texts(lines) == ["2 lines before these were left out"]


@pytest.mark.parametrize("off", [{"attempt_log_lines": 0}, {"attempt_log_bytes": 0}])
def test_limit_of_nothing_hears_nothing(off: dict[str, Any]) -> None:
    before = logging.getLogger().handlers[:]
    log = JobLog(Settings(**off))
    with log.listening():
        assert logging.getLogger().handlers == before
        lines = begun(log)
        shop.info("charged")
        assert lines.end() is None


def test_nobody_listens_any_more_when_the_worker_has_ended() -> None:
    before = logging.getLogger().handlers[:]
    with JobLog(Settings()).listening():
        assert logging.getLogger().handlers != before
    assert logging.getLogger().handlers == before


def test_what_we_log_ourselves_is_no_line_of_the_job() -> None:
    def tell() -> None:
        structlog.get_logger().warning(Event.THREAD_OUTLIVES, run_id="run-1", job="charge")
        shop.info("charged")

    assert texts(kept_of(tell)) == ["charged"]


def test_line_after_the_end_comes_too_late() -> None:
    log = JobLog(Settings())
    with log.listening():
        lines = begun(log)
        shop.info("in time")
        assert texts(lines.end()) == ["in time"]
        shop.info("late")
        assert lines.end() is None


def test_two_workers_in_one_process_keep_their_own_lines_once() -> None:
    one, other = JobLog(Settings()), JobLog(Settings())
    with one.listening(), other.listening():
        lines = begun(one)
        shop.info("charged")
        assert texts(lines.end()) == ["charged"]


class UntoldError(Exception):
    """An exception that cannot be shown."""


class Untold:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise UntoldError("there are no words")


@pytest.mark.parametrize(
    "tell",
    [
        lambda: structlog.get_logger().info("moved", value=2**70),
        lambda: structlog.get_logger().info("moved", value="\0"),
        lambda: structlog.get_logger().info("moved", value={"\0": 1}),
        lambda: structlog.get_logger().info("moved", value=object()),
        lambda: structlog.get_logger().info("moved", value={1: 2}),
        lambda: structlog.get_logger().info("moved", value="\ud800"),
        lambda: structlog.get_logger().info("moved\0\ud800"),
        lambda: shop.info("moved\0\ud800"),
    ],
)
def test_what_cannot_be_stored_is_kept_as_a_text_that_can(
    tell: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    (line,) = kept_of(quietly(tell)) or []
    # pytest's own report of the line could not be sent from a process to another
    request.config.pluginmanager.getplugin("logging-plugin").report_handler.reset()
    assert line["text"].startswith("moved")
    assert storable_object(line, what="line") == line


@pytest.mark.parametrize(
    "tell",
    [
        lambda: shop.info("%d", "not a number"),
        lambda: shop.info("value %s", Untold()),
        lambda: shop.info(Untold()),
        lambda: shop.handle(logging.makeLogRecord({"created": 1e300, "levelno": 50})),
    ],
)
def test_line_that_cannot_be_told_harms_no_job(tell: Callable[[], Any]) -> None:
    (line,) = kept_of(quietly(tell)) or []
    assert line["text"].startswith("a line that cannot be told: ")


def test_value_that_cannot_be_told_stands_in_its_line() -> None:
    (line,) = kept_of(lambda: structlog.get_logger().info("value", value=Untold())) or []
    assert line["text"] == "value"
    assert line["fields"]["value"] == "<Untold without a text>"


def quietly(tell: Callable[[], Any]) -> Callable[[], Any]:
    """Let `logging` not complain of a line that its own handler cannot write."""

    def told() -> None:
        complains, logging.raiseExceptions = logging.raiseExceptions, False
        try:
            tell()
        finally:
            logging.raiseExceptions = complains

    return told


def test_dict_that_is_logged_as_a_message_is_a_text() -> None:
    (line,) = kept_of(lambda: shop.info({"cents": 12})) or []
    assert line["text"] == "{'cents': 12}"
