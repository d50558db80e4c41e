"""Verbs of the tests of callback jobs."""

from dataclasses import dataclass
from typing import Any

import httpx

from endpoint_server import Call
from program_executor import Job
from serving import Json, Service, json_of
from stage import Shift

ALLOW = "127.0.0.0/8"
NOTIFY_SECRET = "whsec_" + "bm90aWZ5" * 4


async def put(service: Service, name: str, url: str, **fields: Any) -> Json:
    """Register an endpoint, or change it."""
    answer = await service.client.put(f"/jobs/{name}", json={"url": url, **fields})
    assert answer.status_code in {200, 201}, answer.text
    return json_of(answer)


async def hire(service: Service, *jobs: Job, **settings: Any) -> Shift:
    """Start a worker that may call this machine."""
    return await service.crew.hire(*jobs, callback_allow=ALLOW, **settings)


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a call, followed to the service under test."""

    service: Service
    call: Call

    async def post(self, link: str, body: Json | None = None) -> httpx.Response:
        """Post to a link."""
        return await self.service.client.post(self._path(link), json=body or {})

    async def patch(self, link: str, body: Json) -> httpx.Response:
        """Patch a link."""
        return await self.service.client.patch(self._path(link), json=body)

    def _path(self, link: str) -> str:
        return "/callbacks/" + self.call.links[link].split("/callbacks/")[1]


def with_links(service: Service, call: Call) -> Links:
    """Return the links of a call."""
    return Links(service, call)
