"""Keys on the command line: those of a service, made, listed and revoked."""

from collections.abc import AsyncIterator

import pytest

from builders import JOBS
from commanding import Shell
from keys import KEYS, entry_of
from program_service.bookkeeping.database import Database
from serving import on_a_socket, serving


@pytest.fixture
async def shell(bare_shell: Shell, database: Database) -> AsyncIterator[Shell]:
    """Return an administrator's shell."""
    async with (
        serving(database, jobs=JOBS, api_keys=entry_of("admin")) as service,
        on_a_socket(service) as address,
    ):
        yield bare_shell.exporting(url=address, key=KEYS["admin"])


async def test_key_is_made_used_listed_and_revoked(shell: Shell) -> None:
    ran = await shell.run("keys", "new", "mailer", "--expires", "30d")
    assert (ran.code, ran.errors) == (0, "")
    key, key_id = (line.split()[-1] for line in ran.output.splitlines())
    mailer = shell.exporting(key=key)
    assert (await mailer.run("submit", "reserve")).code == 0
    rows = (await shell.run("keys", "list")).rows
    assert [row[1:5] for row in rows] == [
        ["admin", "admin", "", "setting"],
        ["mailer", "submit+read", "", "table"],
    ]
    ran = await shell.run("keys", "revoke", "mailer")
    assert (ran.code, ran.output) == (0, f"Revoked {key_id} of mailer.\n")
    assert (await mailer.run("submit", "reserve")).code == 4
    assert len((await shell.run("keys", "list")).rows) == 1


async def test_one_of_two_keys_is_revoked_by_its_id(shell: Shell) -> None:
    made = [(await shell.run("keys", "new", "mailer", "--json")).json for _ in range(2)]
    found = (await shell.run("keys", "revoke", made[0]["id"], "--json")).json
    assert found == {"revoked": [made[0]["id"]]}
    assert made[1]["id"] in (await shell.run("keys", "list")).output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("new", "a-b"), 2, "letters, digits and underscores"),
        (("new", "mailer", "--scopes", "all"), 4, "scopes[0]"),
        (("new", "mailer", "--setting", "--expires", "30d"), 2, "without --setting"),
        (("revoke", "postman"), 2, "no key of 'postman'"),
        (("revoke", "postman", "--write"), 2, "--setting"),
    ],
)
async def test_what_cannot_be_done_is_said(
    shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = await shell.run("keys", *arguments)
    assert ran.code == code
    assert words in ran.error


async def test_key_of_the_setting_is_revoked_with_its_option(shell: Shell) -> None:
    key_id = (await shell.run("keys", "list")).rows[0][0]
    ran = await shell.run("keys", "revoke", key_id)
    assert ran.code == 4
    assert "API_KEYS" in ran.error
