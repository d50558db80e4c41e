"""Pages at the command line: the last tries, or all of them; data of lists when asked for."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from commanding import Shell
from serving import Service

BEGAN = datetime(2027, 1, 31, 8, tzinfo=UTC)
TRIES = 450


async def tried(service: Service) -> str:
    """Submit a program and write tries of it."""
    run_id = str((await service.submit("reserve", program_data={"seat": 12}))["run_id"])
    rows = [
        {
            "run_id": run_id,
            "lease": f"{number:032}",
            "step": 0,
            "attempt": number + 1,
            "job": "reserve",
            "outcome": "retry",
            "finished_at": BEGAN + timedelta(seconds=number),
        }
        for number in range(TRIES)
    ]
    async with service.database.engine.begin() as connection:
        await connection.execute(sa.insert(service.database.tables.attempts), rows)
    return run_id


async def test_last_tries_are_listed_or_all_page_after_page(service: Service, shell: Shell) -> None:
    run_id = await tried(service)
    for options, first in ((["--limit", "3"], TRIES - 2), ([], TRIES - 199), (["--all"], 1)):
        listed = (await shell.run("attempts", run_id, "--json", *options)).json
        assert [each["attempt"] for each in listed] == list(range(first, TRIES + 1))
    lines = (await shell.run("attempts", run_id, "--all")).output.splitlines()
    assert len([line for line in lines if "\tretry\t" in line]) == TRIES


async def test_show_has_the_last_tries_and_says_where_the_others_are(
    service: Service, shell: Shell
) -> None:
    run_id = await tried(service)
    shown = (await shell.run("show", run_id, "--json")).json
    assert [each["attempt"] for each in shown["attempts"]] == list(range(TRIES - 199, TRIES + 1))
    told = (await shell.run("show", run_id)).output
    assert "The last 200 tries; `program-executor attempts --all` has all:" in told


async def test_list_has_data_when_asked_for(service: Service, shell: Shell) -> None:
    await tried(service)
    (program,) = (await shell.run("list", "--json")).json
    assert not {"program_data", "job_data"} & program.keys()
    (program,) = (await shell.run("list", "--json", "--data")).json
    assert program["program_data"] == {"seat": 12}
