"""Foreign requests: what the faults themselves ask of the services, until one says yes."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import httpx

from chaos.storm.scene import Scene

REQUEST_TIMEOUT_S = 5.0
TRIES = 20
AGAIN_S = 0.5

_numbers: Iterator[int] = count(1)


async def submit(scene: Scene, jobs: list[str], *, is_poison: bool = True, **fields: Any) -> str:
    """Submit a program, which is to fail or not, and return its run_id, or nothing."""
    key = f"foreign-{next(_numbers)}"
    body = {"jobs": jobs, "program_data": {"key": key}, **fields}
    program = await ask(scene, "POST", "/programs", body, key=key)
    if program is None:
        return ""
    if is_poison:
        scene.poison.add(program["run_id"])
    return str(program["run_id"])


async def ask(scene: Scene, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
    """Ask one service after the other, until one says yes; None when none does."""
    headers = {"Idempotency-Key": key} if key else {}
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S) as client:
        for attempt in range(TRIES):
            place = scene.services[attempt % len(scene.services)]
            url = f"http://127.0.0.1:{place.port}{path}"
            with suppress(httpx.TransportError):
                answer = await client.request(method, url, json=body, headers=headers)
                if answer.is_success:
                    return answer.json()
            await asyncio.sleep(AGAIN_S)
    return None
