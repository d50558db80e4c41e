"""Show: submit the demo's program over HTTP and draw its progress until it has ended."""

import asyncio
import csv
import time
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from program_executor.async_client import AsyncClient
from program_executor.commands.console import PrintableConsole
from program_executor.demo.jobs import PAGE
from program_executor.shapes import FINAL, Program

ROWS = 5_000
JOBS = ["demo_import", "demo_report"]
LABELS = {"demo": "import"}
LOOK_EVERY_S = 0.1


async def show_demo(url: str, data: Path) -> int:
    """Run the demo, or go on with one that was interrupted; return the exit code."""
    console = PrintableConsole()
    async with AsyncClient(url) as client:
        program = await _unfinished(client)
        if program is None:
            folder = _new_folder(data)
            program = await client.submit(JOBS, program_data={"folder": str(folder)}, labels=LABELS)
            console.print(f"Submitted  {program['run_id']}: import {ROWS} rows, then report")
        else:
            program = await client.get(program["run_id"])  # a list has no data
            stored = program["job_data"].get(JOBS[0], {}).get("page", 0)
            console.print(f"Going on   {program['run_id']}: from page {stored}, where it stopped")
        program = await _follow(client, program, console)
    if program["status"] != "finished":
        console.print(f"The demo {program['status']}: {program['error_message']}")
        return 1
    console.print((Path(program["program_data"]["folder"]) / "report.txt").read_text().rstrip())
    return 0


async def _unfinished(client: AsyncClient) -> Program | None:
    """Find a demo that was interrupted, by a kill perhaps."""
    async for program in client.programs(label="demo:import", in_progress=True, limit=1):
        return await client.get(program["run_id"])
    return None


def _new_folder(data: Path) -> Path:
    folder = (data / f"demo-{time.time_ns() // 1_000_000}").resolve()
    folder.mkdir(parents=True)
    products = ("apples", "bread", "cheese", "dates", "eggs")
    with (folder / "orders.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "product", "cents"])
        writer.writerows(
            [n, products[n % len(products)], 100 + n % 900] for n in range(1, ROWS + 1)
        )
    return folder


async def _follow(client: AsyncClient, program: Program, console: PrintableConsole) -> Program:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(_describe(program), total=ROWS + PAGE)
        told = None
        while program["status"] not in FINAL:
            await asyncio.sleep(LOOK_EVERY_S)
            program = await client.get(program["run_id"])
            error = program["error_message"]
            if error and error != told:
                progress.console.print(f"A try failed: {error}; it is tried again.")
                told = error
            rows = program["job_data"].get(JOBS[0], {}).get("rows", 0)
            progress.update(bar, completed=rows, description=_describe(program))
        if program["status"] == "finished":
            progress.update(bar, completed=ROWS + PAGE, description=_describe(program))
    return program


def _describe(program: Program) -> str:
    done = program["progress"]
    return f"{program['status']:<9} step {done['done']}/{done['total']}"
