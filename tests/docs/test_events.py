"""Log events: every line that the source writes is as the one list says, and nothing else is."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from program_service.events import FIELDS, Event

ROOT = Path(__file__).parents[2]
SOURCES = [
    file
    for folder in ("service", "workers", "client")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
MAKERS = ("get_logger", "wrap_logger")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Call:
    """A call of a logger: where it stands, which events it may be of, and its fields."""

    place: str
    method: str
    events: list[Event]
    fields: set[str]


def calls_in(source: str, file: str) -> Iterator[Call]:
    """Find every call of `log`; whatever cannot be read from the source is an error."""
    tree = ast.parse(source)
    functions = [each for each in ast.walk(tree) if isinstance(each, FUNCTIONS)]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)):
                around = [each for each in functions if node in ast.walk(each)]
                yield Call(
                    f"{file}:{node.lineno}",
                    method,
                    list(_events(node.args[0])),
                    {name for word in node.keywords for name in _fields(word, around[-1])},
                )


def _events(node: ast.expr) -> Iterator[Event]:
    if isinstance(node, ast.IfExp):
        yield from _events(node.body)
        yield from _events(node.orelse)
        return
    assert isinstance(node, ast.Attribute), f"no event of the list: {ast.unparse(node)}"
    assert ast.unparse(node.value) == "Event", f"no event of the list: {ast.unparse(node)}"
    yield Event[node.attr]


def _fields(word: ast.keyword, function: ast.AST) -> Iterator[str]:
    """Name a field; `**names` stands for a dict that the same function wrote down."""
    if word.arg is not None:
        yield "exception" if word.arg == "exc_info" else word.arg
        return
    (written,) = [
        each.value
        for each in ast.walk(function)
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == ast.unparse(word.value)
    ]
    assert isinstance(written, ast.Dict)
    for key in written.keys:
        assert isinstance(key, ast.Constant)
        yield str(key.value)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Return every call of a logger in the product."""
    return [
        call for file in SOURCES for call in calls_in(file.read_text(), str(file.relative_to(ROOT)))
    ]


def test_every_line_has_the_fields_and_the_level_of_its_event(calls: list[Call]) -> None:
    wrong = [
        f"{call.place}: {event} at {call.method} with {sorted(call.fields - set(event.fields))}"
        for call in calls
        for event in call.events
        if call.fields - set(event.fields) or call.method != event.level
    ]
    assert wrong == []


def test_every_event_and_every_field_of_it_is_written_somewhere(calls: list[Call]) -> None:
    written = {event: set[str]() for event in Event}
    for call in calls:
        for event in call.events:
            written[event] |= call.fields
    assert {event: sorted(set(event.fields) - names) for event, names in written.items()} == {
        event: [] for event in Event
    }
    used = {event for call in calls for event in call.events}
    assert [event for event in Event if event not in used] == []


def test_every_field_is_explained_and_nothing_else() -> None:
    assert list(FIELDS) == sorted({name for event in Event for name in event.fields})


def test_only_the_log_that_is_looked_at_writes_lines() -> None:
    """A logger of another name would be overlooked, and user code could reconfigure it."""
    made = [
        (file.name, ast.unparse(each))
        for file in SOURCES
        for each in ast.walk(ast.parse(file.read_text()))
        if isinstance(each, ast.Call) and ast.unparse(each.func).endswith(MAKERS)
    ]
    assert [name for name, _ in made] == ["logs.py", "logs.py"], made


@pytest.mark.parametrize(
    "line",
    [
        'log.info("job.done", run_id=run_id)',
        "log.info(event, run_id=run_id)",
        "log.debug(Event.JOB_DONE, **names)",
        "log.debug(Event.NO_SUCH_EVENT)",
    ],
)
def test_line_that_cannot_be_looked_at_would_be_noticed(line: str) -> None:
    with pytest.raises((AssertionError, ValueError, KeyError)):
        list(calls_in(f"def tell(event, names):\n    {line}\n", "some.py"))


def test_fields_are_read_also_from_a_dict_and_a_choice() -> None:
    source = """
def tell(is_last):
    names = {"run_id": 1, "job": "charge"}
    log.debug(Event.PROGRAM_FINISHED if is_last else Event.JOB_DONE, step=2, **names)
"""
    (call,) = calls_in(source, "some.py")
    assert call.events == [Event.PROGRAM_FINISHED, Event.JOB_DONE]
    assert call.fields == {"run_id", "job", "step"}
