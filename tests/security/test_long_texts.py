"""Long texts: what jobs and endpoints say is cut at 64 KiB, before it is stored, logged or sent."""

from collections.abc import AsyncIterator

import orjson
import pytest
import structlog

from builders import JOBS
from calling import ALLOW, hire, put, with_links
from endpoint_server import Reply, endpoint
from lines import logging_as_workers_do
from patience import eventually
from program_executor import JobContext, RetryableError, job, on_error
from program_executor import Retry as Policy
from program_service.bookkeeping.database import Database
from program_service.logs import log as our_log
from program_service.rendering import MAX_LINE_BYTES
from program_service.telemetry import Event
from program_service.texts import MAX_TEXT_BYTES, cut, size_of
from program_workers.hooks import ProgramEvent
from servers import on_sqlite
from serving import Json, Service, serving

HUGE = "x" * 20_000_000
NOTE = "… 19.9 MB left out"


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, and let endpoints be called."""
    async with serving(database, jobs=JOBS, callback_allow=ALLOW) as served:
        yield served


async def answered(status: int, body: Json | None = None) -> Reply:
    """Answer a call."""
    return Reply(status, body or b"")


def test_text_within_the_limit_is_whole() -> None:
    assert cut("é" * (MAX_TEXT_BYTES // 2)) == "é" * (MAX_TEXT_BYTES // 2)


@pytest.mark.parametrize("letter", ["x", "é", "\N{GRINNING FACE}", "\0"])
def test_cut_text_has_at_most_so_many_bytes_and_says_what_is_missing(letter: str) -> None:
    shown = cut(letter * 1_000_000)
    assert MAX_TEXT_BYTES - 100 < size_of(shown) <= MAX_TEXT_BYTES
    assert shown.startswith(letter * 10_000)
    assert shown.endswith(" left out")


@on_sqlite
async def test_error_of_a_job_is_cut_wherever_it_goes(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[ProgramEvent] = []

    @job(retry=Policy(max_attempts=2, initial_s=0))
    async def reserve(_ctx: JobContext) -> None:
        raise RetryableError(HUGE)

    @on_error
    def hear(event: ProgramEvent) -> None:
        heard.append(event)

    with logging_as_workers_do(level="INFO"):
        await service.crew.hire(reserve, hooks=[hear])
        run_id = (await service.submit("reserve"))["run_id"]
        program = await service.ended(run_id)
        await service.crew.stop()
    message = program["error_message"]
    assert message.endswith(NOTE)
    assert size_of(message) <= MAX_TEXT_BYTES
    tries = (await service.client.get(f"/programs/{run_id}/attempts")).json()["attempts"]
    assert [each["error_message"] for each in tries] == [message] * 2
    assert all(size_of(each["traceback"]) <= MAX_TEXT_BYTES for each in tries)
    assert [event.error_message for event in heard] == [message]
    assert len(capsys.readouterr().err) < 2 * MAX_LINE_BYTES


@on_sqlite
async def test_error_of_an_endpoint_is_cut(service: Service) -> None:
    body = {"error": {"message": "x" * 900_000, "retryable": False}}
    async with endpoint(lambda _call: answered(500, body)) as called:
        await put(service, "invoice", called.url)
        await hire(service)
        run_id = (await service.submit("invoice"))["run_id"]
        program = await service.ended(run_id)
        await service.crew.stop()
    assert program["error_message"].endswith("… 834.5 kB left out")


@on_sqlite
async def test_failure_that_an_endpoint_posts_is_cut(service: Service) -> None:
    async with endpoint(lambda _call: answered(202)) as called:
        await put(service, "invoice", called.url)
        await hire(service)
        run_id = (await service.submit("invoice"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        links, error = with_links(service, called.calls[0]), {"message": "x" * 90_000}
        answer = await links.post("fail", {"error": error})
        assert answer.status_code == 200, answer.text
        program = await service.ended(run_id)
        await service.crew.stop()
    assert program["error_message"].endswith("… 24.5 kB left out")


def test_line_of_a_job_is_cut_whatever_is_long_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    long = "y" * 5_000_000
    with logging_as_workers_do(level="INFO"):
        theirs = structlog.get_logger()
        theirs.info(long)
        theirs.info("deep", at={long: [long, {"a": long}]})
        theirs.info("wide", **{f"field_{at}": "z" * 60_000 for at in range(100)})
        try:
            raise ValueError(long)  # noqa: TRY301 - so that there is a traceback
        except ValueError:
            theirs.exception("raised")
            our_log.error(Event.REQUEST_FAILED, exc_info=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(len(line) <= MAX_LINE_BYTES for line in lines)
    assert all({"event", "level", "timestamp"} <= orjson.loads(line).keys() for line in lines)
