"""Headers in logs: those of endpoints hold cookies and tokens, which are nobody else's."""

import logging

import pytest

from lines import logging_as_workers_do
from program_service.webhooks.caller import Caller
from program_service.webhooks.guard import Guard
from raw_endpoints import HEAD, raw, sending

COOKIE = "session-4f1d"
ANSWER = HEAD + f"Set-Cookie: id={COOKIE}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


async def test_cookies_of_endpoints_reach_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With LOG_LEVEL=DEBUG the HTTP client logs every header that it reads."""
    with logging_as_workers_do(level="DEBUG"):
        logging.getLogger("shop").debug("a line of a job")
        async with raw(sending(ANSWER)) as url:
            caller = Caller(Guard.parse("127.0.0.0/8"))
            answer = await caller.post(url, headers={"x-key": COOKIE}, body=b"{}", within_s=20)
            await caller.aclose()
        output, errors = capsys.readouterr()
    assert COOKIE in answer.headers["set-cookie"]
    assert "a line of a job" in output + errors
    assert COOKIE not in output + errors
