"""The embedded server as people start it: `program-executor dev`, a process of its own."""

import re
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded import dev
from installing import bare_environment
from patience import eventually

ROWS = 5_000
STORED_PAGE = 3


async def stored_page(url: str) -> int:
    """Return the page up to which the demo's import has stored its progress."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/programs", params={"label": "demo:import", "include": "data"})
    programs: list[dict[str, Any]] = answer.json()["programs"]
    pages = [program["job_data"].get("demo_import", {}).get("page", 0) for program in programs]
    return max(pages, default=0)


def rows_of(folder: Path) -> list[str]:
    """Return the first line of each report that the demo has written."""
    return [file.read_text().splitlines()[0] for file in folder.glob("demo-*/report.txt")]


async def test_demo_runs_to_its_end_and_exits_0(tmp_path: Path) -> None:
    async with dev("--demo", "--exit", "--port", "0", "--data", str(tmp_path)) as running:
        code, output, errors = await running.ended()
    assert (code, errors) == (0, "")
    assert f"imported rows: {ROWS}" in output
    assert "the disk of the orders was busy" in output  # the transient failure on its way


async def test_killed_import_goes_on_from_its_stored_page(tmp_path: Path) -> None:
    """Invariant 1: `kill -9` at any moment; every row counts once."""
    options = ("--demo", "--exit", "--port", "0", "--data", str(tmp_path))
    async with dev(*options) as first:
        url = await first.address()

        async def is_far_enough() -> int:
            page = await stored_page(url)
            return page if page >= STORED_PAGE else 0

        stored = await eventually(is_far_enough)
        first.kill(signal.SIGKILL)
        code, _, _ = await first.ended()
        assert code == -signal.SIGKILL
    assert rows_of(tmp_path) == []
    async with dev(*options) as second:
        line = await second.until_it_says("Going on")
        code, output, _ = await second.ended()
    found = re.search(r"from page (\d+), where it stopped", line)
    assert found
    assert int(found[1]) >= stored
    assert code == 0
    assert f"imported rows: {ROWS}" in output
    assert rows_of(tmp_path) == [f"imported rows: {ROWS} (in 25 pages)"]


async def test_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with dev("--port", str(port), "--data", str(tmp_path)) as running:
            code, output, errors = await running.ended()
    assert (code, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert "--port" in line


async def test_server_ends_well_on_sigterm(tmp_path: Path) -> None:
    async with dev("--port", "0", "--data", str(tmp_path)) as running:
        url = await running.address()
        await running.until_it_says("Serving until Ctrl-C.")
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/readyz")).json()["status"] == "ok"
        running.kill(signal.SIGTERM)
        code, _, errors = await running.ended()
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_URL", "oracle://somewhere"),
    ],
)
async def test_wrong_settings_are_told_in_one_line(
    tmp_path: Path, setting: str, value: str
) -> None:
    wrong = bare_environment() | {f"PROGRAM_EXECUTOR_{setting}": value}
    async with dev("--port", "0", "--data", str(tmp_path), environment=wrong) as running:
        code, output, errors = await running.ended()
    assert (code, output) == (2, ""), errors
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
