"""Addresses: IPv4 clients of a socket of both families are told apart, and proxies are believed."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from keys import KEYS, entry_of
from program_executor.processes import listen
from program_executor.web import server
from program_service.api.actors import plain_address
from program_service.api.strangers import network_of
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.migrations import migrate
from servers import on_sqlite
from serving import serving


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("unknown", "unknown"),
    ],
)
def test_each_address_of_ipv4_is_counted_by_itself(client: str, counted: str) -> None:
    assert network_of(client) == counted


def test_address_is_shown_in_its_own_family() -> None:
    assert plain_address("::ffff:10.0.0.7") == "10.0.0.7"
    assert plain_address("::ffff:odd") == "::ffff:odd"
    assert plain_address("2001:db8::7") == "2001:db8::7"


@on_sqlite
async def test_proxy_that_connects_by_ipv4_to_both_families_is_believed(
    database: Database,
) -> None:
    listener = listen("::", 0)
    port = listener.getsockname()[1]
    async with serving(database, api_keys=entry_of("read")) as service:
        api = server(service.app, keep_lifespan=False)
        running = asyncio.create_task(api.serve([listener]))
        headers = {"X-Forwarded-Proto": "https", "Authorization": f"Bearer {KEYS['read']}"}
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/programs", headers=headers)
        api.should_exit = True
        await running
    assert "strict-transport-security" in answer.headers


def test_database_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It has the data, and the secrets of endpoints."""
    before = os.umask(0o022)
    try:
        database = Database.connect(f"sqlite:///{tmp_path / 'programs.db'}")
        asyncio.run(_migrate(database))
    finally:
        os.umask(before)
    files = list(tmp_path.iterdir())
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def _migrate(database: Database) -> None:
    await migrate(database)
    await database.close()


def test_folder_of_dev_is_for_its_owner_alone(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("program-executor")
    folder = tmp_path / "data"
    ran = subprocess.run(
        [command, "dev", "--demo", "--exit", "--port", "0", "--data", folder],
        capture_output=True,
        check=False,
        timeout=120,
        umask=0o022,
    )
    assert ran.returncode == 0, ran.stderr
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.glob("programs.db*"))
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
