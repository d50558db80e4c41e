"""Keys of the setting: revoked by name, in the environment or in the settings' file."""

import asyncio
import fcntl
import os
import stat
import tomllib
from pathlib import Path

import pytest

from commanding import Shell
from keys import KEYS, entry_of
from program_service.api.auth import Keyring, digest_of

OLD, NEW = (f"mailer=submit:{digest_of(key)}" for key in ("old", "new"))
ADMIN = entry_of("admin")
REVOKE = ("keys", "revoke", "--setting")

FILE = f"""# the settings of the shop
port = 9000

api_keys = "{OLD} {ADMIN}"  # ask Ada before you change them
queues = ["a", "b"]
"""


@pytest.fixture
def shell(bare_shell: Shell) -> Shell:
    """Return a shell that knows no service."""
    return bare_shell


@pytest.fixture
def file(shell: Shell) -> Path:
    """Return a file of settings, for its owner alone."""
    path = shell.folder / "settings.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    return path


async def test_revoked_key_is_left_out_of_what_is_to_be_set(shell: Shell) -> None:
    ran = await shell.exporting(api_keys=f"{OLD} {ADMIN}").run(*REVOKE, "mailer")
    assert (ran.code, ran.errors) == (0, "")
    first, second = ran.output.splitlines()
    assert first == f"Without 1 key of mailer, set PROGRAM_EXECUTOR_API_KEYS to:  {ADMIN}"
    assert "started anew" in second
    keyring = Keyring.parse(ADMIN)
    assert keyring.caller("Bearer old") is None
    assert keyring.caller(f"Bearer {KEYS['admin']}") is not None


async def test_one_of_two_keys_is_named_by_its_hash(shell: Shell) -> None:
    known = shell.exporting(api_keys=f"{OLD} {NEW}")
    prefix = digest_of("old")[:12]
    found = (await known.run(*REVOKE, "mailer", "--hash", prefix, "--json")).json
    assert found == {"revoked": [prefix], "api_keys": NEW, "file": None}
    both = (await known.run(*REVOKE, "mailer", "--json")).json
    assert (len(both["revoked"]), both["api_keys"]) == (2, "")
    told = (await known.run(*REVOKE, "mailer")).output
    assert "No key is left: on loopback a service lets everybody in" in told


@pytest.mark.parametrize("arguments", [["postman"], ["mailer", "--hash", "zzz"]])
async def test_unknown_key_is_said_with_those_that_exist(
    shell: Shell, arguments: list[str]
) -> None:
    ran = await shell.exporting(api_keys=f"{OLD} {ADMIN}").run(*REVOKE, *arguments)
    assert ran.code == 2
    assert repr(arguments[0]) in ran.error
    assert "there are keys of admin, mailer" in ran.error


async def test_no_keys_at_all_are_said(shell: Shell) -> None:
    assert "holds none at all" in (await shell.run(*REVOKE, "mailer")).error


async def test_file_is_edited_when_asked_and_all_else_in_it_stays(shell: Shell, file: Path) -> None:
    known = shell.exporting(config="settings.toml")
    assert ADMIN in (await known.run(*REVOKE, "mailer")).output
    assert file.read_text() == FILE  # nobody asked
    ran = await known.run(*REVOKE, "mailer", "--write")
    assert (ran.code, ran.errors) == (0, "")
    assert "settings.toml" in ran.output
    text = file.read_text()
    assert text == FILE.replace(OLD, "")
    assert tomllib.loads(text)["api_keys"].split() == [ADMIN]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = (await known.run("keys", "list", "--setting")).rows
    assert [row[0] for row in rows] == ["admin"]
    assert [each.name for each in file.parent.iterdir() if each.name.startswith("settings")] == [
        "settings.toml"
    ]


async def test_revocations_at_once_do_not_undo_each_other(shell: Shell, file: Path) -> None:
    """The second one reads the file when the first one has written it."""
    known = shell.exporting(config="settings.toml")
    folder = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    second = asyncio.create_task(known.run(*REVOKE, "mailer", "--write"))
    done, _ = await asyncio.wait([second], timeout=3.0)
    assert not done
    others = FILE.replace(ADMIN, f"{NEW.replace('mailer', 'other')} {ADMIN}")
    file.write_text(others)
    os.close(folder)
    assert (await second).code == 0
    assert file.read_text() == others.replace(OLD, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to others")
async def test_edited_file_stays_readable_for_its_owner_and_group(shell: Shell, file: Path) -> None:
    os.chown(file, 4001, 4002)
    file.chmod(0o640)
    ran = await shell.exporting(config="settings.toml").run(*REVOKE, "mailer", "--write")
    assert (ran.code, ran.errors) == (0, "")
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4001, 4002, 0o640)


async def test_environment_cannot_be_edited_and_says_so(shell: Shell, file: Path) -> None:
    known = shell.exporting(config="settings.toml", api_keys=f"{OLD} {ADMIN}")
    ran = await known.run(*REVOKE, "mailer", "--write")
    assert ran.code == 2
    assert "the environment, PROGRAM_EXECUTOR_API_KEYS" in ran.error
    assert file.read_text() == FILE


async def test_file_with_keys_in_another_form_is_left_alone(shell: Shell, file: Path) -> None:
    escaped = OLD.replace("mailer", "\\u006dailer")
    file.write_text(f'api_keys = "{escaped} {ADMIN}"\n')
    before = file.read_text()
    ran = await shell.exporting(config="settings.toml").run(*REVOKE, "mailer", "--write")
    assert ran.code == 2
    assert ADMIN in ran.error
    assert file.read_text() == before


@pytest.mark.parametrize("command", ["serve", "dev"])
async def test_other_addresses_need_keys_or_a_word(shell: Shell, command: str) -> None:
    ran = await shell.run(command, "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "`program-executor keys new NAME --setting`" in ran.error
    assert "PROGRAM_EXECUTOR_API_KEYS" in ran.error
    assert "PROGRAM_EXECUTOR_ALLOW_UNAUTHENTICATED=true" in ran.error


async def test_word_is_enough(shell: Shell) -> None:
    """It goes on to what is wrong next."""
    willing = shell.exporting(allow_unauthenticated="true")
    ran = await willing.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "AMQP_URL" in ran.error
