"""Asking everywhere: every page and every call of the API that reads, as the application has them.

A new one is asked as well, without a word here.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI

from serving import URL

PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
STREAMS = ("/feed", "/events")
"""How the paths end that never end to answer."""
LIST = "/programs?limit=100"
SEARCHES = (
    *(LIST, "/programs?order=oldest", "/programs?label=tenant:acme"),
    *(f"/programs?status={status}" for status in ("pending", "running", "errored", "cancelled")),
    *("/programs?job=reserve", "/ui/programs?status=errored", "/ui/programs?label=tenant:acme"),
)
TIMEOUT_S = 120


class Everywhere:
    """Asks a service, and keeps what it answered with 500 or more."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        """Find all paths."""
        self.failures: list[str] = []
        self._client = client
        self._paths = sorted(set(_paths_read(app)))
        assert {"/metrics", "/workers", "/ui/jobs", "/ui/programs/{run_id}"} <= set(self._paths)

    async def ask(self, method: str, path: str, *, after: object = "", **sent: Any) -> Any:
        """Ask for one path, `after` something was written; return the JSON of what is found."""
        answer = await self._client.request(method, path, **sent)
        if answer.status_code >= 500:
            said = answer.text[:300]
            self.failures.append(f"{method} {path}: {answer.status_code} {said} after {after}")
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.json() if answer.is_success and is_json else None

    async def look_at_lists(self, after: object) -> None:
        """Ask for each path that needs no name, and for some searches."""
        for path in (*(path for path in self._paths if "{" not in path), *SEARCHES):
            await self.ask("GET", path, after=after)

    async def look_at(self, names: Mapping[str, str], after: object) -> None:
        """Ask for each path that needs no other names than these: {"run_id": …}."""
        for path in self._paths:
            wanted = PARAMETER.findall(path)
            if wanted and names.keys() >= set(wanted):
                filled = path.format_map({key: quote(name) for key, name in names.items()})
                await self.ask("GET", filled, after=after)

    async def look_at_all_programs(self) -> int:
        """Go through the list to its end, look at each program, and return how many there are."""
        seen, path = 0, LIST
        while True:
            page = await self.ask("GET", path)
            assert page is not None, self.failures
            for program in page["programs"]:
                await self.look_at({"run_id": program["run_id"]}, "all was written")
            seen += len(page["programs"])
            if page["next_cursor"] is None:
                return seen
            path = f"{LIST}&cursor={page['next_cursor']}"


@asynccontextmanager
async def everywhere_in(app: FastAPI, *, key: str | None = None) -> AsyncGenerator[Everywhere]:
    """Ask an application that runs; what it raises is answered as a server answers it.

    With a key the API is asked with it, and the pages by a session that is begun with it.
    """
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=TIMEOUT_S) as client:
        if key is not None:
            client.headers["Authorization"] = f"Bearer {key}"
            ours = {"Sec-Fetch-Site": "same-origin"}
            answer = await client.post("/ui/sign-in", data={"key": key}, headers=ours)
            assert answer.status_code == 303
        yield Everywhere(app, client)


def _paths_read(app: FastAPI) -> Iterator[str]:
    for route in app.routes:
        included = getattr(route, "original_router", None)
        for each in [route] if included is None else included.routes:
            path = PARAMETER.sub(r"{\1}", getattr(each, "path", ""))
            if "GET" in (getattr(each, "methods", None) or ()) and not path.endswith(STREAMS):
                yield path
