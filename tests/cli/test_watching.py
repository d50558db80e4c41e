"""Watching: steps drawn on a terminal, lines in a pipe, JSON for programs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from commanding import Shell, Terminal
from patience import eventually
from program_executor import JobContext, RetryableError, job
from serving import Service

Watch = Callable[..., Terminal]


class Gate:
    """What the job `charge` waits for."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()


@pytest.fixture
async def gate(service: Service) -> Gate:
    """Hire a worker: reserve is quick, charge waits for the gate, ship does as it is told."""
    gate = Gate()

    @job
    async def reserve(_ctx: JobContext) -> None:
        return

    @job
    async def charge(_ctx: JobContext) -> None:
        await gate.is_open.wait()

    @job
    async def ship(ctx: JobContext) -> None:
        if ctx.program_data.get("is_stormy"):
            raise RetryableError("the sea is\nrough", after=5400)
        if ctx.program_data.get("is_lost"):
            raise ValueError("no such harbour")

    await service.crew.hire(reserve, charge, ship)
    return gate


@pytest.fixture
async def watch(shell: Shell) -> AsyncIterator[Watch]:
    """Return what runs commands on terminals, and ends them after."""
    opened: list[Terminal] = []

    def start(*arguments: str, lines: int = 24, **variables: str) -> Terminal:
        used = Shell(shell.folder, {**shell.variables, **variables})
        opened.append(used.on_terminal(*arguments, lines=lines))
        return opened[-1]

    yield start
    for terminal in opened:
        await terminal.close()


def at_charge(service: Service, run_id: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        program = await service.get(run_id)
        return (program["status"], program["step"]) == ("running", 1)

    return look


async def test_steps_are_drawn_as_they_are_done(service: Service, gate: Gate, watch: Watch) -> None:
    run_id = (await service.submit("reserve", "charge", "ship"))["run_id"]
    terminal = watch("watch", run_id)
    await eventually(lambda: terminal.shows("running  1/3", "✓ reserve", "charge", "· ship"))
    (line,) = [line for line in terminal.screen if "charge" in line]
    assert line.endswith("on worker-1")
    assert "left" not in terminal.screen[0]  # nothing is known of such programs
    gate.is_open.set()
    assert await terminal.ended() == 0
    assert terminal.screen[0].startswith(f"{run_id}  finished  3/3")
    marks = [line.split()[:2] for line in terminal.screen[1:]]
    assert marks == [["✓", "reserve"], ["✓", "charge"], ["✓", "ship"]]


async def test_rest_is_estimated_from_programs_with_the_same_jobs(
    service: Service, gate: Gate, watch: Watch
) -> None:
    gate.is_open.set()
    before = await service.submit("reserve", "charge", "ship")
    await service.ended(before["run_id"])
    gate.is_open.clear()
    run_id = (await service.submit("reserve", "charge", "ship"))["run_id"]
    terminal = watch("watch", run_id)
    await eventually(lambda: terminal.shows("running  1/3"))
    # the one before took next to no time
    await eventually(lambda: terminal.shows("longer than usual"))
    gate.is_open.set()
    assert await terminal.ended() == 0


async def test_failure_is_drawn_with_its_error(service: Service, gate: Gate, watch: Watch) -> None:
    gate.is_open.set()
    program = await service.submit("charge", "ship", program_data={"is_lost": True})
    terminal = watch("watch", program["run_id"])
    assert await terminal.ended() == 1
    screen = terminal.screen
    assert screen[0].startswith(f"{program['run_id']}  errored  1/2")
    assert [line.split()[:2] for line in screen[1:3]] == [["✓", "charge"], ["✗", "ship"]]
    assert screen[3].strip() == "no such harbour"
    assert screen[4] == f"program-executor show {program['run_id']} tells more."


async def test_retry_is_drawn_with_its_error_and_its_time(
    service: Service, gate: Gate, watch: Watch
) -> None:
    del gate
    program = await service.submit("ship", program_data={"is_stormy": True})
    terminal = watch("watch", program["run_id"])
    await eventually(
        lambda: terminal.shows("retrying  0/1", "↻ ship", "try 2", "the sea is", "in 1 h")
    )
    await service.cancel(program["run_id"])
    assert await terminal.ended() == 1
    assert await terminal.shows("cancelled  0/1", "⊘ ship")


async def test_long_program_is_drawn_around_its_current_step(
    service: Service, gate: Gate, watch: Watch
) -> None:
    jobs = ["reserve"] * 40 + ["charge"] + ["reserve"] * 40
    run_id = (await service.submit(*jobs))["run_id"]
    terminal = watch("watch", run_id, lines=16)
    await eventually(lambda: terminal.shows("running  40/81", "36 before", "charge", "36 more"))
    assert len(terminal.screen) <= 16
    gate.is_open.set()
    assert await terminal.ended() == 0
    assert await terminal.shows("finished  81/81")


async def test_terminal_without_unicode_has_marks_that_it_can_show(
    service: Service, gate: Gate, watch: Watch
) -> None:
    run_id = (await service.submit("reserve", "charge"))["run_id"]
    terminal = watch("watch", run_id, PYTHONIOENCODING="ascii")
    await eventually(lambda: terminal.shows("running  1/2", "+ reserve"))
    gate.is_open.set()
    assert await terminal.ended() == 0
    assert await terminal.shows("finished  2/2", "+ charge")


async def test_ctrl_c_leaves_the_program_alone(service: Service, gate: Gate, watch: Watch) -> None:
    run_id = (await service.submit("charge"))["run_id"]
    terminal = watch("watch", run_id)
    await eventually(lambda: terminal.shows("running  0/1"))
    terminal.interrupt()
    assert await terminal.ended() == 130
    assert not await terminal.shows("Traceback")
    gate.is_open.set()
    assert (await service.ended(run_id))["status"] == "finished"


async def test_each_change_is_a_line_in_a_pipe(service: Service, gate: Gate, shell: Shell) -> None:
    run_id = (await service.submit("reserve", "charge"))["run_id"]
    watching = asyncio.create_task(shell.run("watch", run_id))
    await eventually(at_charge(service, run_id))
    gate.is_open.set()
    ran = await watching
    assert (ran.code, ran.errors) == (0, "")
    lines = [line.split(maxsplit=2) for line in ran.output.splitlines()]
    assert all(moment.endswith("Z") and one == run_id for moment, one, _ in lines)
    assert lines[-1][2] == "finished  2/2"


async def test_each_change_is_a_json_object(service: Service, gate: Gate, shell: Shell) -> None:
    gate.is_open.set()
    program = await service.submit("charge", "ship", program_data={"is_lost": True})
    ran = await shell.run("watch", program["run_id"], "--json")
    assert (ran.code, ran.errors) == (1, "")
    seen = [json.loads(line) for line in ran.output.splitlines()]
    assert seen[-1]["status"] == "errored"
    assert seen[-1] == await service.get(program["run_id"])


async def test_program_that_is_not_there_is_said(shell: Shell) -> None:
    ran = await shell.run("watch", "nope")
    assert ran.code == 4
    assert ran.error.startswith("404 program_not_found: No program has the run_id 'nope'.")
