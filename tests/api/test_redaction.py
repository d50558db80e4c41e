"""Redaction: hidden values reach jobs, and no answer, page or line."""

from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import orjson
import pytest
import structlog

from builders import JOBS
from calling import ALLOW, hire, put, with_links
from endpoint_server import Call, Reply, endpoint
from lines import logging_as_workers_do
from patience import eventually
from program_executor import JobContext, RetryableError, job
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import find
from program_service.redaction import VEIL
from screens import VIEWS
from servers import on_sqlite
from serving import Json, Service, json_of, problem_of, serving

log = structlog.get_logger()

pytestmark = on_sqlite

SECRET = "marker-4f1d-7720"  # the value of every hidden field below
REDACT = ["card", "PIN"]
FIELDS = {
    "program_data": {"customer": 42, "paid": {"Card": SECRET}},
    "job_data": {"reserve": {"pin": [SECRET], "seat": 12}},
}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, and hide."""
    async with serving(database, jobs=JOBS, redact=REDACT, callback_allow=ALLOW) as served:
        yield served


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Log everything there is, as the service does, and return what was printed."""
    with logging_as_workers_do(level="DEBUG", redact=REDACT):
        yield lambda: capsys.readouterr().err


async def answers(service: Service, run_id: str) -> list[httpx.Response]:
    """Return every answer that shows something of a program."""
    base = f"/programs/{run_id}"
    api = ["", "/attempts", "/explain", "/events", "/job-data/reserve"]
    pages = [f"/ui{base}", *VIEWS, f"/ui{base}/resume", f"/ui{base}/cancel"]
    paths = [*(f"{base}{each}" for each in api), "/programs", *pages]
    return [await service.client.get(path) for path in paths]


async def test_job_sees_what_nobody_else_does(service: Service, printed: Callable[[], str]) -> None:
    seen: list[str] = []

    @job
    async def reserve(ctx: JobContext) -> None:
        card = ctx.program_data["paid"]["Card"]
        seen.append(card)
        log.info("paying", card=card, note=f"with {card}")
        message = f"the bank refused {card}"
        raise ValueError(message)

    await service.crew.hire(reserve, redact=REDACT)
    run_id = (await service.submit("reserve", **FIELDS))["run_id"]
    program = await service.ended(run_id)
    await service.crew.stop()
    assert seen == [SECRET]
    assert program["error_message"] == f"the bank refused {VEIL}"
    assert program["program_data"] == {"customer": 42, "paid": {"Card": VEIL}}
    assert program["job_data"] == {"reserve": {"pin": VEIL, "seat": 12}}
    for answer in await answers(service, run_id):
        assert answer.status_code == 200, answer.url
        assert SECRET not in answer.text, answer.url
    lines = [orjson.loads(line) for line in printed().splitlines()]
    (paying,) = [line for line in lines if line["event"] == "paying"]
    assert paying["card"] == VEIL  # a text is printed as the job made it; the kept one is veiled
    lines.remove(paying)
    assert "Consumer error finish" in {line["event"] for line in lines}
    assert SECRET not in str(lines)
    stored = await service.database.read(find, run_id)
    assert stored.program_data == FIELDS["program_data"]


@pytest.mark.usefixtures("printed")
async def test_what_a_job_has_just_stored_is_hidden_too(service: Service) -> None:
    @job
    async def reserve(ctx: JobContext) -> None:
        await ctx.job_data.set({"pin": SECRET})
        log.info("stored", details={"text": f"with {SECRET}"})
        raise ValueError(SECRET)

    @job
    async def charge(_ctx: JobContext) -> dict[str, str]:
        log.info("brought", details=[SECRET])
        return {"card": SECRET}

    await service.crew.hire(reserve, charge, redact=REDACT)
    for name in ("reserve", "charge"):
        run_id = (await service.submit(name))["run_id"]
        await service.ended(run_id)
        tries = (await service.client.get(f"/programs/{run_id}/attempts")).text
        assert VEIL in tries
        assert SECRET not in tries
    await service.crew.stop()


