"""Traces that are off import nothing, and hand on what is stored."""

import subprocess
import sys
from pathlib import Path

import pytest

from calling import ALLOW, NOTIFY_SECRET, hire, put
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_executor.commands.failures import explain
from program_service.bookkeeping.database import Database
from program_service.settings import Settings
from program_service.tracing.switch import NoOpenTelemetry, traces_of
from servers import on_sqlite
from serving import serving
from told import Told, tracer

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

RUN = """
import sys
from pathlib import Path
from program_executor import Client, JobContext, job
from program_executor.testing import ProgramRunner

@job
async def charge(ctx: JobContext) -> None:
    await ctx.start_program(["charge"])

with Client("http://127.0.0.1:1") as client:
    try:
        client.submit_batch([])
    except Exception as error:
        assert type(error).__name__ == "ConnectError", error
run = ProgramRunner(Path(sys.argv[1])).run([charge])
assert run.status == "finished", run.error_message
"""

SERVE = """
import sys
import program_executor.dev, program_executor.serve, program_executor.work
from pydantic import SecretStr
from program_service.app import create_app
from program_service.bookkeeping.database import Database
from program_service.settings import Settings
from program_service.telemetry import Metrics
from program_service.wakeups.memory import MemoryBroker
from program_workers.library import JobLibrary
from program_workers.worker import Worker

settings = Settings(database_url=SecretStr(f"sqlite:///{sys.argv[1]}/programs.db"))
database = Database.connect(settings.database_url.get_secret_value())
parts = {"broker": MemoryBroker(), "metrics": Metrics()}
create_app(settings, database=database, **parts)

async def work():
    Worker(settings, database, parts["broker"], library=JobLibrary([]), metrics=parts["metrics"])

import asyncio
asyncio.run(work())
"""

TELL = """
print(*(name for name in sys.modules if name.startswith(("opentelemetry", "program_service.t"))))
"""


def imported_by(code: str, folder: Path) -> set[str]:
    """Run code in a process of its own, and return what it has imported."""
    command = [sys.executable, "-c", code + TELL, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_client_and_jobs_import_nothing_of_opentelemetry(tmp_path: Path) -> None:
    found = imported_by(RUN, tmp_path)
    assert "program_service.tracing.switch" in found  # it was looked for where it would be
    assert [name for name in found if name.startswith("opentelemetry")] == []
    assert "program_service.tracing.live" not in found


def test_servers_import_what_fastapi_does_and_no_more(tmp_path: Path) -> None:
    """It needs the API, which it calls when there is a provider; we set none."""
    found = imported_by(SERVE, tmp_path)
    fastapi_alone = imported_by("import sys, fastapi, fastapi.telemetry", tmp_path)
    ours = {name for name in found if name.startswith("opentelemetry")}
    assert ours == {name for name in fastapi_alone if name.startswith("opentelemetry")}
    assert "opentelemetry.sdk" not in found
    assert "program_service.tracing.live" not in found


def test_traces_that_are_on_without_opentelemetry_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "program_service.tracing.live", None)
    with pytest.raises(NoOpenTelemetry) as caught:
        traces_of(Settings(traces=True))
    assert "pip install 'program-executor[otel]'" in str(explain(caught.value))


@on_sqlite
async def test_header_of_a_submit_is_handed_on_as_it_came(told: Told, database: Database) -> None:
    """Though OpenTelemetry is in use in this process."""

    async def answer(_call: Call) -> Reply:
        return Reply(204)

    async with (
        endpoint(answer) as server,
        serving(database, callback_allow=ALLOW, notify_secret=NOTIFY_SECRET) as service,
    ):
        await put(service, "charge", server.url)
        await hire(service)
        with tracer.start_as_current_span("checkout"):
            await service.client.post(
                "/programs",
                json={"jobs": ["charge"], "notify": f"{server.url}/ended"},
                headers={"traceparent": TRACE},
            )

        async def is_told_of_both() -> bool:
            return len(server.calls) == 2

        await eventually(is_told_of_both)
    assert [call.headers["traceparent"] for call in server.calls] == [TRACE, TRACE]
    assert [span.name for span in told.exporter.get_finished_spans()] == ["checkout"]
