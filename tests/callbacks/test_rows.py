"""Rows: each row of the protocol's table of answers, over a real socket, each in a program."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import pytest

from calling import hire, put
from endpoint_server import Answer, Call, Reply, endpoint
from patience import eventually
from serving import Json, Service, json_of

SOON = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)


@dataclass(frozen=True, slots=True)
class Row:
    """What an endpoint answers, and what then becomes of its program."""

    reply: Reply
    status: str
    said: str = ""


JSON = {"content-type": "application/json"}
ROWS = {
    "200": Row(Reply(200), "finished"),
    "200-text": Row(Reply(200, b"thank you"), "finished"),
    "200-data": Row(Reply(200, {"job_data": {"n": 1}}), "finished"),
    "200-null-error": Row(Reply(200, {"error": None}), "finished"),
    "200-program-data": Row(Reply(200, {"program_data": {}}), "errored", "cannot change"),
    "204": Row(Reply(204), "finished"),
    "202": Row(Reply(202), "waiting"),
    **{
        str(status): Row(Reply(status, b"later"), "retrying", f"answered {status}: later")
        for status in (408, 409, 423, 425, 429, 500, 502, 503, 504)
    },
    "503-seconds": Row(Reply(503, headers={"retry-after": "3600"}), "retrying", "503"),
    "503-date": Row(Reply(503, headers={"retry-after": SOON}), "retrying", "503"),
    **{
        str(status): Row(
            Reply(status, headers={"location": "http://127.0.0.1:1/"}), "errored", "redirects"
        )
        for status in (301, 302, 307, 308)
    },
    **{
        str(status): Row(
            Reply(status, {"detail": "no such customer"}), "errored", "no such customer"
        )
        for status in (400, 401, 403, 404, 422)
    },
    "410": Row(Reply(410), "errored", "410"),
    "200-error": Row(
        Reply(200, {"error": {"message": "broke", "retryable": True, "code": "x"}}),
        "retrying",
        "broke",
    ),
    "500-error": Row(
        Reply(500, {"error": {"message": "broke", "retryable": False}}), "errored", "broke"
    ),
    "500-error-busy": Row(Reply(500, {"error": {"message": "busy"}}), "retrying", "busy"),
    "422-error": Row(Reply(422, {"error": {"message": "no prices"}}), "errored", "no prices"),
    "409-error": Row(Reply(409, {"error": {"message": "taken"}}), "errored", "taken"),
    "503-of-a-framework": Row(
        Reply(503, {"status": 503, "error": "Service Unavailable"}), "retrying", "Unavailable"
    ),
    "503-error-seconds": Row(
        Reply(503, {"error": {"message": "busy"}}, {"retry-after": "7200"}), "retrying", "busy"
    ),
    "503-epoch": Row(Reply(503, headers={"retry-after": "1767225600"}), "retrying", "503"),
    "503-2099": Row(
        Reply(503, headers={"retry-after": "Thu, 01 Jan 2099 00:00:00 GMT"}), "retrying", "503"
    ),
    "200-no-error": Row(Reply(200, {"error": False, "job_data": {"n": 1}}), "finished"),
    "200-marked": Row(Reply(200, b'\xef\xbb\xbf{"job_data": {"n": 1}}', JSON), "finished"),
    "200-list": Row(Reply(200, b"[1]", JSON), "retrying", "is a list, not a JSON object"),
    "200-nan": Row(Reply(200, b'{"job_data": {"n": NaN}}', JSON), "retrying", "job_data.n is NaN"),
    "200-cut": Row(Reply(200, b'{"job_data": {"n": ', JSON), "retrying", "is not JSON"),
    "200-long": Row(
        Reply(200, b'{"job_data": {"n": 12345678901234567890}}', JSON), "retrying", "beyond 64 bits"
    ),
}


def answering(reply: Reply) -> Answer:
    """Answer always the same."""

    async def answer(_call: Call) -> Reply:
        return reply

    return answer


@pytest.mark.timeout(120)
async def test_every_row_of_the_table_becomes_what_it_says(service: Service) -> None:
    async with AsyncExitStack() as stack:
        run_ids = {}
        await hire(service)
        for name, row in ROWS.items():
            server = await stack.enter_async_context(endpoint(answering(row.reply)))
            # a retry in an hour is as good as seen
            policy = {"initial_s": 3_600, "jitter": "none"}
            await put(service, name, server.url, timeout_s=600, retry=policy)
            run_ids[name] = (await service.submit(name))["run_id"]
        for name, row in ROWS.items():
            run_id = run_ids[name]
            await eventually(partial(service.has_status, run_id, row.status))
            program = await service.get(run_id)
            assert row.said in (program["error_message"] or ""), (name, program)
        for name in ("200-data", "200-no-error", "200-marked"):
            assert (await service.get(run_ids[name]))["job_data"] == {name: {"n": 1}}
        for how, least in (("seconds", 3_500), ("date", 3_700), ("error-seconds", 3_700)):
            assert _due_in_s(await service.get(run_ids[f"503-{how}"])) > least
        for how in ("epoch", "2099"):
            assert 3_700 < _due_in_s(await service.get(run_ids[f"503-{how}"])) <= 86_400
        assert _due_in_s(await service.get(run_ids["202"])) > 500
        gone = json_of(await service.client.get("/jobs/410"))
        assert gone["disabled_at"] is not None


def _due_in_s(program: Json) -> float:
    due_at = datetime.fromisoformat(program["due_at"])
    return (due_at - datetime.now(UTC)).total_seconds()
