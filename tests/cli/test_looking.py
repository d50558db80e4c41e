"""Looking from the command line: lists, one program, its tries, jobs and workers."""

import json
import os
from typing import Any

import pytest
import structlog

from commanding import Shell
from lines import logging_as_workers_do
from patience import eventually
from program_executor import JobContext, job
from serving import Service

log = structlog.get_logger()


@job
async def reserve(ctx: JobContext) -> dict[str, Any]:
    """Do as it is told."""
    if ctx.program_data.get("is_full"):
        log.warning("looked for a seat", row=7)
        raise ValueError("no seat\nis left")
    return {"seat": 12}


async def test_list_is_lines_with_tabs_in_a_pipe(service: Service, shell: Shell) -> None:
    await service.crew.hire(reserve)
    full = await service.submit("reserve", "ship", program_data={"is_full": True})
    await service.ended(full["run_id"])
    waiting = await service.submit("ship")
    rows = (await shell.run("list")).rows
    assert [row[:4] for row in rows] == [
        [waiting["run_id"], "pending", "0/1", "ship"],
        [full["run_id"], "errored", "0/2", "reserve"],
    ]
    assert [row[5:] for row in rows] == [["0", ""], ["0", "no seat is left"]]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--status", "errored"], [0]),
        (["--job", "ship"], [1, 2]),
        (["--queue", "default", "--order", "oldest"], [0, 1, 2]),
        (["--queue", "mail"], []),
        (["--label", "team=eu"], [1, 2]),
        (["--label", "team:eu", "--label", "n=2"], [2]),
        (["--in-progress"], [1, 2]),
        (["--retries", "1"], []),
        (["--created-after", "1h"], [0, 1, 2]),
        (["--created-after", "2099-01-31T08:00:00Z"], []),
        (["--created-before", "1h30m"], []),
        (["--created-after", "1d", "--error", "seat"], [0]),
        (["--created-after", "1d", "--error", "sheet"], []),
        (["--limit", "2", "--order", "oldest"], [0, 1]),
    ],
)
async def test_filters_find_what_they_say(
    service: Service, shell: Shell, arguments: list[str], found: list[int]
) -> None:
    await service.crew.hire(reserve)
    full = await service.submit("reserve", program_data={"is_full": True})
    await service.ended(full["run_id"])
    run_ids = [
        full["run_id"],
        *[
            (await service.submit("ship", labels={"team": "eu", "n": n}))["run_id"]
            for n in ("1", "2")
        ],
    ]
    programs = (await shell.run("list", "--json", *arguments)).json
    listed = [run_ids.index(program["run_id"]) for program in programs]
    assert (listed if "oldest" in arguments else listed[::-1]) == found


async def test_all_pages_are_listed(service: Service, shell: Shell) -> None:
    for _ in range(3):
        body = {"programs": [{"jobs": ["ship"]}] * 100}
        assert (await service.client.post("/programs/batch", json=body)).status_code == 201
    assert len((await shell.run("list", "--all")).rows) == 300
    assert len((await shell.run("list", "--limit", "250", "--json")).json) == 250
    assert len((await shell.run("list")).rows) == 20


async def test_list_of_nothing_is_empty(shell: Shell) -> None:
    assert (await shell.run("list")).rows == []
    assert (await shell.run("list", "--json")).json == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--error", "seat"], "--error reads every text: say how far back"),
        (["--created-after", "yesterday"], "'yesterday' is no moment"),
        (["--label", "eu"], "--label eu: a label is key=value"),
        (["--live", "--json"], "--live shows as many as fit"),
        (["--live"], "--live needs a terminal"),
    ],
)
async def test_wrong_use_of_list_is_said(shell: Shell, arguments: list[str], words: str) -> None:
    ran = await shell.run("list", *arguments)
    assert ran.code == 2
    assert ran.error.startswith(words)


async def test_table_on_a_terminal_cuts_errors_to_its_width(service: Service, shell: Shell) -> None:
    @job
    async def charge(_ctx: JobContext) -> None:
        raise ValueError("declined " * 20)

    await service.crew.hire(charge)
    program = await service.submit("charge")
    await service.ended(program["run_id"])
    terminal = shell.on_terminal("list", columns=80)
    try:
        assert await terminal.ended() == 0
        head, line = terminal.screen
    finally:
        await terminal.close()
    assert head.split() == ["run_id", "status", "done", "job", "age", "retry", "error"]
    assert line.startswith(program["run_id"])
    assert "declined" in line
    assert line.endswith("…")


async def test_live_list_shows_what_has_come(service: Service, shell: Shell) -> None:
    first = await service.submit("ship")
    terminal = shell.on_terminal("list", "--live", "--every", "0.2")
    try:
        await eventually(lambda: terminal.shows(first["run_id"]))
        second = await service.submit("ship")
        await eventually(lambda: terminal.shows(first["run_id"], second["run_id"]))
        await service.cancel(first["run_id"])
        await eventually(lambda: terminal.shows("cancelled"))
        terminal.interrupt()
        assert await terminal.ended() == 130
    finally:
        await terminal.close()


