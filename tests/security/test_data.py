"""Data: what comes in is what everybody reads, and what cannot be kept is refused at each entry."""

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from html import unescape

import httpx
import orjson
import pytest

from calling import ALLOW, NOTIFY_SECRET, hire, put
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_executor import AsyncClient, JobContext, job
from program_executor.commands.printing import print_json
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import Json, Service, json_of, on_a_socket, problem_of, serving

JSON = {"Content-Type": "application/json"}
NUMBERS = [0.1, 1.0, -0.0, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 0, 10**15]
LONG = [2**53 + 1, 10**18 + 1, 2**63 - 1, -(2**63)]
DATA: Json = {"numbers": NUMBERS, "long": LONG, "not numbers": ["1.0", True, None]}
BODY = orjson.dumps({"job_data": DATA})

CARD = Decimal(4242424242424242)

NOT_STORABLE = {
    "NaN": (b'{"x": [{"y": NaN}]}', 400, "x[0].y is NaN; JSON has finite numbers only"),
    "infinity": (b'{"x": [{"y": Infinity}]}', 400, "x[0].y is Infinity"),
    "beyond a double": (b'{"x": [{"y": 1e400}]}', 400, "x[0].y is Infinity"),
    "surrogate": (b'{"x": [{"y": "\\ud83d"}]}', 400, "x[0].y holds half of a surrogate pair"),
    "20 digits": (b'{"x": [{"y": 12345678901234567890}]}', 422, "x[0].y is an integer beyond 64"),
    "2^63": (b'{"x": [{"y": 9223372036854775808}]}', 422, "x[0].y is an integer beyond 64 bits"),
    "NUL": (b'{"x": [{"y": "\\u0000"}]}', 422, "x[0].y holds the character NUL"),
    "cut": (b'{"x": [{"y": 1', 400, "is not JSON"),
    "UTF-16": ('{"x": 1}'.encode("utf-16"), 400, "looks like UTF-16; send it as UTF-8"),
    "latin-1": ('{"x": "é"}'.encode("latin-1"), 400, "it is not UTF-8 (byte 0xE9"),
}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, and allow calls to this machine."""
    async with serving(database, callback_allow=ALLOW, notify_secret=NOTIFY_SECRET) as served:
        yield served


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["sqlite", "postgresql", "mariadb"], indirect=True)
async def test_numbers_are_the_same_for_every_reader_on_every_database(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, str] = {}

    @job
    async def look(ctx: JobContext) -> Json:
        seen["context"] = repr([ctx.program_data, ctx.results["echo"]])
        return DATA

    async def echo(call: Call) -> Reply:
        if call.json["type"] == "program.ended":
            ended = call.json["program"]
            seen["notification"] = repr([ended["program_data"], ended["job_data"]["look"]])
            return Reply(204)
        seen["call"] = repr([call.json["program_data"], call.json["job_data"]])
        return Reply(200, BODY, {"content-type": "application/json"})

    async with endpoint(echo) as server, on_a_socket(service) as address:
        await put(service, "echo", server.url)
        await hire(service, look)
        program = {
            "jobs": ["echo", "look"],
            "program_data": DATA,
            "job_data": {"echo": DATA},
            "notify": server.url,
        }
        answer = await service.client.post("/programs", content=orjson.dumps(program), headers=JSON)
        run_id = json_of(answer)["run_id"]
        await service.ended(run_id)

        async def is_notified() -> bool:
            return "notification" in seen

        await eventually(is_notified)
        assert seen == dict.fromkeys(("call", "context", "notification"), repr([DATA, DATA]))
        async with AsyncClient(address) as client:
            read = await client.get(run_id)
            events = [event async for event in client.follow(run_id)]
        for shown in (await service.get(run_id), read, events[-1]):
            assert shown["status"] == "finished", shown
            assert repr(shown["program_data"]) == repr(DATA)
            assert repr(shown["job_data"]) == repr({"echo": DATA, "look": DATA})
        capsys.readouterr()
        print_json(read)
        assert repr(json.loads(capsys.readouterr().out)["program_data"]) == repr(DATA)
        await _shows_all(service, run_id)


async def _shows_all(service: Service, run_id: str) -> None:
    """Require that the page of a program shows each number as it is."""
    page = (await service.client.get(f"/ui/programs/{run_id}")).text
    leaves = [unescape(text) for text in re.findall(r"<code>([^<]*)</code>", page)]
    for number in [*NUMBERS, *LONG]:
        assert json.dumps(number) in leaves


@pytest.mark.parametrize(("body", "status", "said"), NOT_STORABLE.values(), ids=NOT_STORABLE)
@on_sqlite
async def test_every_entry_refuses_the_same_bodies(
    service: Service, body: bytes, status: int, said: str
) -> None:
    calls: list[Call] = []

    async def later(call: Call) -> Reply:
        calls.append(call)
        return Reply(202)

    async with endpoint(later) as server:
        await put(service, "slow", server.url, timeout_s=600)
        await hire(service)
        run_id = (await service.submit("slow"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        links = calls[0].links
        wrapped = {"complete": b'{"job_data": %s}', "job_data": b"%s"}
        entries = [
            ("PUT", f"/programs/{run_id}/job-data/slow", b"%s"),
            ("PATCH", f"/programs/{run_id}/job-data/slow", b"%s"),
            ("POST", "/programs", b'{"jobs": ["slow"], "program_data": %s}'),
            ("POST", "/programs/batch", b'{"programs": [{"jobs": ["slow"], "program_data": %s}]}'),
            ("POST", _path(links["complete"]), wrapped["complete"]),
            ("PATCH", _path(links["job_data"]), wrapped["job_data"]),
            ("POST", _path(links["fail"]), b'{"error": {"message": "a", "code": %s}}'),
        ]
        for method, path, around in entries:
            content = _around(around, body)
            answer = await service.client.request(method, path, content=content, headers=JSON)
            problem = problem_of(answer, status, _code(answer))
            assert said in problem["detail"]
        program = await service.get(run_id)
        assert (program["status"], program["job_data"]) == ("waiting", {})


def _around(around: bytes, body: bytes) -> bytes:
    """Put a body into another one, in its encoding."""
    if body[:2] == b"\xff\xfe":
        return (around.decode() % body.decode("utf-16")).encode("utf-16")
    return around % body


def _code(answer: httpx.Response) -> str:
    code: str = answer.json()["code"]
    assert code in {"malformed_body", "integer_too_long", "nul_character"}
    return code


def _path(link: str) -> str:
    return "/callbacks/" + link.split("/callbacks/")[1]


@on_sqlite
async def test_completion_may_begin_with_a_byte_order_mark(service: Service) -> None:
    calls: list[Call] = []

    async def later(call: Call) -> Reply:
        calls.append(call)
        return Reply(202)

    async with endpoint(later) as server:
        await put(service, "slow", server.url, timeout_s=600)
        await hire(service)
        run_id = (await service.submit("slow"))["run_id"]
        await eventually(lambda: service.has_status(run_id, "waiting"))
        marked = b"\xef\xbb\xbf" + BODY
        path = _path(calls[0].links["complete"])
        answer = await service.client.post(path, content=marked, headers=JSON)
        assert json_of(answer)["status"] == "finished"
    assert repr((await service.get(run_id))["job_data"]) == repr({"slow": DATA})


@on_sqlite
async def test_hidden_value_that_cannot_be_stored_is_not_shown(database: Database) -> None:
    @job
    async def returns(_ctx: JobContext) -> Json:
        return {"order": {"card": [{"number": CARD}]}}

    @job
    async def sets(ctx: JobContext) -> None:
        await ctx.job_data.set({"Card": {CARD: 1}})

    @job
    async def starts(ctx: JobContext) -> None:
        await ctx.start_program(["sets"], program_data={"card": CARD})

    async with serving(database, redact="card") as service:
        await service.crew.hire(returns, sets, starts, redact="card")
        for name, said in (
            ("returns", "order.card[0].number is a Decimal; store str() of it"),
            ("sets", "Card has a key that is a Decimal; the keys of a JSON object are texts"),
            ("starts", "program_data: card is a Decimal; store str() of it"),
        ):
            run_id = (await service.submit(name))["run_id"]
            await service.ended(run_id)
            assert said in (await service.get(run_id))["error_message"]
            tries = json_of(await service.client.get(f"/programs/{run_id}/attempts"))
            assert "4242" not in json.dumps(tries)
