"""Watching while the service is away: real processes, one of them killed."""

from pathlib import Path

from commanding import Shell
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from patience import eventually
from processes import Deployment


async def test_watch_goes_on_when_the_service_is_back(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = await deployment.serve()
    await deployment.work()
    gate = tmp_path / "gate"
    body = {"jobs": ["wait", "tick"], "program_data": {"gate": str(gate)}}
    run_id = (await service.client.post("/programs", json=body)).json()["run_id"]
    shell = Shell(tmp_path).exporting(url=f"http://127.0.0.1:{service.port}")
    terminal = shell.on_terminal("watch", run_id)
    try:
        await eventually(lambda: terminal.shows("running  0/2"))
        await service.kill()
        gate.touch()
        await deployment.serve_at(service.port)
        assert await terminal.ended() == 0
        assert await terminal.shows("finished  2/2", "✓ wait", "✓ tick")
    finally:
        await terminal.close()