async def test_program_is_shown_with_its_reason_and_tries(service: Service, shell: Shell) -> None:
    with logging_as_workers_do(level="INFO"):
        await service.crew.hire(reserve)
        full = await service.submit("reserve", "ship", program_data={"is_full": True})
        await service.ended(full["run_id"])
    ran = await shell.run("show", full["run_id"])
    assert (ran.code, ran.errors) == (0, "")
    assert f"{full['run_id']}  errored   0/2 at reserve: no seat is left" in ran.output
    assert "It errored at step 0 ('reserve')" in ran.output
    assert "0\treserve\t1\tfailed\t" in ran.output
    assert "Traceback (most recent call last):" in ran.output
    assert "  ValueError: no seat\n  is left" in ran.output
    shown = (await shell.run("show", full["run_id"], "--json")).json
    assert shown.keys() == {"program", "attempts", "explanation"}
    tries = (await shell.run("attempts", full["run_id"], "--json")).json
    assert tries == shown["attempts"]
    assert [each["error_type"] for each in tries] == ["ValueError"]
    told = await shell.run("attempts", full["run_id"])
    _, _, trace = told.output.partition("\nstep 0 reserve, try 1:\n")
    log, _, traceback = trace.partition("\n")
    assert log.endswith("warning  looked for a seat row=7")
    assert traceback.startswith("  Traceback")


async def test_reason_is_said_in_words(service: Service, shell: Shell) -> None:
    run_id = (await service.submit("ship"))["run_id"]
    ran = await shell.run("explain", run_id)
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.startswith("No live worker knows the job 'ship'.\n")
    assert (await shell.run("explain", run_id, "--json")).json[
        "reason"
    ] == "no_worker_knows_the_job"


async def test_job_data_are_read_replaced_and_merged(service: Service, shell: Shell) -> None:
    run_id = (await service.submit("ship", job_data={"ship": {"a": 1}}))["run_id"]
    assert (await shell.run("job-data", "get", run_id, "ship")).json == {"a": 1}
    assert (await shell.run("job-data", "set", run_id, "ship", '{"b": 2}')).json == {"b": 2}
    (shell.folder / "more.json").write_text('{"c": 3}')
    merged = await shell.run("job-data", "merge", run_id, "ship", "@more.json")
    assert merged.json == {"b": 2, "c": 3}
    typed = await shell.run("job-data", "set", run_id, "ship", "-", typed="{}")
    assert typed.json == {}
    wrong = await shell.run("job-data", "set", run_id, "ship", "[1]")
    assert (wrong.code, wrong.error) == (2, 'job data are a JSON object, as in {"page": 3}')
    stranger = await shell.run("job-data", "get", run_id, "chrage")
    assert stranger.code == 4
    assert "'chrage' is no job of this program; it has 'ship'." in stranger.error


async def test_jobs_and_workers_are_listed(service: Service, shell: Shell) -> None:
    await service.crew.hire(reserve)
    rows = {row[0]: row[1:] for row in (await shell.run("jobs")).rows}
    assert rows["reserve"][:3] == ["in_process", "default", "worker-1"]
    assert rows["ship"][2] == "nobody"
    assert (await shell.run("jobs", "list", "--json")).json == (
        await shell.run("jobs", "--json")
    ).json
    assert (await shell.run("jobs", "show", "reserve", "--json")).json["workers"] == ["worker-1"]
    ((name, process, version, busy, *_),) = (await shell.run("workers")).rows
    assert (name, version, busy) == ("worker-1", "0.1.0", "0/100")
    assert process.endswith(f":{os.getpid()}")
    assert [each["name"] for each in (await shell.run("workers", "--json")).json] == ["worker-1"]


async def test_endpoint_is_registered_and_forgotten(shell: Shell) -> None:
    put = ("jobs", "put", "invoice")
    options = (
        "--endpoint",
        "https://shop.example/invoice",
        "--timeout",
        "7",
        "--max-attempts",
        "3",
    )
    job = (await shell.run(*put, *options, "--json")).json
    assert (job["url"], job["timeout_s"]) == ("https://shop.example/invoice", 7)
    assert job["retry"]["max_attempts"] == 3
    assert job["secret"].startswith("whsec_")
    body = {"url": "https://shop.example/other", "retry": {"initial_s": 5}}
    (shell.folder / "job.json").write_text(json.dumps(body))
    changed = (await shell.run(*put, "--file", "job.json", "--queue", "mail", "--json")).json
    assert (changed["url"], changed["queue"]) == ("https://shop.example/other", "mail")
    assert changed["retry"]["initial_s"] == 5
    rotated = (await shell.run("jobs", "rotate-secret", "invoice", "--json")).json
    assert rotated["secret"] != job["secret"]
    assert (await shell.run("jobs", "delete", "invoice")).output == "Deleted invoice.\n"
    gone = await shell.run("jobs", "show", "invoice")
    assert (gone.code, gone.output) == (4, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["put", "invoice"], "say what is called: --endpoint https://…"),
        (["put", "invoice", "--file", "missing.json"], "missing.json: No such file"),
        (["--url", "http://127.0.0.1:1", "delete", "invoice"], "--url stands after 'delete'"),
        (["--json", "list"], "--json stands after 'list'"),
    ],
)
async def test_wrong_use_of_jobs_is_said(shell: Shell, arguments: list[str], words: str) -> None:
    ran = await shell.run("jobs", *arguments)
    assert ran.code == 2
    assert ran.error.startswith(words)
