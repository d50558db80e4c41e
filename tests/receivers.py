"""Receivers: whom a service notifies, as a test wants them to behave, without sockets."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from program_service.webhooks.caller import Answer, Caller
from program_service.webhooks.errors import NoConnection, TookTooLong
from program_service.webhooks.guard import Guard, host_of
from raw_endpoints import TLS

OPEN = Guard.parse("0.0.0.0/0, *.example")


@dataclass(frozen=True, slots=True)
class Post:
    """A notification that arrived."""

    url: str
    headers: Mapping[str, str]
    message: dict[str, Any]


class Receivers(Caller):
    """Hosts that are called: those named `silent…` never answer until they are released."""

    def __init__(self) -> None:
        """Let nobody have been called."""
        super().__init__(OPEN, ssl_context=TLS)
        self.posts: list[Post] = []
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()
        self.statuses: dict[str, int] = {}
        self.dead: set[str] = set()
        self.released = asyncio.Event()

    @property
    def told(self) -> list[str]:
        """The run_ids of whom somebody was told, in order."""
        return [post.message["program"]["run_id"] for post in self.posts]

    def hosts(self) -> Counter[str]:
        """How often each host was called."""
        return Counter(host_of(post.url) for post in self.posts)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        within_s: float,
        connect_within_s: float | None = None,
    ) -> Answer:
        """Receive a notification."""
        self._guard.check_url(url)
        host = host_of(url)
        self.posts.append(Post(url, headers, json.loads(body)))
        self.in_flight[host] += 1
        self.most_in_flight[host] = max(self.most_in_flight[host], self.in_flight[host])
        try:
            if host in self.dead:
                raise NoConnection(host)
            if host.startswith("silent"):
                async with asyncio.timeout(within_s):
                    await self.released.wait()
            await asyncio.sleep(0)
        except TimeoutError as error:
            raise TookTooLong(host, connect_within_s) from error
        finally:
            self.in_flight[host] -= 1
        return Answer(self.statuses.get(host, 204), {}, b"")
