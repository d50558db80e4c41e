"""Rendering: whatever is logged, standard error gets one line for it."""

import io
import json
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from lines import logging_as_workers_do
from program_service.events import Event
from program_service.logs import log
from program_service.plain import MAX_TEXT, plain
from program_service.texts import size_of

library = logging.getLogger("library")


class Mute:
    """An object that says nothing of itself."""

    def __str__(self) -> str:
        raise AttributeError("no words")

    __repr__ = __str__


class Exiting(Mute):
    """An object that ends the process when it is asked for its text."""

    def __str__(self) -> str:
        raise SystemExit(1)


class Liar:
    """An object that denies what it is."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("nobody")


class MuteError(Exception):
    """An exception without words."""

    def __str__(self) -> str:
        raise AttributeError("no words")


class Moody(Enum):
    """A member whose value depends on the mood."""

    GOOD = 1

    @property
    def value(self) -> int:
        raise RuntimeError("not today")


class OddDict(dict[str, Any]):
    """A dict that cannot be walked through."""

    def items(self) -> Any:
        raise RuntimeError("changed during iteration")

    __iter__ = items


def within_itself() -> list[Any]:
    """Return a list that holds itself, twice."""
    held: list[Any] = []
    held += [held, held]
    return held


def laughs() -> list[Any]:
    """Return a list whose text would have 2 ** 60 parts."""
    held: list[Any] = [1]
    for _ in range(60):
        held = [held, held]
    return held


VALUES: dict[str, Callable[[], Any]] = {
    "int keys": lambda: {1: "one", None: 2, (1, 2): 3, b"x": 4},
    "keys twice": lambda: {"1": 1, 1: 2},
    "65 bits": lambda: 2**64,
    "71 bits negative": lambda: -(2**70),
    "5,000 digits": lambda: 10**5000,
    "integer inside": lambda: [2**64],
    "file name": lambda: "/tmp/\udcff.csv",
    "surrogate": lambda: "\ud83d",
    "surrogate key": lambda: {"\ud83d": 1},
    "control characters": lambda: "\0\x1b[31m\u2028",
    "bytes": lambda: b"\xff\x00",
    "bytearray": lambda: bytearray(b"\xff"),
    "mute": Mute,
    "exiting": Exiting,
    "liar": Liar,
    "mute inside": lambda: [Mute()],
    "mute key": lambda: {"a": {Mute(): 1}},
    "enum": lambda: Moody.GOOD,
    "odd dict": lambda: OddDict(a=1),
    "within itself": within_itself,
    "laughs": laughs,
    "laughs inside": lambda: {"a": laughs()},
    "long text": lambda: "x" * 3_000_000,
    "many texts": lambda: ["x" * 1_000] * 20_000,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "beyond a double": lambda: 1e400,
    "decimal": lambda: Decimal("NaN"),
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset({"a"}),
    "moment": lambda: datetime.now(UTC),
    "earliest moment": lambda: datetime.min.replace(tzinfo=UTC),
    "exception": MuteError,
    "class": lambda: object,
    "function": lambda: lambda: None,
    "iterator": lambda: iter([1]),
    "module": lambda: sys,
    "singleton": lambda: NotImplemented,
}


def one_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line that was written, which is JSON in UTF-8."""
    (line,) = capsys.readouterr().err.encode("utf-8").splitlines()
    assert len(line) < 1_000_000
    return dict(json.loads(line))


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("redact", [(), ("card",)], ids=["shown", "redacted"])
def test_value_of_any_kind_is_written_in_one_line(
    name: str, redact: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    value = VALUES[name]()
    with logging_as_workers_do(level="INFO", redact=redact):
        log.error(Event.HOOK_FAILED, hook=value, error_message="x")
        line = one_line(capsys)
        assert (line["event"], line["error_message"]) == ("hook.failed", "x")
        assert "hook" in line
        structlog.get_logger().info("of a job", value=value, card=value, order=7)
        line = one_line(capsys)
        assert (line["event"], line["level"], line["order"]) == ("of a job", "info", 7)
        assert "value" in line
        if type(value) is Liar or "laughs" in name:  # `logging` itself asks for the text
            return
        library.info("of a library: %s", value)
        assert "of a library" in one_line(capsys)["event"]
        library.info(value)
        assert one_line(capsys)["level"] == "info"


@pytest.mark.parametrize("name", VALUES)
def test_value_of_any_kind_is_shown_to_people(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value = VALUES[name]()
    with logging_as_workers_do(level="INFO", is_json=False):
        log.error(Event.HOOK_FAILED, hook=value, error_message="x")
        structlog.get_logger().info("of a job", value=value, error_stack=value)
        library.info("of a library: %s", [] if "laughs" in name else [value])
    shown = capsys.readouterr().err
    assert "hook.failed" in shown
    assert "of a job" in shown
    assert "of a library" in shown
    assert "Logging error" not in shown


def raised(error: BaseException) -> BaseException:
    """Raise an exception and return it, so that it has a traceback."""
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


CALLS: dict[str, Callable[[], Any]] = {
    "wrong format": lambda: library.error("%d apples", "no"),
    "too few arguments": lambda: library.error("%s and %s", 1),
    "too many arguments": lambda: library.error("none", 1, 2),
    "mute argument": lambda: library.error("%s", Mute()),
    "exiting argument": lambda: library.error("%s", Exiting()),
    "mute message": lambda: library.error(Mute()),
    "no exception": lambda: library.error("text", exc_info=True),
    "no exception of structlog": lambda: structlog.get_logger().error("text", exc_info=True),
    "odd exc_info": lambda: structlog.get_logger().error("text", exc_info=Mute()),
    "odd tuple": lambda: structlog.get_logger().error("text", exc_info=(1, 2)),
    "our exc_info": lambda: log.error(Event.REQUEST_FAILED, path="/", exc_info=7),
    "mute exception": lambda: library.error("text", exc_info=raised(MuteError())),
    "mute exception of ours": lambda: log.error(
        Event.REQUEST_FAILED, path="/", exc_info=raised(MuteError())
    ),
    "odd record": lambda: library.handle(
        logging.makeLogRecord(
            {"msg": "%d", "args": {"a": 1}, "levelname": 7, "levelno": 50, "created": 1e300}
        )
    ),
    "record of nothing": lambda: library.handle(logging.makeLogRecord({"levelno": 50})),
    "odd level": lambda: library.log(12_345, "text"),
    "name of a level": lambda: structlog.get_logger().info("text", level=7, timestamp=Mute()),
    "bound event": lambda: structlog.get_logger().bind(event=Mute()).error("text"),
    "dict as a message": lambda: library.error({"event": Mute(), 1: 2}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("is_json", [True, False], ids=["json", "pretty"])
def test_odd_call_is_written_too(
    call: Callable[[], Any], *, is_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_as_workers_do(level="INFO", is_json=is_json):
        call()
    written = capsys.readouterr().err
    assert "Logging error" not in written
    if is_json:
        (line,) = written.splitlines()
        assert "event" in json.loads(line)
    else:
        assert written.strip()


@pytest.mark.parametrize("value", [within_itself(), laughs(), {"card": Mute()}])
def test_what_redaction_cannot_look_through_is_hidden(
    value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_as_workers_do(level="INFO", redact=["card"]):
        structlog.get_logger().info("paid", order={"card": "4111"}, other=value)
    assert "4111" not in capsys.readouterr().err


def test_long_text_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_as_workers_do(level="INFO"):
        log.error(Event.HOOK_FAILED, hook="a" + "x" * 1_000_000 + "z", error_message="x")
        shown = one_line(capsys)["hook"]
    assert MAX_TEXT - 100 < size_of(shown) <= MAX_TEXT
    assert (shown[0], shown[-1]) == ("a", "t")
    assert shown.endswith("x… 934.5 kB left out")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.builds(Mute)
    | st.decimals()
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.integers() | st.text() | st.none() | st.binary(), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@settings(max_examples=100)
@given(ANYTHING)
def test_plain_is_json_of_anything(value: Any) -> None:
    assert json.loads(json.dumps(plain(value), allow_nan=False).encode("utf-8")) is not ...


@settings(max_examples=100)
@given(value=ANYTHING, is_json=st.booleans())
def test_any_fields_are_rendered(value: Any, *, is_json: bool) -> None:
    with (
        redirect_stderr(io.StringIO()) as written,
        logging_as_workers_do(level="INFO", is_json=is_json),
    ):
        log.error(Event.HOOK_FAILED, hook=value, error_message="x")
        structlog.get_logger().info("of a job", value=value)
        library.info("%s", value)
    lines = written.getvalue().encode().split(b"\n")[:-1]
    for line in lines if is_json else ():
        assert json.loads(line)
    assert len(lines) == 3 if is_json else len(lines) >= 3
