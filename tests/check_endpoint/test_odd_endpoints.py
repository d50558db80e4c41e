"""Odd endpoints: whatever one sends, the check ends with findings, and never with a traceback."""

import asyncio
import json
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_endpoint.samples import SECRET
from odd_answers import BODIES, HEADERS, STATUSES
from program_executor.endpoint_check.calling import Answer, Plan
from program_executor.endpoint_check.checks import check_endpoint
from program_executor.endpoint_check.examining import problem_of, taken_in_words
from program_executor.endpoint_check.links import Links, Step
from program_executor.endpoint_check.reading import flaws_of
from program_executor.endpoint_check.wire import serving
from raw_endpoints import HEAD, raw, sending

PATIENCE_S = 20.0
DEEP = b"[" * 1_000 + b"]" * 1_000


@given(STATUSES, HEADERS, BODIES)
@example(500, {}, b'{"detail": ' + DEEP + b"}")
@example(200, {}, b'{"error": ' + DEEP + b"}")
@example(200, {}, b'{"error": {"message": ' + DEEP + b"}}")
@example(200, {}, b'{"\\ud83d": 1, "error": "\\ud83d"}')
def test_reading_an_answer_never_raises(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    answer = Answer(status, headers, body, 0.1)
    said = [problem_of(answer) or taken_in_words(answer), *(flaw.text for flaw in flaws_of(answer))]
    for text in said:
        text.encode()
        assert len(text) < 2_000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 302 Found\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"set-cookie: \xff=\xff; expires=9999999999\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"content-type: text/\xff\r\ncontent-length: 5\r\n\r\n\xff\xfe{}\x00",
        b"HTTP/1.1 500 \xff\r\ncontent-length: 2014\r\n\r\n" + b'{"detail": ' + DEEP + b"}  ",
    ],
)
async def test_bytes_of_an_endpoint_become_findings(answer: bytes) -> None:
    async with raw(sending(answer)) as url:
        report = await check_endpoint(Plan(url, SECRET, timeout_s=1.0), lambda _finding: None)
    assert report.findings
    json.dumps([finding.text for finding in report.findings]).encode()


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /callbacks/TOKEN/fail HTTP/1.1\r\ncontent-type: application/json\r\n"
        b'content-length: 2021\r\n\r\n{"error": {"message":' + DEEP + b"}}",
        b"POST /callbacks/TOKEN/complete HTTP/1.1\r\ncontent-length: \xc2\xb2\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_what_comes_to_a_link_is_answered_or_hung_up_on(request_line: bytes) -> None:
    links = Links("http://links")
    (token,) = [link.split("/")[-2] for link in list(links.of(Step(1.0)).values())[:1]]
    async with serving(links.answer, "127.0.0.1", 0) as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_line.replace(b"TOKEN", token.encode()))
        writer.write_eof()
        answer = await reader.read()
        writer.close()
    assert not answer or answer.startswith(b"HTTP/1.1 4")


@given(st.binary(max_size=200))
def test_bytes_of_a_client_harm_nobody(sent: bytes) -> None:
    async def send() -> None:
        async with serving(Links("http://links").answer, "127.0.0.1", 0) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            writer.write_eof()
            await reader.read()
            writer.close()

    asyncio.run(send())
