"""Profiles: addresses and keys by name, kept for their user alone, and never sent elsewhere."""

import stat
from collections.abc import AsyncIterator

import pytest

from commanding import Shell
from keys import KEYS, entry_of
from patience import eventually
from program_service.bookkeeping.database import Database
from serving import on_a_socket, serving


@pytest.fixture
async def url(database: Database) -> AsyncIterator[str]:
    """Serve with a key."""
    async with (
        serving(database, jobs=["ship"], api_keys=entry_of("submit", "read")) as service,
        on_a_socket(service) as address,
    ):
        yield address


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    """Return a shell that knows no service."""
    return bare_shell


KEY = KEYS["submit"]


async def test_first_profile_is_used(shell: Shell, url: str) -> None:
    ran = await shell.run("profile", "add", "prod", "--url", f"{url}/", "--key", KEY)
    assert (ran.code, ran.errors) == (0, "")
    assert (await shell.run("submit", "ship", "--json")).json["submitted_by"] == "submitter"


async def test_keys_are_kept_for_their_user_alone(shell: Shell, url: str) -> None:
    """Though the user's other files are for everybody."""
    await shell.run("profile", "add", "prod", "--url", url, "--key", "-", typed=f"{KEY}\n")
    file = shell.folder / "config" / "program-executor" / "profiles.toml"
    assert KEY in file.read_text()
    file.chmod(0o644)
    await shell.run("profile", "add", "other", "--url", url)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["profiles.toml"]
    for command in (("list",), ("list", "--json")):
        assert KEY not in (await shell.run("profile", *command)).output


async def test_terminal_is_asked_for_the_key_and_does_not_show_it(shell: Shell, url: str) -> None:
    terminal = shell.on_terminal("profile", "add", "prod", "--url", url, "--key", "-")
    try:
        await eventually(lambda: terminal.shows("Key:"))
        terminal.type(f"{KEY}\n")
        assert await terminal.ended() == 0
        assert not await terminal.shows(KEY)
    finally:
        await terminal.close()
    assert (await shell.run("submit", "ship")).code == 0


async def test_profiles_are_listed_chosen_and_removed(shell: Shell, url: str) -> None:
    await shell.run("profile", "add", "nowhere", "--url", "http://127.0.0.1:1")
    await shell.run("profile", "add", "prod", "--url", url, "--key", KEY)
    assert (await shell.run("list")).code == 3
    assert (await shell.run("list", "--profile", "prod")).code == 0
    assert (await shell.exporting(profile="prod").run("list")).code == 0
    await shell.run("profile", "use", "prod")
    assert (await shell.run("list")).code == 0
    assert (await shell.run("profile", "list")).rows == [
        ["nowhere", "", "", "http://127.0.0.1:1"],
        ["prod", "used", "with key", url],
    ]
    await shell.run("profile", "remove", "prod")
    assert [each["name"] for each in (await shell.run("profile", "list", "--json")).json] == [
        "nowhere"
    ]


async def test_options_and_variables_come_before_the_profile(shell: Shell, url: str) -> None:
    await shell.run("profile", "add", "wrong", "--url", "http://127.0.0.1:1", "--key", "pe_x")
    assert (await shell.run("list", "--url", url, "--key", KEY)).code == 0
    assert (await shell.exporting(url=url, key=KEY).run("list")).code == 0


async def test_key_of_a_profile_is_not_sent_to_another_address(shell: Shell, url: str) -> None:
    """A wrong --url must not give the key of production away."""
    await shell.run("profile", "add", "prod", "--url", "http://127.0.0.1:1", "--key", KEY)
    ran = await shell.run("list", "--url", url)
    assert ran.code == 4
    assert ran.error.startswith("401 unauthorized")
    same = await shell.run("list", "--url", "http://127.0.0.1:1/", "--profile", "prod")
    assert same.code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["profile", "use", "prod"], "there is no profile 'prod' (there is: none)"),
        (["profile", "remove", "prod"], "there is no profile 'prod'"),
        (["list", "--profile", "prod"], "there is no profile 'prod'"),
        (["profile", "add", "prod", "--url", "prod"], "'prod' is no address of a service"),
        (
            ["profile", "add", "prod", "--url", "http://h", "--key", "a b"],
            "an API key is printable ASCII",
        ),
    ],
)
async def test_wrong_use_is_said(shell: Shell, arguments: list[str], words: str) -> None:
    ran = await shell.run(*arguments)
    assert ran.code == 2
    assert ran.error.startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("current = ", ", line 1: invalid value: it is not TOML"),
        ("[profiles]\nprod = 3", " cannot be read as profiles: "),
        ('[profiles.prod]\nurls = "x"', " cannot be read as profiles: "),
    ],
)
async def test_file_that_is_damaged_is_said(shell: Shell, text: str, words: str) -> None:
    file = shell.folder / "config" / "program-executor" / "profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    ran = await shell.run("list")
    assert ran.code == 2
    assert ran.error.startswith(f"{file}{words}")
