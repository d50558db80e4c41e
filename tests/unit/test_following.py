"""Following: what a client does about streams that break, are silent, or are none."""

import json
from typing import Any, cast

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent

from program_executor.following import Following
from program_executor.shapes import Program

REQUEST = httpx.Request("GET", "http://service.test/programs/run-1/events")
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def a_program(**fields: Any) -> Program:
    """Make as much of a program as is looked at."""
    return cast("Program", {"run_id": "run-1", "status": "running", "step": 0, **fields})


def an_event(program: Program, number: int = 1) -> ServerSentEvent:
    """Make an event of the service."""
    return ServerSentEvent("program", json.dumps(program), f"{number}-running")


def an_answer(status: int, **headers: str) -> httpx.Response:
    """Make an answer to who wants to listen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, request=REQUEST)


def test_first_listens_from_the_beginning_and_later_after_what_was_heard() -> None:
    following = Following("run-1")
    assert following.listening().headers == {}
    following.heard(an_event(a_program(), number=7))
    assert following.listening().headers == {"Last-Event-ID": "7-running"}


def test_program_that_is_as_it_was_is_no_news() -> None:
    following, program = Following("run-1"), a_program()
    assert following.heard(an_event(program)) == [program]
    assert following.news(a_program()) == []
    assert following.news(a_program(step=1)) == [a_program(step=1)]


def test_comment_that_keeps_the_stream_alive_is_no_event() -> None:
    """The service sends one every 15 s."""
    program = json.dumps(a_program())
    text = f": ping\n\nevent: program\ndata: {program}\nid: 1-running\n\n: ping\n\n: ping\n\n"
    answer = httpx.Response(200, headers=STREAM, text=text, request=REQUEST)
    following = Following("run-1")
    heard = [news for event in EventSource(answer).iter_sse() for news in following.heard(event)]
    assert heard == [a_program()]
    assert following.last_event_id == "1-running"


@pytest.mark.parametrize(
    ("status", "is_over"),
    [("running", False), ("retrying", False), ("finished", True), ("cancelled", True)],
)
def test_is_over_when_the_program_has_ended(status: str, *, is_over: bool) -> None:
    following = Following("run-1")
    assert not following.is_over
    following.news(a_program(status=status))
    assert following.is_over is is_over


def test_stream_of_events_is_listened_to() -> None:
    following = Following("run-1")
    assert following.hears(httpx.Response(200, headers=STREAM, request=REQUEST))
    assert not following.is_deaf


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_service_that_is_busy_is_listened_to_later(status: int) -> None:
    following = Following("run-1")
    assert not following.hears(an_answer(status))
    assert not following.is_deaf


@pytest.mark.parametrize("answer", [an_answer(404), an_answer(200, content_type="text/html")])
def test_who_sends_no_events_is_only_asked(answer: httpx.Response) -> None:
    following = Following("run-1")
    assert not following.hears(answer)
    assert following.is_deaf
    assert following.asking().headers == {"Prefer": "wait=1"}


def test_silence_is_a_reason_to_ask_and_a_broken_connection_is_not() -> None:
    """The service says something every 15 s: who says nothing for longer holds it back."""
    following = Following("run-1")
    following.lose(httpx.RemoteProtocolError("peer closed connection"))
    following.lose(httpx.ConnectError("refused"))
    assert not following.is_deaf
    following.lose(httpx.ReadTimeout("silent"))
    assert following.is_deaf
