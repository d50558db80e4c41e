"""Room: a program whose job has no room waits unclaimed, and is called as soon as there is some."""

import asyncio

from builders import row_of
from calling import hire, put
from endpoint_server import Call, Reply, endpoint
from serving import Service, json_of

MANY = 60


async def test_programs_that_wait_for_room_are_not_touched(service: Service) -> None:
    """One call at a time: each program is claimed once, and has one attempt."""
    running, most = 0, 0

    async def count(_call: Call) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return Reply(204)

    async with endpoint(count) as server:
        await put(service, "charge", server.url, max_concurrency=1)
        await hire(service)
        answer = await service.client.post(
            "/programs/batch", json={"programs": [{"jobs": ["charge"]} for _ in range(MANY)]}
        )
        ids = [each["run_id"] for each in json_of(answer)["programs"]]
        for run_id in ids:
            assert (await service.ended(run_id))["status"] == "finished"
    assert (most, len(server.calls)) == (1, MANY)
    for run_id in ids:
        attempts = json_of(await service.client.get(f"/programs/{run_id}/attempts"))["attempts"]
        assert [each["outcome"] for each in attempts] == ["done"]
        assert (await row_of(service.database, run_id))["version"] == 3  # submitted, claimed, done