async def test_retry_is_logged_without_what_is_hidden(
    service: Service, printed: Callable[[], str]
) -> None:
    tries: list[int] = []

    @job
    async def reserve(ctx: JobContext) -> None:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise RetryableError(ctx.program_data["paid"]["Card"])

    await service.crew.hire(reserve, redact=REDACT)
    program = await service.ended((await service.submit("reserve", **FIELDS))["run_id"])
    await service.crew.stop()
    assert (program["status"], tries) == ("finished", [1, 2])
    lines = printed()
    assert "Consumer error retry" in lines
    assert SECRET not in lines


async def test_answers_to_changes_are_veiled_and_the_table_is_not(service: Service) -> None:
    posted = await service.client.post("/programs", json={"jobs": ["reserve"], **FIELDS})
    assert SECRET not in posted.text
    run_id = json_of(posted)["run_id"]
    path = f"/programs/{run_id}/job-data/reserve"
    merged = await service.client.patch(path, json={"seat": 13})
    assert json_of(merged) == {"pin": VEIL, "seat": 13}
    put_ = await service.client.put(path, json={"pin": SECRET})
    assert json_of(put_) == {"pin": VEIL}
    stored = await service.database.read(find, run_id)
    assert stored.job_data == {"reserve": {"pin": SECRET}}
    for action in ("cancel", "resume"):
        assert SECRET not in (await service.client.post(f"/programs/{run_id}/{action}")).text


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_veil_is_not_stored_in_the_place_of_a_value(service: Service, method: str) -> None:
    run_id = (await service.submit("reserve", **FIELDS))["run_id"]
    path = f"/programs/{run_id}/job-data/reserve"
    shown = json_of(await service.client.get(path))
    answer = await service.client.request(method, path, json=shown)
    problem = problem_of(answer, 422, "redacted_value")
    assert [each["field"] for each in problem["errors"]] == ["pin"]
    stored = await service.database.read(find, run_id)
    assert stored.job_data == FIELDS["job_data"]


async def test_program_copied_from_an_answer_is_refused(service: Service) -> None:
    program = await service.submit("reserve", **FIELDS)
    body = {"jobs": ["reserve"], "program_data": program["program_data"]}
    answer = await service.client.post("/programs", json=body)
    problem = problem_of(answer, 422, "redacted_value")
    assert problem["errors"][0]["field"] == "program_data.paid.Card"
    batch = await service.client.post("/programs/batch", json={"programs": [body]})
    problem = problem_of(batch, 422, "redacted_value")
    assert problem["errors"][0]["field"] == "programs[0].program_data.paid.Card"


async def test_etag_is_that_of_the_program(service: Service) -> None:
    run_id = (await service.submit("reserve", **FIELDS))["run_id"]
    path = f"/programs/{run_id}"
    tag = (await service.client.get(path)).headers["etag"]
    again = await service.client.get(path, headers={"If-None-Match": tag})
    assert again.status_code == 304
    await service.client.patch(f"{path}/job-data/reserve", json={"pin": "another"})
    changed = await service.client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200


async def test_endpoint_gets_the_values_and_its_errors_are_veiled(service: Service) -> None:
    bodies: list[Json] = []

    async def answer(call: Call) -> Reply:
        bodies.append(call.json)
        return Reply(202)

    async with endpoint(answer) as server:
        await put(service, "invoice", server.url)
        await hire(service, redact=REDACT)
        run_id = (await service.submit("invoice", program_data={"card": SECRET}))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        error = {"message": f"no money on {SECRET}"}
        await with_links(service, server.calls[0]).post("fail", {"error": error})
        program = await service.ended(run_id)
    assert bodies[0]["program_data"] == {"card": SECRET}
    assert program["error_message"] == f"no money on {VEIL}"
    stored = await service.database.read(find, run_id)
    assert stored.error_message == f"no money on {VEIL}"
