"""Fuzzing: Schemathesis sends what the document allows and what it forbids, and finds nothing."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from builders import JOBS
from program_service.api.auth import digest_of, new_key
from program_service.api.contract.examples import SECRET
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import on_a_socket, serving

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"

FEW, MANY = 10, 200
SEED = 7

KEY = new_key("fuzz")

WHO = {"open": ("", None), "keyed": (f"fuzz=admin:{digest_of(KEY)}", KEY)}
"""The API_KEYS of a service, and the key that is sent to it."""


@pytest.fixture(params=WHO)
def who(request: pytest.FixtureRequest) -> str:
    """Return whether the service has keys."""
    return str(request.param)


@pytest.fixture
async def url(database: Database, who: str) -> AsyncIterator[str]:
    """Return where a service is that takes any job, so that most of what fits is accepted."""
    settings: dict[str, Any] = {
        "unknown_jobs": "accept",
        "notify_secret": SECRET,
        "max_wait_s": 0.2,
    }
    keys, _ = WHO[who]
    async with (
        serving(database, jobs=JOBS, api_keys=keys, **settings) as service,
        on_a_socket(service) as address,
    ):
        yield address


@on_sqlite
@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", ["keyed"], indirect=True)
async def test_schemathesis_finds_nothing_in_a_few_examples(url: str, who: str) -> None:
    await _fuzz(url, WHO[who][1], examples=FEW)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_schemathesis_finds_nothing_in_many_examples(url: str, who: str) -> None:
    await _fuzz(url, WHO[who][1], examples=MANY)


@on_sqlite
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", ["keyed"], indirect=True)
async def test_strangers_find_nothing_in_many_examples(url: str) -> None:
    await _fuzz(url, None, examples=MANY)


async def _fuzz(url: str, key: str | None, *, examples: int) -> None:
    document = ROOT / "openapi" / "program-executor.json"
    words = [
        f"--config-file={ROOT / 'openapi' / 'schemathesis.toml'}",
        "run",
        str(document),
        f"--url={url}",
        f"--max-examples={examples}",
        f"--seed={SEED}",
        *([f"--header=Authorization: Bearer {key}"] if key else []),
    ]
    running = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        *words,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    print(said.decode())
    assert running.returncode == 0
