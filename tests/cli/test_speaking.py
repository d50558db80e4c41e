"""What the command line says by itself: help, completion, keys, settings, what doctor finds."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from commanding import COMMAND, Shell
from keys import KEYS, entry_of
from program_executor.commands.checkup import clocks
from program_service.api.auth import Keyring
from serving import Service

HEAVY = {
    "aio_pika",
    "alembic",
    "asyncio",
    "fastapi",
    "httpx",
    "program_service",
    "program_workers",
    "pydantic",
    "rich",
    "sqlalchemy",
    "uvicorn",
}
"""What commands need when they run, and `--help` must not wait for."""

# program_service.tracing is light: it hands on the trace that a call belongs to
SERVERS = HEAVY - {"asyncio", "httpx", "program_service", "rich"}
"""What servers alone need."""


def imported(code: str) -> set[str]:
    """Run code in a fresh Python, and return the packages that it imported."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in run.stderr.split()}


def test_help_does_not_wait_for_what_commands_need() -> None:
    assert imported("import program_executor.cli") & HEAVY == set()


def test_commands_that_ask_a_service_do_not_import_one() -> None:
    used = "\n".join(
        f"import program_executor.{name}"
        for name in ("client", "commands.refusals", "commands.drawing", "commands.estimating")
    )
    assert imported(f"import program_executor.cli\n{used}") & SERVERS == set()


async def test_help_tells_of_every_command_and_the_exit_codes(shell: Shell) -> None:
    ran = await shell.run("--help")
    assert (ran.code, ran.errors) == (0, "")
    for command in ("dev", "serve", "submit", "watch", "list", "resume", "profile", "doctor"):
        assert f" {command} " in ran.output
    assert "Exit codes: 0 done;" in ran.output


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("program-executor wa", {"watch"}),
        ("program-executor list --status e", {"errored"}),
        ("program-executor submit sh", {"ship"}),
        ("program-executor list --job re", {"reserve"}),
        ("program-executor jobs show ch", {"charge"}),
        ("program-executor profile use p", {"prod"}),
    ],
)
async def test_words_are_completed(shell: Shell, typed: str, found: set[str]) -> None:
    await shell.run("profile", "add", "prod", "--url", "http://127.0.0.1:1")
    assert await completed(shell, typed) == found


async def test_run_ids_of_recent_programs_are_completed(service: Service, shell: Shell) -> None:
    run_ids = {(await service.submit("ship"))["run_id"] for _ in range(3)}
    for command in ("watch", "show", "explain", "attempts", "cancel", "resume"):
        assert await completed(shell, f"program-executor {command} ") == run_ids
    one = min(run_ids)
    assert await completed(shell, f"program-executor show {one}") == {one}


async def test_completion_is_silent_when_nothing_answers(shell: Shell) -> None:
    lost = shell.exporting(url="http://127.0.0.1:1")
    assert await completed(lost, "program-executor show ") == set()
    assert await completed(shell, "program-executor show --profile nope ") == set()


