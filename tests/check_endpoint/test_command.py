"""The command itself, mostly as a process: exit codes, what it prints, and mistakes in one line."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from check_endpoint.samples import SECRET, Answer, LateEndpoint, RightEndpoint
from endpoint_server import EndpointServer
from patience import PATIENCE_S
from private_postgres import free_port
from program_executor.cli import main

Mistake = Callable[..., str]
Serve = Callable[[Answer], Awaitable[EndpointServer]]


@dataclass(frozen=True, slots=True)
class Ran:
    code: int | None
    output: str
    errors: str


async def run(url: str, *options: str, secret: str = SECRET) -> Ran:
    command = [sys.executable, "-m", "program_executor", "check-endpoint", url, *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, "--secret", secret, stdout=pipe, stderr=pipe
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    ran = Ran(process.returncode, output.decode(), errors.decode())
    assert SECRET not in ran.output + ran.errors
    return ran


async def test_right_endpoint_is_told_line_by_line(serve: Serve) -> None:
    ran = await run((await serve(RightEndpoint())).url)
    assert (ran.code, ran.errors) == (0, "")
    lines = ran.output.splitlines()
    assert lines[0].startswith("ok    call: a correctly signed call is taken: answered 200: done")
    assert all(line.startswith("ok    ") for line in lines)


async def test_links_are_answered_where_it_was_said(serve: Serve) -> None:
    endpoint = LateEndpoint()
    port = free_port()
    ran = await run((await serve(endpoint)).url, "--listen", f"0.0.0.0:{port}")
    assert (ran.code, ran.errors) == (0, "")
    assert all(
        links["complete"].startswith(f"http://127.0.0.1:{port}/callbacks/")
        for links in endpoint.newest.values()
    )


async def test_wrong_endpoint_ends_with_1(serve: Serve) -> None:
    ran = await run((await serve(RightEndpoint(verify=lambda _call: True))).url)
    assert (ran.code, ran.errors) == (1, "")
    assert "\nWRONG wrong signature: " in ran.output
    assert "\nwarn  old timestamp: " in ran.output


async def test_findings_are_printed_as_json(serve: Serve) -> None:
    ran = await run((await serve(RightEndpoint(verify=lambda _call: True))).url, "--json")
    assert (ran.code, ran.errors) == (1, "")
    findings = json.loads(ran.output)
    assert findings[0].keys() == {"check", "verdict", "text"}
    verdicts = {each["check"]: each["verdict"] for each in findings}
    assert verdicts["call"] == "right"
    assert verdicts["wrong signature"] == "wrong"
    assert verdicts["old timestamp"] == "warning"


async def test_job_and_data_are_those_that_were_given(serve: Serve) -> None:
    place = await serve(RightEndpoint())
    ran = await run(place.url, "--job", "sum", "--program-data", '{"prices": [1]}')
    assert ran.code == 0
    assert (place.calls[0].json["job"], place.calls[0].json["program_data"]) == (
        "sum",
        {"prices": [1]},
    )


async def test_endpoint_that_does_not_answer_is_said_in_one_line() -> None:
    ran = await run(f"http://127.0.0.1:{free_port()}/job")
    assert (ran.code, ran.output) == (2, "")
    assert ran.errors.startswith("error: nothing lets us connect")
    assert len(ran.errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://h/job", "--program-data", "{"], "--program-data is not JSON"),
        (["http://h/job", "--program-data", "[]"], "--program-data must be a JSON object"),
        (["http://h/job", "--listen", "8090"], "--listen is HOST:PORT"),
        (["ftp://127.0.0.1/job"], "the endpoint's URL must begin with http:// or https://"),
        (["job"], "the endpoint's URL must begin with http:// or https://"),
        (["http://"], "the endpoint's URL must begin with http:// or https://, and name a host"),
        (["http://u:p@h/job"], "the endpoint's URL holds a user's name"),
    ],
)
def test_mistakes_are_said_in_one_line(mistake: Mistake, arguments: list[str], words: str) -> None:
    error = mistake(*arguments, "--secret", SECRET)
    assert error.startswith(f"error: {words}")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("secret", ["hush-hush", "whsec_c2hvcnQ=", "whsec_%%%"])
def test_secret_of_a_wrong_form_is_said_and_not_shown(mistake: Mistake, secret: str) -> None:
    error = mistake("http://h/job", "--secret", secret)
    assert error == "error: --secret: a secret is whsec_ and the base64 of 24 to 64 random bytes\n"


@pytest.fixture
def mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Return what runs the command in this process, to its exit code 2, and returns the error."""

    def run_here(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["program-executor", "check-endpoint", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return run_here
