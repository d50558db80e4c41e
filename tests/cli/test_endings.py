"""Endings: a process that ends says why, in one line of JSON."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from commanding import COMMAND, Shell

DATABASE_URL = "postgresql://127.0.0.1:9/"
AMQP_URL = "amqp://127.0.0.1:9/"

UNTIL_KILLED = "import pathlib, time; pathlib.Path('imports').touch(); time.sleep(60)"

BROKEN_MAIN = """
import asyncio
from program_executor.ending import logged_end
from program_executor.processes import run

async def main():
    {line}
    await asyncio.sleep(60)

with logged_end("work"):
    run(main())
"""

UNCAUGHT = """
import asyncio, threading, warnings
from program_executor.ending import leave_within, log_uncaught, log_uncaught_of, logged_end

class Loud:
    def __del__(self):
        raise ValueError("destructor")

async def main():
    log_uncaught_of(loop := asyncio.get_running_loop())
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

with logged_end("work") as ending:
    log_uncaught()
    thread = threading.Thread(target=lambda: [][0], name="mine")
    thread.start()
    thread.join()
    Loud()
    asyncio.run(main())
    warnings.warn("careful")
    threading.Thread(target=threading.Event().wait).start()  # Python would wait for it
    ending.code = 3
    leave_within(ending, 0.2)
"""


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    """Return a shell whose servers do not answer."""
    return bare_shell.exporting(database_url=DATABASE_URL, amqp_url=AMQP_URL)


async def ended(shell: Shell, *arguments: str) -> tuple[int | None, str]:
    """Run a command to its end; return its code and what it logged, tracebacks too."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        cwd=shell.folder,
        env=shell.environment,
        stderr=asyncio.subprocess.PIPE,
    )
    errors = (await process.communicate())[1].decode()
    return process.returncode, errors


def only_line(errors: str) -> dict[str, Any]:
    """Return the one line that was logged."""
    (line,) = errors.splitlines()
    told: dict[str, Any] = json.loads(line)
    return told


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; sys.exit(0)", "broken.py, line 1: it ends the process: sys.exit(0)"),
        ("\nraise ValueError('no shelf')", "broken.py, line 2: ValueError: no shelf"),
        ("import no_such_library", "broken.py, line 1: ModuleNotFoundError: No module named 'no_s"),
        ("x = 1", "there is no job in 'broken', which JOBS names"),
    ],
)
async def test_worker_that_cannot_import_its_jobs_says_why(
    shell: Shell, source: str, reason: str
) -> None:
    (shell.folder / "broken.py").write_text(source)
    ended_with, errors = await ended(shell, "work", "broken", "--port", "0")
    told = only_line(errors)
    assert (ended_with, told["event"], told["exit_code"]) == (2, "process.failed", 2)
    assert told["reason"].startswith(reason)
    assert "exception" not in told


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_setting_that_is_missing_or_wrong_is_named(shell: Shell, command: str) -> None:
    ran = await shell.exporting(lease_s="soon").run(command)
    told = only_line(ran.errors)
    assert (ran.code, told["event"], told["command"]) == (2, "process.failed", command)
    assert told["reason"].startswith("PROGRAM_EXECUTOR_LEASE_S: ")
    wrong = shell.exporting(amqp_url="http://nobody/")
    told = only_line((ran := await wrong.run(command, "--port", "0")).errors)
    assert (ran.code, told["reason"].partition(":")[0]) == (2, "PROGRAM_EXECUTOR_AMQP_URL")


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_misspelled_variable_is_logged_at_the_start(shell: Shell, command: str) -> None:
    misspelled = Shell(shell.folder, {"PROGRAM_EXECUTOR_AMPQ_URL": AMQP_URL})
    ran = await misspelled.run(command, "--port", "0")
    warning, failure = map(json.loads, ran.errors.splitlines())
    assert (warning["event"], warning["level"]) == ("setting.unknown", "warning")
    assert warning["variable"] == "PROGRAM_EXECUTOR_AMPQ_URL"
    assert warning["did_you_mean"] == "PROGRAM_EXECUTOR_AMQP_URL"
    assert (ran.code, failure["event"]) == (2, "process.failed")
    assert failure["reason"].startswith("set PROGRAM_EXECUTOR_AMQP_URL to a RabbitMQ")


async def test_fleet_whose_workers_cannot_start_ends(shell: Shell) -> None:
    ran = await shell.run("work", "no_such_module", "--processes", "2", "--port", "0")
    told = [json.loads(line) for line in ran.errors.splitlines()]
    assert (ran.code, told[-1]["event"], told[-1]["command"]) == (2, "process.failed", "fleet")
    assert told[-1]["reason"].endswith("ended once, with exit code 2")
    assert "no_such_module" in told[0]["reason"]
    assert "worker.died" not in {each["event"] for each in told}


async def test_signal_while_the_jobs_are_imported_is_the_reason(shell: Shell) -> None:
    (shell.folder / "slow.py").write_text(UNTIL_KILLED)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        COMMAND, "work", "slow", cwd=shell.folder, env=shell.environment, stderr=pipe
    )
    while not (shell.folder / "imports").exists():
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told = only_line((await process.communicate())[1].decode())
    assert process.returncode == -signal.SIGTERM
    assert (told["event"], told["reason"], told["exit_code"]) == ("process.ended", "SIGTERM", 143)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("for each in asyncio.all_tasks(): each.cancel()", "CancelledError"),
        ("asyncio.get_running_loop().stop()", "RuntimeError: Event loop stopped before"),
        ("raise ExceptionGroup('one', [ValueError('no')])", "ValueError: no"),
    ],
)
async def test_main_task_that_ends_unasked_is_a_failure(
    tmp_path: Path, line: str, reason: str
) -> None:
    """As by a job that takes the event loop for its own."""
    source = BROKEN_MAIN.format(line=line)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, cwd=tmp_path, stderr=pipe
    )
    told = only_line((await process.communicate())[1].decode())
    assert (process.returncode, told["event"]) == (1, "process.failed")
    assert told["reason"].startswith(reason)
    assert "Traceback" in told["exception"]


async def test_what_nobody_catches_is_a_line_each(tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UNCAUGHT, cwd=tmp_path, stderr=pipe
    )
    errors = (await process.communicate())[1].decode()
    told = [json.loads(line) for line in errors.splitlines()]
    uncaught = [each for each in told if each["event"] == "exception.uncaught"]
    assert [(each["where"].partition(":")[0], each["error_message"]) for each in uncaught] == [
        ("thread mine", "IndexError: list index out of range"),
        ("a destructor or callback", "ValueError: destructor"),
        ("the event loop", "ZeroDivisionError: division by zero"),
    ]
    assert all("Traceback" in each["exception"] for each in uncaught)
    assert "careful" in told[-2]["event"]
    assert (process.returncode, told[-1]["event"], told[-1]["exit_code"]) == (3, "process.ended", 3)
