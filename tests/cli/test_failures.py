"""Failures of commands: a line that says what was wrong and what to do next, and an exit code."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from commanding import Shell
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from serving import on_a_socket, serving

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    """Return a shell that knows no service."""
    return bare_shell


@pytest.fixture
async def url(database: Database) -> AsyncIterator[str]:
    """Serve readers and submitters."""
    entries = f"{entry_of('submit')} {entry_of('read')}"
    async with (
        serving(database, jobs=["ship"], api_keys=entries) as service,
        on_a_socket(service) as address,
    ):
        yield address


@contextlib.asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[str]:
    """Serve something else: always these bytes, or nothing, to whoever asks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_service_that_is_not_there_is_said_with_its_address(shell: Shell) -> None:
    ran = await shell.run("list", "--url", NOBODY)
    assert ran.code == 3
    assert ran.error.startswith(f"nothing answers at {NOBODY} (")
    for words in ("`program-executor dev`", "--url", "PROGRAM_EXECUTOR_URL", "--profile"):
        assert words in ran.error


async def test_missing_key_is_asked_for(shell: Shell, url: str) -> None:
    ran = await shell.run("list", "--url", url)
    assert ran.code == 4
    assert ran.error.startswith("401 unauthorized: ")
    for words in (f"Give a key of {url} with --key or PROGRAM_EXECUTOR_KEY", "profile add NAME"):
        assert words in ran.error


async def test_unknown_key_is_said_with_where_it_came_from(shell: Shell, url: str) -> None:
    ran = await shell.exporting(key="pe_stranger").run("list", "--url", url)
    assert ran.code == 4
    assert ran.error.endswith(
        "does not know the key of --key or PROGRAM_EXECUTOR_KEY; use another."
    )
    await shell.run("profile", "add", "prod", "--url", url, "--key", "pe_stranger")
    assert "the key of the profile 'prod'" in (await shell.run("list")).error


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        (["submit", "ship"], "submit"),
        (["cancel", "run-1"], "operate"),
        (["jobs", "delete", "ship"], "admin"),
    ],
)
async def test_missing_scope_is_named(
    shell: Shell, url: str, arguments: list[str], scope: str
) -> None:
    ran = await shell.run(*arguments, "--url", url, "--key", KEYS["read"])
    assert ran.code == 4
    assert ran.error.startswith("403 forbidden: ")
    assert f"does not have the scope '{scope}'" in ran.error
    assert "`program-executor keys new NAME --scopes …`" in ran.error


async def test_other_services_are_told_from_ours(shell: Shell) -> None:
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nNope!"
    async with answering(page) as url:
        ran = await shell.run("show", "run-1", "--url", url)
        assert ran.code == 4
        assert ran.error.startswith(f"{url} answered 404, but not as Program Executor does")
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    async with answering(page) as url:
        assert "answered 200, but not as" in (await shell.run("jobs", "--url", url)).error


async def test_answer_that_breaks_off_is_said(shell: Shell) -> None:
    async with answering(b"") as url:
        ran = await shell.run("list", "--url", url)
    assert ran.code == 3
    assert ran.error.startswith(f"{url} did not answer (")


@pytest.mark.parametrize(
    "url", ["programs.example", "ftp://h", "http://", "http://h:x", "http://[1"]
)
async def test_address_that_is_none_is_said(shell: Shell, url: str) -> None:
    ran = await shell.run("list", "--url", url)
    assert ran.code == 2
    assert ran.error.startswith(f"{url!r} is no address of a service")


async def test_key_that_cannot_be_sent_is_said(shell: Shell) -> None:
    ran = await shell.run("list", "--key", "schlüssel")
    assert (ran.code, ran.error[:32]) == (2, "an API key is printable ASCII wi")


@pytest.mark.parametrize(
    "arguments", [["list", "--limit", "0"], ["list", "--status", "odd"], ["nope"]]
)
async def test_options_that_do_not_exist_are_wrong_use(shell: Shell, arguments: list[str]) -> None:
    ran = await shell.run(*arguments)
    assert (ran.code, ran.output) == (2, "")


async def test_migration_without_a_database_is_said(shell: Shell) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    ran = await shell.exporting(database_url=nowhere).run("migrate")
    assert ran.code == 3
    assert ran.error.startswith("The tables could not be changed: ")
    assert "PROGRAM_EXECUTOR_DATABASE_URL" in ran.error
