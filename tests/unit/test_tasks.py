"""Tasks: the product starts none that nobody watches."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUPERVISOR = "service/program_service/loops/supervisor.py"
FACTORY = "workers/program_workers/job_tasks.py"
"""What makes the tasks that jobs ask for."""
# a call of aiormq that is stuck cannot be waited for, not even by a task group
BORDER = "service/program_service/wakeups/rabbitmq/driver/transport.py"
EXEMPT = {SUPERVISOR, FACTORY, BORDER}
SOURCES = [
    str(file.relative_to(ROOT))
    for folder in ("service", "workers", "client")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
CANCELLATION = "service/program_service/cancellation.py"
OF_NOBODY = {"ensure_future", "run_in_executor", "create_eager_task_factory", "Task"}
NOT_GROUPS = {"asyncio", "loop", "get_running_loop", "get_event_loop"}


def unwatched(source: str) -> list[str]:
    """Return the calls that start a task outside a task group."""
    return [
        f"line {node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and _starts_an_unwatched_task(node.func)
    ]


def _starts_an_unwatched_task(called: ast.expr) -> bool:
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in OF_NOBODY:
        return True
    if name != "create_task":
        return False
    of = ast.unparse(called.value) if isinstance(called, ast.Attribute) else ""
    return not of or of.removesuffix("()").rpartition(".")[-1] in NOT_GROUPS


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.create_task(work())",
        "create_task(work())",
        "asyncio.ensure_future(work())",
        "asyncio.get_running_loop().create_task(work())",
        "loop.create_task(work())",
        "self._loop.loop.create_task(work())",
    ],
)
def test_check_finds_an_unwatched_task(source: str) -> None:
    assert unwatched(source)


def test_check_accepts_a_task_of_a_group() -> None:
    assert not unwatched("tasks.create_task(work())")


def test_tasks_belong_to_the_supervisor_or_to_a_task_group() -> None:
    found = {
        file: calls
        for file in SOURCES
        if file not in EXEMPT and (calls := unwatched((ROOT / file).read_text()))
    }
    assert found == {}


def test_task_groups_are_those_that_leave_no_mark_of_a_cancellation() -> None:
    """Before Python 3.13 a loop would end silently after a failure inside one of asyncio's."""
    found = [
        file
        for file in SOURCES
        if file != CANCELLATION and "asyncio.TaskGroup()" in (ROOT / file).read_text()
    ]
    assert found == []