async def completed(shell: Shell, typed: str) -> set[str]:
    """Return what bash offers after this was typed."""
    words = typed.split(" ")
    asked = {
        "_PROGRAM_EXECUTOR_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    ran = await Shell(shell.folder, {**shell.variables, **asked}).run()
    assert ran.errors == ""
    return set(ran.output.split())


async def test_key_is_made_and_listed(shell: Shell) -> None:
    made = (await shell.run("keys", "new", "mailer", "--setting", "--json")).json
    keyring = Keyring.parse(made["entry"])
    caller = keyring.caller(f"Bearer {made['key']}")
    assert caller is not None
    assert caller.name == "mailer"
    known = shell.exporting(api_keys=f"{made['entry']} {entry_of('admin')}")
    rows = (await known.run("keys", "list", "--setting")).rows
    assert [row[:2] for row in rows] == [["mailer", "read+submit"], ["admin", "admin"]]
    assert [len(row[2]) for row in rows] == [12, 12]
    assert [
        each["name"] for each in (await known.run("keys", "list", "--setting", "--json")).json
    ] == [
        "mailer",
        "admin",
    ]


@pytest.mark.parametrize("arguments", [["new", "a-b"], ["new", "mailer", "--scopes", "all"]])
async def test_key_that_cannot_be_made_is_said(shell: Shell, arguments: list[str]) -> None:
    ran = await shell.run("keys", *arguments, "--setting")
    assert ran.code == 2
    assert ran.error


async def test_settings_are_shown_with_their_origin_and_without_secrets(shell: Shell) -> None:
    (shell.folder / "settings.toml").write_text("lease_s = 7.0\n")
    set_up = shell.exporting(
        config="settings.toml", api_keys=entry_of("admin"), amqp_url="amqp://me:secret@host/"
    )
    found = {each["name"]: each for each in (await set_up.run("config", "show", "--json")).json}
    assert found["PROGRAM_EXECUTOR_LEASE_S"] == {
        "name": "PROGRAM_EXECUTOR_LEASE_S",
        "value": 7.0,
        "from": "settings.toml",
    }
    assert found["PROGRAM_EXECUTOR_API_KEYS"]["from"] == "environment"
    assert found["PROGRAM_EXECUTOR_PORT"]["from"] == "default"
    printed = (await set_up.run("config", "show")).output
    assert "PROGRAM_EXECUTOR_LEASE_S = 7.0  (settings.toml)" in printed
    for secret in ("secret", entry_of("admin")):
        assert secret not in printed + json.dumps(found)


async def findings(shell: Shell) -> dict[str, dict[str, object]]:
    ran = await shell.run("doctor", "--json")
    assert ran.errors == ""
    found = json.loads(ran.output)
    assert ran.code == (0 if all(each["is_good"] for each in found) else 1)
    return {each["what"]: each for each in found}


async def test_doctor_finds_nothing_wrong_with_a_good_deployment(
    shell: Shell, tmp_path: Path
) -> None:
    file = f"sqlite:///{tmp_path / 'programs.db'}"
    good = shell.exporting(database_url=file, api_keys=entry_of("admin"))
    found = await findings(good)
    assert found.keys() == {"database", "tables", "clocks", "broker", "keys"}
    assert found["keys"]["text"] == "admin (admin)"
    ran = await good.run("doctor")
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.startswith("ok   database: answers\n")


async def test_doctor_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    lost = shell.exporting(
        database_url="postgresql://postgres@127.0.0.1:1/x", amqp_url="amqp://127.0.0.1:1/"
    )
    found = await findings(lost.exporting(host="0.0.0.0", consurrency="7", service_host="10.0.0.1"))
    for what in ("database", "broker"):
        assert "nothing listens there: start it, or correct host" in str(found[what]["text"])
    assert "`program-executor keys new NAME --setting`" in str(found["keys"]["text"])
    assert found["environment"]["text"] == (
        "PROGRAM_EXECUTOR_CONSURRENCY is no setting: did you mean PROGRAM_EXECUTOR_CONCURRENCY?"
    )
    empty = shell.exporting(database_url=f"sqlite:///{tmp_path / 'empty.db'}")
    assert "run `program-executor migrate`" in str((await findings(empty))["tables"]["text"])


@pytest.mark.parametrize(("apart_s", "is_good"), [(0.1, True), (-4, True), (6, False), (-6, False)])
def test_doctor_has_clocks_that_are_apart_set(apart_s: float, *, is_good: bool) -> None:
    finding = clocks(apart_s)
    assert finding.is_good is is_good
    assert ("set both by NTP" in finding.text) is not is_good


async def test_reader_that_has_read_enough_is_no_error(service: Service, shell: Shell) -> None:
    body = {"programs": [{"jobs": ["ship"]}] * 1_000}
    assert (await service.client.post("/programs/batch", json=body)).status_code == 201
    process = await asyncio.create_subprocess_shell(
        f"{COMMAND} list --all | head -1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=shell.environment,
    )
    output, errors = await process.communicate()
    assert (output.count(b"\n"), errors) == (1, b"")


async def test_marks_that_a_terminal_does_not_have_are_no_error(
    service: Service, shell: Shell
) -> None:
    run_id = (await service.submit("ship", labels={"team": "日本"}))["run_id"]
    latin = Shell(shell.folder, {**shell.variables, "PYTHONIOENCODING": "latin-1"})
    ran = await latin.run("show", run_id)
    assert (ran.code, ran.errors) == (0, "")
    assert "team=\\u65e5\\u672c" in ran.output


def test_keys_of_the_tests_are_of_the_right_form() -> None:
    for scope, key in KEYS.items():
        caller = Keyring.parse(entry_of(scope)).caller(f"Bearer {key}")
        assert caller is not None
        assert caller.scopes == {scope}
