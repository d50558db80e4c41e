"""Submitting from the command line: names, files and standard input; waiting for the end."""

import json
from typing import Any

import pytest

from commanding import Shell
from program_executor import JobContext, job
from serving import Service


@job
async def reserve(ctx: JobContext) -> None:
    """Do as it is told."""
    if ctx.program_data.get("is_full"):
        raise ValueError("no seat is left")


@pytest.mark.parametrize(
    ("data", "code", "status"), [("{}", 0, "finished"), ('{"is_full": true}', 1, "errored")]
)
async def test_exit_code_is_the_outcome_of_the_file_that_was_waited_for(
    service: Service, shell: Shell, data: str, code: int, status: str
) -> None:
    await service.crew.hire(reserve)
    body = {"jobs": ["reserve"], "program_data": json.loads(data), "labels": {"team": "eu"}}
    (shell.folder / "jobs.json").write_text(json.dumps(body))
    ran = await shell.run("submit", "jobs.json", "--wait", "--json")
    assert (ran.code, ran.errors) == (code, "")
    program = json.loads(ran.output)
    assert (program["status"], program["labels"]) == (status, {"team": "eu"})
    assert program == await service.get(program["run_id"])


async def test_program_is_made_of_names_and_options(service: Service, shell: Shell) -> None:
    ran = await shell.run(
        *(
            "submit",
            "reserve",
            "ship",
            "--data",
            '{"seat": 12}',
            "--job-data",
            '{"ship": {"a": 1}}',
        ),
        *("--label", "team=eu", "--label", "size=a:b", "--start-at", "2099-01-31T08:00:00Z"),
        *("--idempotency-key", "k1", "--json"),
    )
    program = ran.json
    assert program == await service.get(program["run_id"])
    assert (program["jobs"], program["program_data"]) == (["reserve", "ship"], {"seat": 12})
    assert program["job_data"] == {"ship": {"a": 1}}
    assert program["labels"] == {"team": "eu", "size": "a:b"}
    assert program["status"] == "scheduled"


async def test_same_idempotency_key_answers_the_same_program(shell: Shell) -> None:
    told = [
        (await shell.run("submit", "ship", "--idempotency-key", "k1", "--json")).json["run_id"]
        for _ in range(2)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("body", [["ship"], {"jobs": ["ship"]}])
async def test_standard_input_is_read(shell: Shell, body: Any) -> None:
    ran = await shell.run("submit", "-", "--json", typed=json.dumps(body))
    assert ran.json["jobs"] == ["ship"]


async def test_file_may_begin_with_a_byte_order_mark(shell: Shell) -> None:
    body = json.dumps({"jobs": ["ship"], "program_data": {"name": "é"}}, ensure_ascii=False)
    (shell.folder / "jobs.json").write_bytes(body.encode("utf-8-sig"))
    ran = await shell.run("submit", "jobs.json", "--json")
    assert ran.json["program_data"] == {"name": "é"}


async def test_file_in_another_encoding_is_said(shell: Shell) -> None:
    (shell.folder / "jobs.json").write_bytes('{"jobs": ["ship"]}'.encode("utf-16"))
    ran = await shell.run("submit", "jobs.json")
    assert ran.code == 2
    assert (
        ran.error
        == "jobs.json is not JSON: it is not UTF-8, but looks like UTF-16; send it as UTF-8"
    )


async def test_batch_is_accepted_together(service: Service, shell: Shell) -> None:
    await service.crew.hire(reserve)
    body = {"programs": [{"jobs": ["reserve"]}, {"jobs": ["reserve"], "labels": {"n": "2"}}]}
    (shell.folder / "batch.json").write_text(json.dumps(body))
    run_ids = (await shell.run("submit", "batch.json")).rows
    assert [(await service.get(run_id))["labels"] for (run_id,) in run_ids] == [{}, {"n": "2"}]
    waited = await shell.run("submit", "batch.json", "--wait", "--json")
    assert [program["status"] for program in waited.json] == ["finished", "finished"]
    full = {"jobs": ["reserve"], "program_data": {"is_full": True}}
    typed = json.dumps({"programs": [{"jobs": ["reserve"]}, full]})
    ran = await shell.run("submit", "-", "--wait", typed=typed)
    assert (ran.code, ran.errors) == (1, "")
    assert "errored   0/1 at reserve: no seat is left" in ran.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "jobs.json is not JSON"),
        ('{"jobs": ["ship"], "program_data": {"x": [NaN]}}', "jobs.json: program_data.x[0] is NaN"),
        ('{"jobs": ["ship"], "program_data": {"x": 1e400}}', "jobs.json: program_data.x is Infin"),
        ("3", "jobs.json must hold"),
        ('{"job": ["ship"]}', "jobs.json must hold"),
        ('{"jobs": "ship"}', "jobs.json must hold"),
        ('{"programs": [3]}', '{"programs": […]} stands alone'),
        ('{"programs": [], "labels": {}}', '{"programs": […]} stands alone'),
    ],
)
async def test_file_that_holds_no_program_is_said(shell: Shell, text: str, words: str) -> None:
    (shell.folder / "jobs.json").write_text(text)
    ran = await shell.run("submit", "jobs.json")
    assert ran.code == 2
    assert ran.error.startswith(words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.json"], "missing.json: No such file"),
        (["jobs.json", "ship"], "jobs.json is a file: give it alone"),
        (["ship", "--data", "seat=12"], "--data is not JSON"),
        (["ship", "--data", '{"x": NaN}'], "--data: x is NaN; JSON has finite numbers only"),
        (["ship", "--data", '{"id": 12345678901234567890}'], "--data: id is an integer beyond 64"),
        (["ship", "--label", "eu"], "--label eu: a label is key=value"),
    ],
)
async def test_wrong_use_is_said(shell: Shell, arguments: list[str], words: str) -> None:
    ran = await shell.run("submit", *arguments)
    assert ran.code == 2
    assert ran.error.startswith(words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (["chrage"], "jobs[0]: did you mean 'charge'?"),
        ({"jobs": ["ship"], "programData": {}}, "programData: did you mean 'program_data'?"),
    ],
)
async def test_near_names_are_said(shell: Shell, body: Any, words: str) -> None:
    ran = await shell.run("submit", "-", typed=json.dumps(body))
    assert ran.code == 4
    assert ran.error.startswith("422 ")
    assert ran.error.endswith(words)
