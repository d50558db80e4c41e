"""Moving: an endpoint gets another queue or another address while programs wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from calling import hire, put
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.errors import DatabaseUnavailable
from program_service.bookkeeping.ledger.welcoming import announce
from servers import Connect
from serving import Service, json_of
from stage import Shift


class Failing(Database):
    """A database that is away as often as it is told when a worker announces something new."""

    failures = 0

    async def transact(self, work: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if work is announce and args[0] and self.failures:
            self.failures -= 1
            raise DatabaseUnavailable
        return await super().transact(work, *args, **kwargs)


async def _hire(service: Service, database: Database, queue: str) -> Shift:
    return await service.crew.hire(
        database=database, callback_allow="127.0.0.0/8", queues=[queue], worker_beat_s=0.2
    )


async def test_welcome_that_failed_is_made_up_for(service: Service, connect: Connect) -> None:
    """The programs wait in a queue that no worker serves any more."""

    async def fine(_call: Call) -> Reply:
        return Reply(204)

    failing = connect.of(Failing)
    await _hire(service, failing, "new")
    async with endpoint(fine) as server:
        await put(service, "charge", server.url, queue="old")
        run_id = (await service.submit("charge"))["run_id"]

        async def is_woken() -> bool:
            return await service.broker.depth("old") == 1

        await eventually(is_woken)
        failing.failures = 3
        await put(service, "charge", server.url, queue="new")
        program = await service.ended(run_id)
    assert failing.failures == 0
    assert (program["status"], program["queue"]) == ("finished", "new")


async def test_late_410_of_a_former_address_does_not_disable_the_new_one(service: Service) -> None:
    is_called, may_answer = asyncio.Event(), asyncio.Event()

    async def gone(_call: Call) -> Reply:
        is_called.set()
        await may_answer.wait()
        return Reply(410)

    async def fine(_call: Call) -> Reply:
        return Reply(204)

    await hire(service)
    async with endpoint(gone) as former, endpoint(fine) as new:
        await put(service, "charge", former.url)
        failed = (await service.submit("charge"))["run_id"]
        await is_called.wait()
        await put(service, "charge", new.url)
        may_answer.set()
        assert (await service.ended(failed))["status"] == "errored"
        assert json_of(await service.client.get("/jobs/charge"))["disabled_at"] is None

        async def is_finished() -> bool:  # once the worker has heard of the new address
            run_id = (await service.submit("charge"))["run_id"]
            return bool((await service.ended(run_id))["status"] == "finished")

        await eventually(is_finished)
    assert new.calls
    assert json_of(await service.client.get("/jobs/charge"))["disabled_at"] is None
