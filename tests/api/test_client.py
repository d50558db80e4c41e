"""Clients: the same calls for event loops and for threads, repeated where that is safe."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from patience import eventually
from program_executor import AsyncClient, Client, JobContext, ProblemError, job
from program_service.bookkeeping.database import Database
from refusing import Cable
from servers import on_sqlite
from serving import URL, Service, on_a_socket

pytestmark = on_sqlite


@job
async def reserve(ctx: JobContext) -> dict[str, Any]:
    """Return what was asked for."""
    return dict(ctx.program_data)


class Lossy(httpx.AsyncBaseTransport):
    """A network that loses some requests, and the answers to others."""

    def __init__(self, service: Service) -> None:
        """Lead to a service."""
        self._inner = httpx.ASGITransport(service.app)
        self.lost_requests = 0
        self.lost_answers = 0
        self.sent: list[httpx.Request] = []
        self.answered: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, or lose it, or its answer."""
        self.sent.append(request)
        if self.lost_requests > 0:
            self.lost_requests -= 1
            raise httpx.ConnectError("connection refused", request=request)
        answer = await self._inner.handle_async_request(request)
        self.answered.append(answer.status_code)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            await answer.aclose()
            raise httpx.RemoteProtocolError("connection closed", request=request)
        return answer

    async def has_answered(self, status: int) -> bool:
        """Say whether such an answer has come by."""
        return status in self.answered


@pytest.fixture
def network(service: Service) -> Lossy:
    """Return the network to the service."""
    return Lossy(service)


@pytest.fixture
async def client(network: Lossy) -> AsyncIterator[AsyncClient]:
    """Return a client of the service."""
    async with AsyncClient(URL, transport=network) as client:
        yield client


async def test_program_is_submitted_and_waited_for(service: Service, client: AsyncClient) -> None:
    await service.crew.hire(reserve)
    program = await client.submit(["reserve"], program_data={"seat": 12}, labels={"team": "eu"})
    assert program["status"] == "pending"
    program = await client.wait(program["run_id"], timeout_s=30)
    assert (program["status"], program["job_data"]) == ("finished", {"reserve": {"seat": 12}})
    assert program["labels"] == {"team": "eu"}
    assert [each["outcome"] async for each in client.attempts(program["run_id"])] == ["done"]


async def test_everything_of_the_api_can_be_called(service: Service, client: AsyncClient) -> None:
    await service.crew.hire(reserve)
    run_ids = await client.submit_batch([{"jobs": ["ship"]}, {"jobs": ["ship"]}])
    assert (await client.explain(run_ids[0]))["reason"] == "no_worker_knows_the_job"
    assert (await client.cancel(run_ids[0]))["status"] == "cancelled"
    assert (await client.resume(run_ids[0], from_step=0))["resumes"] == 1
    page = await client.page(status="pending", limit=1)
    assert len(page["programs"]) == 1
    assert page["next_cursor"]
    assert "reserve" in {each["name"] for each in await client.jobs()}
    assert (await client.job("reserve"))["kind"] == "in_process"
    assert len(await client.workers()) == 1


async def test_job_data_are_read_replaced_and_merged(client: AsyncClient) -> None:
    run_id = (await client.submit(["ship"], job_data={"ship": {"a": 1}}))["run_id"]
    assert await client.job_data(run_id, "ship") == {"a": 1}
    assert await client.set_job_data(run_id, "ship", {"b": 2}) == {"b": 2}
    assert await client.merge_job_data(run_id, "ship", {"c": 3}) == {"b": 2, "c": 3}


async def test_endpoint_is_registered_changed_and_forgotten(client: AsyncClient) -> None:
    url = "https://shop.example/invoice"
    job = await client.put_job("invoice", url=url, retry={"max_attempts": 3})
    assert (job["kind"], job["url"], job["retry"].get("max_attempts")) == ("callback", url, 3)
    assert (job["secret"] or "").startswith("whsec_")
    rotated = await client.rotate_secret("invoice", overlap_s=60)
    assert rotated["secret"] not in {None, job["secret"]}
    assert rotated["secrets_valid"] == 2
    await client.delete_job("invoice")
    with pytest.raises(ProblemError, match="404 job_not_found"):
        await client.job("invoice")


