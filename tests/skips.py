"""Skips: name each at the end, with its reason, and fail CI when one is not in the committed list.

`tests/allowed_skips.txt` holds lines of `part of a test's id: part of the reason`; on CI (when the
variable CI is set) any other skip fails the run, because a skipped check proves nothing.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

ALLOWED = Path(__file__).parent / "allowed_skips.txt"


T = TypeVar("T")


@contextmanager
def or_skip(what: str, server: AbstractContextManager[T], missing: type[Exception]) -> Iterator[T]:
    """Have a server; when there is none, which it says by `missing`, skip by name."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except missing as error:
            pytest.skip(f"{what}: {error}")
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was not tested; pytest itself would only count the skips of a line."""
    unexpected = strangers(terminalreporter)
    skipped = sorted(terminalreporter.stats.get("skipped", []), key=lambda report: report.nodeid)
    for report in skipped:
        note = f" (not in {ALLOWED.name})" if report in unexpected else ""
        terminalreporter.write_line(f"skipped{note}: {report.nodeid}: {reason_of(report)}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run on CI when a skip is not allowed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and strangers(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def strangers(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    """Return the skips that are not in the list."""
    lines = ALLOWED.read_text().splitlines()
    rules = [line.split(": ", 1) for line in lines if line and not line.startswith("#")]
    return [
        report
        for report in reporter.stats.get("skipped", [])
        if not any(part in report.nodeid and why in reason_of(report) for part, why in rules)
    ]


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(reason).removeprefix("Skipped: ")
