"""Callbacks: steps that endpoints complete later survive the deaths of service and workers.

Acceptance item 4 of the callback jobs.
"""

import asyncio
import random
from collections import Counter, defaultdict

import httpx
import pytest

from asking import all_ended, attempts, rows, submit_many
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from processes import Deployment, Process

PROGRAMS = 500
TIMES = 3
CONFLICT = 409


class Later:
    """An endpoint that accepts steps, and completes them a little later, each in its own way."""

    def __init__(self, way: str) -> None:
        """Take the way: `newest`, `first` (dedup, and the first token), or `early`."""
        self.way = way
        self.called: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.newest: dict[str, str] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.client = httpx.AsyncClient(timeout=5)

    async def answer(self, call: Call) -> Reply:
        """Accept a step, and see to its completion once."""
        key = call.headers["webhook-id"]
        self.called[key] += 1
        if self.way != "first" or key not in self.newest:
            self.newest[key] = call.links["complete"]
        if key not in self.tasks:
            self.tasks[key] = asyncio.create_task(self._complete(key))
        if self.way == "early":
            await asyncio.sleep(0.2)  # the completion comes first
        return Reply(202)

    async def close(self) -> None:
        """Wait for what is being completed, and hang up."""
        await asyncio.gather(*self.tasks.values())
        await self.client.aclose()

    async def _complete(self, key: str) -> None:
        if self.way != "early":
            await asyncio.sleep(random.uniform(0.1, 2.0))
        while True:
            try:
                answer = await self.client.post(self.newest[key], json={"job_data": {"by": key}})
            except httpx.TransportError:
                await asyncio.sleep(0.2)  # the service is dead just now
                continue
            if answer.status_code == CONFLICT:
                return  # an answer was lost, and the step is done
            if answer.is_success:
                self.completed[key] += 1
                return
            await asyncio.sleep(0.2)


async def put(service: Process, name: str, url: str) -> None:
    """Register an endpoint."""
    body = {"url": url, "timeout_s": 20, "retry": {"initial_s": 0.5, "max_s": 2}}
    answer = await service.client.put(f"/jobs/{name}", json=body)
    assert answer.status_code == 201, answer.text


@pytest.mark.timeout(600)
async def test_accepted_steps_are_completed_once_while_everybody_dies(
    deployment: Deployment,
) -> None:
    """Acceptance 4; invariants 1, 4 and 14, rule R9."""
    deployment.settings |= {
        "lease_s": 5,
        "concurrency": 30,
        "callback_allow": "127.0.0.0/8",
    }
    service = await deployment.serve()
    deployment.settings["service_url"] = f"http://127.0.0.1:{service.port}"
    workers = list(await asyncio.gather(deployment.work(), deployment.work()))
    ways = [Later("newest"), Later("first"), Later("early")]
    async with (
        endpoint(ways[0].answer) as newest,
        endpoint(ways[1].answer) as first,
        endpoint(ways[2].answer) as early,
    ):
        for name, server in (("newest", newest), ("first", first), ("early", early)):
            await put(service, name, server.url)
        names = ["newest", "first", "early"]
        programs = [{"jobs": [names[n % 3], names[(n + 1) % 3]]} for n in range(PROGRAMS)]
        for number in range(TIMES):
            # little by little: a quick machine would be done before the last death
            await submit_many(service, programs[number::TIMES])
            before = sum(sum(way.completed.values()) for way in ways)

            async def goes_on(before: int = before) -> bool:
                return sum(sum(way.completed.values()) for way in ways) > before + 30

            await eventually(goes_on, within_s=90)
            await service.kill()
            await workers.pop(0).kill()
            service = await deployment.serve_at(service.port)
            workers.append(await deployment.work())
        await all_ended(deployment, within_s=300)
        await asyncio.gather(*(way.close() for way in ways))
    outcomes = defaultdict(list)
    for each in await attempts(deployment):
        outcomes[each["run_id"], each["step"]].append(each["outcome"])
    again = sum(count - 1 for way in ways for count in way.called.values())
    print(
        f"\n{PROGRAMS} programs, {2 * TIMES} kills, {again} calls repeated;"
        f" {Counter(word for words in outcomes.values() for word in words)}"
    )
    ended = (await rows(deployment)).values()
    assert len(ended) == PROGRAMS
    assert all(row["finished_at"] is not None for row in ended)
    assert len(outcomes) == 2 * PROGRAMS
    for words in outcomes.values():
        assert words.count("done") == 1
