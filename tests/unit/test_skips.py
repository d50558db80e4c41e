"""Skips are named one by one, and pytest has the last word."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest


@pytest.mark.parametrize("what", ["a", "b"])
def test_that_needs(what):
    pytest.skip("no such thing")


def test_that_runs():
    pass
"""


def pytest_on(folder: Path, *options: str, **environment: str) -> tuple[int, list[str]]:
    """Run pytest on a few tests, and return its exit code and what it said."""
    (folder / "conftest.py").write_text('pytest_plugins = ["skips"]\n')
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -rfExX\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    clean.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean | {"PYTHONPATH": str(Path(__file__).parents[1])} | environment,
        timeout=100,
    )
    return done.returncode, done.stdout.splitlines()


def test_each_skip_is_named_with_its_reason_before_the_last_line(tmp_path: Path) -> None:
    code, said = pytest_on(tmp_path)
    assert code == 0
    assert [line for line in said if line.startswith("skipped")] == [
        f"skipped (not in allowed_skips.txt): test_some.py::test_that_needs[{what}]: no such thing"
        for what in ("a", "b")
    ]
    assert said[-1].startswith("1 passed, 2 skipped")


def test_skip_that_is_not_allowed_fails_on_ci(tmp_path: Path) -> None:
    code, _ = pytest_on(tmp_path, CI="true")
    assert code == 1
