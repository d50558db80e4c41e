"""Keys and callbacks: an endpoint has none, and needs none; its token is enough."""

import pytest

from calling import ALLOW, hire, with_links
from endpoint_server import Call, Reply, endpoint
from keys import KEYS, entry_of
from patience import eventually
from program_service.bookkeeping.database import Database
from serving import json_of, problem_of, serving

ADMIN = {"Authorization": f"Bearer {KEYS['admin']}"}


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer a key of the endpoint's own"}])
async def test_endpoint_completes_without_an_api_key(
    database: Database, sent: dict[str, str]
) -> None:
    async def accept(_call: Call) -> Reply:
        return Reply(202)

    async with (
        serving(database, api_keys=entry_of("admin"), callback_allow=ALLOW) as service,
        endpoint(accept) as server,
    ):
        service.client.headers.update(ADMIN)
        registered = await service.client.put("/jobs/charge", json={"url": server.url})
        assert registered.status_code == 201
        await hire(service)
        run_id = (await service.submit("charge"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        del service.client.headers["Authorization"]
        service.client.headers.update(sent)
        links = with_links(service, server.calls[0])
        assert (await links.post("heartbeat")).status_code == 200
        assert (await links.patch("job_data", {"page": 3})).status_code == 200
        done = await links.post("complete")
        assert json_of(done)["status"] == "finished"
        problem_of(await service.client.get(f"/programs/{run_id}"), 401, "unauthorized")
