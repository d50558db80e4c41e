"""Bad bodies: no JSON, or such that no part of the system could keep it."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from servers import on_sqlite
from serving import Service, fields_of, json_of, problem_of

pytestmark = on_sqlite  # refused before any database hears of it

JSON = {"Content-Type": "application/json"}
LIMIT = 1_048_576


async def post(service: Service, content: str | bytes) -> httpx.Response:
    """Send a body as it is."""
    return await service.client.post("/programs", content=content, headers=JSON)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"jobs": ["reserve"],}',
        "{'jobs': ['reserve']}",
        '{"jobs": ["reserve"]} and more',
        b'{"jobs": ["\xff\xfe"]}',
        '{"jobs": ["reserve"], "program_data": {"x": NaN}}',
        '{"jobs": ["reserve"], "program_data": {"x": Infinity}}',
        '{"jobs": ["reserve"], "program_data": {"x": -Infinity}}',
        '{"jobs": ["reserve"], "program_data": {"x": 1e400}}',
        '{"jobs": ["\\ud800"]}',
        "\ufeff\ufeff{}",
        '{"jobs": ["a\nb"]}',
        "jobs=reserve",
    ],
)
async def test_body_that_is_no_json_is_refused(service: Service, content: str | bytes) -> None:
    problem = problem_of(await post(service, content), 400, "malformed_body")
    assert "not JSON" in problem["detail"]


@pytest.mark.parametrize(
    ("value", "status", "code", "said"),
    [
        ("NaN", 400, "malformed_body", "is NaN; JSON has finite numbers only"),
        ("-Infinity", 400, "malformed_body", "is -Infinity; JSON has finite numbers only"),
        ("1e400", 400, "malformed_body", "is Infinity; JSON has finite numbers only"),
        ('"a\\ud83d"', 400, "malformed_body", "holds half of a surrogate pair (U+D83D)"),
        ("12345678901234567890", 422, "integer_too_long", "is an integer beyond 64 bits"),
        (str(-(2**63) - 1), 422, "integer_too_long", "is an integer beyond 64 bits"),
        ('"\\u0000"', 422, "nul_character", "holds the character NUL (U+0000)"),
    ],
)
async def test_what_cannot_be_stored_is_rejected_with_its_path(
    service: Service, value: str, status: int, code: str, said: str
) -> None:
    body = f'{{"jobs": ["reserve"], "program_data": {{"x": {{"deep": [0, {{"y": {value}}}]}}}}}}'
    problem = problem_of(await post(service, body), status, code)
    assert f": program_data.x.deep[1].y {said}" in problem["detail"]
    assert fields_of(problem)["program_data.x.deep[1].y"]["message"].startswith(said)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "it is not UTF-8, but looks like UTF-16; send it as UTF-8"),
        ("utf-16-be", "it is not UTF-8, but looks like UTF-16; send it as UTF-8"),
        ("latin-1", "it is not UTF-8 (byte 0xE9 at position 45); send it as UTF-8"),
    ],
)
async def test_body_in_another_encoding_is_refused(
    service: Service, encoding: str, said: str
) -> None:
    body = '{"jobs": ["reserve"], "program_data": {"a": "é"}}'.encode(encoding)
    problem = problem_of(await post(service, body), 400, "malformed_body")
    assert problem["detail"] == f"The body is not JSON: {said}."


async def test_byte_order_mark_is_skipped(service: Service) -> None:
    body = '\ufeff{"jobs": ["reserve"], "program_data": {"a": 1}}'
    run_id = json_of(await post(service, body))["run_id"]
    path = f"/programs/{run_id}/job-data/reserve"
    answer = await service.client.patch(path, content=b'\xef\xbb\xbf{"b": 2}', headers=JSON)
    assert json_of(answer) == {"b": 2}


async def test_body_that_is_long_and_wrong_is_not_looked_through_for_the_place(
    service: Service,
) -> None:
    """It is rejected by the fast reader; the other one would hold up all requests meanwhile."""
    long = "1, " * 100_000
    for value, status, code, said in (
        ("NaN", 400, "malformed_body", "line 1 column 300046"),
        ("12345678901234567890", 422, "integer_too_long", "holds an integer beyond 64 bits"),
        ('"\\u0000"', 422, "nul_character", "holds the character NUL"),
    ):
        body = f'{{"jobs": ["reserve"], "program_data": {{"a": [{long}{value}]}}}}'
        assert said in problem_of(await post(service, body), status, code)["detail"]


async def test_body_must_be_sent_as_json(service: Service) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind}
        answer = await service.client.post("/programs", content=b'{"jobs": []}', headers=headers)
        assert "application/json" in problem_of(answer, 415, "not_json")["detail"]


async def test_compressed_body_is_told_how_to_be_sent(service: Service) -> None:
    content = gzip.compress(b'{"jobs": ["reserve"]}')
    for path in ("/programs", "/programs/batch"):
        headers = JSON | {"Content-Encoding": "gzip"}
        answer = await service.client.post(path, content=content, headers=headers)
        assert "'gzip'" in problem_of(answer, 415, "compressed_body")["detail"]
        assert answer.headers["accept-encoding"] == "identity"
    headers = JSON | {"Content-Encoding": "identity"}
    content = b'{"jobs": ["reserve"]}'
    answer = await service.client.post("/programs", content=content, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("content", ["", "null", "[]", "7", '"reserve"', "true"])
async def test_body_must_be_an_object(service: Service, content: str) -> None:
    problem = problem_of(await post(service, content), 422, "invalid")
    assert fields_of(problem).keys() == {"body"}


@pytest.mark.parametrize(
    "content",
    [
        '{"jobs": ["reserve"], "program_data": {"a": "b\\u0000c"}}',
        '{"jobs": ["reserve"], "program_data": {"a\\u0000": 1}}',
        '{"jobs": ["reserve"], "program_data": {"a": [{"b": ["\\u0000"]}]}}',
        '{"jobs": ["reserve"], "labels": {"a": "\\u0000"}}',
        '{"jobs": ["re\\u0000serve"]}',
    ],
)
async def test_nul_is_refused_and_told_why(service: Service, content: str) -> None:
    problem = problem_of(await post(service, content), 422, "nul_character")
    assert "PostgreSQL cannot store" in problem["detail"]


async def test_text_that_only_looks_like_nul_is_fine(service: Service) -> None:
    answer = await post(service, '{"jobs": ["reserve"], "program_data": {"a": "\\\\u0000"}}')
    assert json_of(answer)["program_data"] == {"a": "\\u0000"}


@pytest.mark.parametrize("digits", [str(2**63), str(-(2**63) - 1), str(2**64), "1" * 30, "9" * 300])
async def test_integer_beyond_64_bits_is_refused(service: Service, digits: str) -> None:
    body = f'{{"jobs": ["reserve"], "program_data": {{"a": [{digits}]}}}}'
    problem = problem_of(await post(service, body), 422, "integer_too_long")
    assert "as a string" in problem["detail"]


@pytest.mark.parametrize(
    "value", [str(2**63 - 1), str(-(2**63)), f'"{10**30}"', "12345678901234567890.5", "1e25"]
)
async def test_long_numbers_that_can_be_kept_are_fine(service: Service, value: str) -> None:
    answer = await post(service, f'{{"jobs": ["reserve"], "program_data": {{"a": {value}}}}}')
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("levels", [101, 500, 50_000])
async def test_deep_nesting_is_refused(service: Service, levels: int) -> None:
    for left, right in (("[", "]"), ('{"a":', "}")):
        deep = left * levels + "1" + right * levels
        content = f'{{"jobs": ["reserve"], "program_data": {{"a": {deep}}}}}'
        problem = problem_of(await post(service, content), 422, "nested_too_deeply")
        assert "100 levels" in problem["detail"]


async def test_brackets_in_texts_are_no_nesting(service: Service) -> None:
    answer = await post(service, f'{{"jobs": ["reserve"], "program_data": {{"a": "{"[" * 500}"}}}}')
    assert answer.status_code == 201


def of_length(length: int) -> bytes:
    """Return a body of so many bytes."""
    head, tail = b'{"jobs": ["reserve"], "program_data": {"a": "', b'"}}'
    return head + b"x" * (length - len(head) - len(tail)) + tail


async def test_body_of_1_mib_is_taken_and_a_longer_one_refused(service: Service) -> None:
    assert (await post(service, of_length(LIMIT))).status_code == 201
    problem = problem_of(await post(service, of_length(LIMIT + 1)), 413, "body_too_large")
    assert str(LIMIT) in problem["detail"]


async def test_long_body_is_refused_though_it_does_not_tell_its_length(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        body = of_length(2 * LIMIT)
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await service.client.post("/programs", content=chunks(), headers=JSON)
    assert "content-length" not in answer.request.headers
    problem_of(answer, 413, "body_too_large")


async def test_long_body_is_refused_on_every_route_that_takes_one(service: Service) -> None:
    run_id = (await service.submit("reserve"))["run_id"]
    for method, path in (
        ("POST", "/programs/batch"),
        ("PUT", f"/programs/{run_id}/job-data/reserve"),
        ("PATCH", f"/programs/{run_id}/job-data/reserve"),
        ("POST", f"/programs/{run_id}/resume"),
    ):
        content = of_length(LIMIT + 1)
        answer = await service.client.request(method, path, content=content, headers=JSON)
        problem_of(answer, 413, "body_too_large")
