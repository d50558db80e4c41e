"""Steering from the command line: one program, or all that filters find."""

import pytest

from commanding import Shell
from patience import eventually
from program_executor import JobContext, job
from serving import Service


@job
async def reserve(_ctx: JobContext) -> None:
    """Fail."""
    raise ValueError("no seat is left")


@job
async def charge(_ctx: JobContext) -> None:
    """Fail, too."""
    raise ValueError("declined")


@pytest.fixture
async def errored(service: Service) -> list[str]:
    """Have three programs fail, two of them at charge; return their run_ids."""
    shift = await service.crew.hire(reserve, charge)
    run_ids = []
    for jobs in (["reserve"], ["charge"], ["charge", "ship"]):
        program = await service.submit(*jobs, labels={"team": "eu"})
        run_ids.append((await service.ended(program["run_id"]))["run_id"])
    await shift.stop()  # nothing fails again
    return run_ids


async def statuses(service: Service, run_ids: list[str]) -> list[str]:
    return [(await service.get(run_id))["status"] for run_id in run_ids]


async def test_program_is_cancelled_and_resumed(service: Service, shell: Shell) -> None:
    run_id = (await service.submit("ship", "reserve"))["run_id"]
    assert (await shell.run("cancel", run_id, "--json")).json["status"] == "cancelled"
    assert (await shell.run("resume", run_id, "--from-step", "1")).output.startswith(run_id)
    program = await service.get(run_id)
    assert (program["status"], program["step"], program["resumes"]) == ("pending", 1, 1)
    ran = await shell.run("resume", run_id)
    assert ran.code == 4
    assert ran.error.startswith("409 not_resumable: ")


async def test_dry_run_says_how_many_and_which_and_does_nothing(
    service: Service, shell: Shell, errored: list[str]
) -> None:
    ran = await shell.run("resume", "--all", "--job", "charge", "--dry-run")
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.splitlines()[-1] == "2 programs would be resumed."
    named = [line.split()[0] for line in ran.output.splitlines()[:-1]]
    assert named == errored[:0:-1]
    said = await shell.run("resume", "--all", "--job", "charge", "--dry-run", "--json")
    assert said.json == {"found": errored[:0:-1], "resumed": [], "refused": []}
    assert await statuses(service, errored) == ["errored"] * 3


async def test_all_that_a_filter_finds_are_resumed(
    service: Service, shell: Shell, errored: list[str]
) -> None:
    ran = await shell.run("resume", "--all", "--job", "charge", "--yes")
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.splitlines()[-1] == "2 programs resumed."
    assert await statuses(service, errored) == ["errored", "pending", "pending"]


async def test_cancelled_programs_are_resumed_only_when_that_is_said(
    service: Service, shell: Shell
) -> None:
    run_id = (await service.submit("ship"))["run_id"]
    await service.cancel(run_id)
    assert (await shell.run("resume", "--all", "--yes", "--json")).json["found"] == []
    said = await shell.run("resume", "--all", "--status", "cancelled", "--yes", "--json")
    assert said.json == {"found": [run_id], "resumed": [run_id], "refused": []}


async def test_all_that_have_not_ended_are_cancelled(
    service: Service, shell: Shell, errored: list[str]
) -> None:
    waiting = [(await service.submit("ship"))["run_id"] for _ in range(30)]
    ran = await shell.run("cancel", "--all", "--yes")
    assert (ran.code, ran.errors) == (0, "")
    lines = ran.output.splitlines()
    assert lines[-3:] == [
        "  … and 10 more",
        "30 programs will be cancelled.",
        "30 programs cancelled.",
    ]
    assert set(await statuses(service, waiting)) == {"cancelled"}
    assert set(await statuses(service, errored)) == {"errored"}


async def test_what_the_service_refuses_is_told_and_is_no_success(
    service: Service, shell: Shell, errored: list[str]
) -> None:
    """The filter finds what cannot be resumed: whoever asked for it shall know."""
    waiting = (await service.submit("ship"))["run_id"]
    ran = await shell.run("resume", "--all", "--status", "pending", "--yes")
    assert ran.code == 1
    assert ran.output.splitlines()[-1] == "0 programs resumed."
    assert ran.errors.startswith(f"{waiting}: not_resumable: ")
    assert set(await statuses(service, errored)) == {"errored"}


async def test_nothing_is_done_without_agreement(
    service: Service, shell: Shell, errored: list[str]
) -> None:
    ran = await shell.run("resume", "--all")
    assert ran.code == 2
    assert ran.errors == "error: --all would resume 3 programs: add --yes to do it\n"
    assert await statuses(service, errored) == ["errored"] * 3


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
async def test_terminal_is_asked(
    service: Service, shell: Shell, errored: list[str], answer: str, code: int
) -> None:
    terminal = shell.on_terminal("resume", "--all", "--label", "team=eu")
    try:
        await eventually(lambda: terminal.shows("Resume 3 programs? [y/N]"))
        terminal.type(answer)
        assert await terminal.ended() == code
    finally:
        await terminal.close()
    expected = "pending" if code == 0 else "errored"
    assert await statuses(service, errored) == [expected] * 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a run_id; or --all"),
        (["--job", "ship"], "give a run_id; or --all"),
        (["run-1", "--all"], "give a run_id, or --all with filters, and not both"),
        (["run-1", "--job", "ship"], "give a run_id, or --all with filters, and not both"),
        (["run-1", "--dry-run"], "give a run_id, or --all with filters, and not both"),
    ],
)
async def test_wrong_use_is_said(shell: Shell, arguments: list[str], words: str) -> None:
    for command in ("cancel", "resume"):
        ran = await shell.run(command, *arguments)
        assert ran.code == 2
        assert ran.error.startswith(words)
