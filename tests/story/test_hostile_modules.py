"""Hostile modules: what a job module does to the whole process does not harm its worker."""

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded import Dev, dev
from patience import eventually
from processes import PREFIX

TESTS = Path(__file__).parents[1]

CHANGES = [
    "the handler of the root logger was removed",
    "the level of the root logger was raised to CRITICAL",
    "logging was disabled up to CRITICAL",
    "loggers were disabled",
    "warnings were turned into errors",
    "the handler of SIGTERM was replaced",
    "the handler of SIGINT was replaced",
    "the handler of SIGPIPE was replaced",
    "signals were blocked",
    "the recursion limit was lowered to 120",
    "threads were made to switch every 1.0 s only",
    "sys.stderr was closed",
    "garbage collection was disabled",
]


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Dev]:
    """Run such a module, on a SQLite file in a folder that it leaves."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = clean | {"PYTHONPATH": str(TESTS), f"{PREFIX}LOG_FORMAT": "json"}
    options = ("jobs_hostile", "--port", "0", "--data", "data")
    async with dev(*options, folder=tmp_path, environment=environment) as running:
        yield running


async def ended(client: httpx.AsyncClient, *jobs: str) -> tuple[dict[str, Any], list[Any]]:
    """Run a program to its end; return it, and the lines that its jobs logged."""
    program = (await client.post("/programs", json={"jobs": jobs})).json()
    address = f"/programs/{program['run_id']}"
    program = (await client.get(address, headers={"Prefer": "wait=60"})).json()
    tries = (await client.get(f"{address}/attempts")).json()["attempts"]
    return program, [line["text"] for each in tries for line in each["log"]]


async def test_worker_works_logs_and_stops(hostile: Dev, tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url=await hostile.address(), timeout=90) as client:
        program, lines = await ended(client, "speak", "fork")
        assert program["status"] == "finished", program
        assert program["job_data"] == {
            "speak": {"folder": "elsewhere"},
            "fork": {"exit_code": -signal.SIGTERM},
        }
        assert lines == ["hear speak"]
        assert (await ended(client, "ignore"))[0]["status"] == "finished"

        async def is_heard_again() -> bool:
            return (await ended(client, "speak"))[1] == ["hear speak"]

        await eventually(is_heard_again, within_s=30)
    assert (tmp_path / "data" / "programs.db").exists()
    assert not (tmp_path / "elsewhere" / "data").exists()
    hostile.kill(signal.SIGTERM)
    code, _, errors = await hostile.ended()
    assert code == 0
    told = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    at_import, meanwhile = [each for each in told if each["event"] == "process.restored"]
    assert [change.partition(":")[0] for change in at_import["changes"]] == CHANGES
    assert "the handler of SIGINT was replaced" in meanwhile["changes"]
    assert "hear speak" in [each["event"] for each in told]
    last = told[-1]
    assert (last["event"], last["reason"], last["exit_code"]) == ("process.ended", "SIGTERM", 0)