async def test_thread_calls_the_same(service: Service) -> None:
    await service.crew.hire(reserve)

    def calls(url: str) -> list[Any]:
        with Client(url) as client:
            program = client.submit(["reserve"], program_data={"seat": 12})
            ended = client.wait(program["run_id"], timeout_s=30)
            others = client.submit_batch([{"jobs": ["ship"]}] * 5)
            client.cancel(others[0])
            client.resume(others[0])
            listed = [each["run_id"] for each in client.programs(order="oldest", limit=2)]
            assert listed == [program["run_id"], *others]
            assert client.page(limit=3)["next_cursor"]
            assert client.get(others[1])["status"] == "pending"
            assert client.explain(others[1])["reason"] == "no_worker_knows_the_job"
            assert len(list(client.attempts(program["run_id"]))) == 1
            assert client.jobs()
            assert client.workers()
            with pytest.raises(ProblemError, match="404 program_not_found"):
                client.get("nope")
            return [ended["status"], ended["job_data"]]

    async with on_a_socket(service) as url:
        result = await asyncio.to_thread(calls, url)
    assert result == ["finished", {"reserve": {"seat": 12}}]


async def test_refusal_is_an_error_with_its_problem(client: AsyncClient) -> None:
    with pytest.raises(ProblemError) as caught:
        await client.submit(["chrage"])
    assert (caught.value.status, caught.value.code) == (422, "unknown_jobs")
    assert caught.value.problem["errors"][0]["hint"] == "did you mean 'charge'?"


async def test_lost_request_is_sent_again(network: Lossy, client: AsyncClient) -> None:
    network.lost_requests = 2
    program = await client.submit(["ship"])
    assert len(network.sent) == 3
    assert (await client.get(program["run_id"]))["run_id"] == program["run_id"]


async def test_lost_answer_makes_no_second_program(network: Lossy, client: AsyncClient) -> None:
    """The Idempotency-Key is kept over the tries: the program was there all the time."""
    network.lost_answers = 2
    program = await client.submit(["ship"])
    keys = {request.headers["idempotency-key"] for request in network.sent}
    assert (len(network.sent), len(keys)) == (3, 1)
    page = await client.page()
    assert [each["run_id"] for each in page["programs"]] == [program["run_id"]]


async def test_each_submit_has_a_key_of_its_own(network: Lossy, client: AsyncClient) -> None:
    first, second = await client.submit(["ship"]), await client.submit(["ship"])
    assert first["run_id"] != second["run_id"]
    mine = [await client.submit(["ship"], idempotency_key="mine") for _ in range(2)]
    assert mine[0]["run_id"] == mine[1]["run_id"]
    assert network.sent[-1].headers["idempotency-key"] == '"mine"'


async def test_batch_whose_answer_is_lost_is_not_sent_again(
    network: Lossy, client: AsyncClient
) -> None:
    network.lost_answers = 1
    with pytest.raises(httpx.RemoteProtocolError):
        await client.submit_batch([{"jobs": ["ship"]}])
    assert len(network.sent) == 1


async def test_service_without_its_database_is_asked_again(
    client: AsyncClient, network: Lossy, database: Database
) -> None:
    cable = Cable(database)
    cable.is_cut = True
    asking = asyncio.create_task(client.page())
    await eventually(lambda: network.has_answered(503))
    cable.is_cut = False
    assert (await asking)["programs"] == []
    assert network.answered == [503, 200]


async def test_all_pages_are_walked_through(client: AsyncClient) -> None:
    run_ids = await client.submit_batch([{"jobs": ["ship"]}] * 7)
    seen = [each["run_id"] async for each in client.programs(limit=3, order="oldest")]
    assert seen == run_ids


async def test_wait_that_is_over_raises_and_does_not_hammer(
    network: Lossy, client: AsyncClient
) -> None:
    program = await client.submit(["ship"])
    with pytest.raises(TimeoutError, match="pending"):
        await client.wait(program["run_id"], timeout_s=0.5)
    assert len(network.sent) <= 5


async def test_key_is_sent(network: Lossy) -> None:
    async with AsyncClient(URL, key="pe_shop_1", transport=network) as client:
        await client.jobs()
    assert network.sent[0].headers["authorization"] == "Bearer pe_shop_1"
