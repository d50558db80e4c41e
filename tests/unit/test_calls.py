"""Calls: what the clients ask, and when they ask again, without any I/O."""

import inspect
import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from program_executor import AsyncClient, Client, ProblemError, calls
from program_executor.calls import Call
from program_executor.exchange import TRIES, Answer, Pause, exchange, request_options

if TYPE_CHECKING:
    from program_executor.shapes import Filters, ProgramOptions

REQUEST = httpx.Request("GET", "http://service.test/")
NO_JOBS: dict[str, Any] = {"jobs": []}
PROBLEM = {"code": "already_final", "detail": "It has finished.", "status": 409}


def a_response(status: int, content: Any = None, **headers: str) -> httpx.Response:
    """Make an answer of a service."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=content, headers=named, request=REQUEST)


def played(call: Call[Any], answers: list[Answer]) -> tuple[list[Call[Any] | Pause], Any]:
    """Play an exchange with these answers; return what it did and what it returned."""
    steps, left = exchange(call), iter(answers)
    done: list[Call[Any] | Pause] = []
    answer: Answer | None = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return done, end.value
        done.append(step)
        answer = None if isinstance(step, Pause) else next(left)


def pauses_of(steps: list[Call[Any] | Pause]) -> list[float]:
    """Return the pauses of an exchange."""
    return [step.seconds for step in steps if isinstance(step, Pause)]


def test_answer_is_returned_as_it_is() -> None:
    call = calls.get("run-1")
    assert played(call, [a_response(200, {"a": 1})]) == ([call], {"a": 1})


@pytest.mark.parametrize(
    "passing",
    [
        a_response(503),
        a_response(429),
        a_response(502),
        a_response(504),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("closed"),
    ],
)
def test_call_that_is_safe_to_repeat_is_repeated(passing: Answer) -> None:
    call = calls.submit(["reserve"], {}, "key-1")
    steps, content = played(call, [passing, passing, a_response(201, {"run_id": "1"})])
    assert content == {"run_id": "1"}
    sent = [step for step in steps if isinstance(step, Call)]
    assert sent == [call] * 3  # with the same Idempotency-Key
    assert pauses_of(steps) == [0.2, 0.4]


def test_retry_after_is_a_lower_bound_of_the_pause() -> None:
    answers: list[Answer] = [a_response(503, retry_after="3"), a_response(200, NO_JOBS)]
    assert pauses_of(played(calls.jobs(), answers)[0]) == [3.0]
    answers = [
        a_response(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        a_response(200, NO_JOBS),
    ]
    assert pauses_of(played(calls.jobs(), answers)[0]) == [0.2]


def test_last_try_tells_what_went_wrong() -> None:
    problem = {"code": "database_unavailable", "detail": "The database does not answer."}
    with pytest.raises(ProblemError, match="503 database_unavailable: The database"):
        played(calls.jobs(), [a_response(503, problem)] * TRIES)
    with pytest.raises(httpx.ConnectError):
        played(calls.jobs(), [httpx.ConnectError("refused")] * TRIES)


@pytest.mark.parametrize(
    "call",
    [
        calls.submit_batch([]),
        calls.resume("run-1", None),
        calls.delete_job("ship"),
        # the first answer alone shows the secret
        calls.put_job("ship", {"url": "https://shop.example/ship"}),
        calls.rotate_secret("ship", None, None),
        calls.rotate_token_key(None),
    ],
)
def test_call_that_is_not_safe_to_repeat_is_sent_once(call: Call[Any]) -> None:
    with pytest.raises(httpx.ConnectError):
        played(call, [httpx.ConnectError("refused")])
    with pytest.raises(ProblemError, match="503"):
        played(call, [a_response(503, {})])


def test_call_that_was_refused_for_its_rate_is_sent_again() -> None:
    """Nothing was done, so it is safe whatever the call is."""
    refused = a_response(429, {"code": "rate_limited"}, retry_after="7")
    steps, content = played(calls.submit_batch([]), [refused, a_response(201, {"programs": []})])
    assert (content, pauses_of(steps)) == ([], [7.0])


@pytest.mark.parametrize(
    "answer",
    [
        a_response(429, {"code": "rate_limited"}, retry_after="61"),
        a_response(429, {"code": "too_many_failed_tries"}, retry_after="1"),
    ],
)
def test_nobody_is_held_for_minutes_or_with_a_wrong_key(answer: httpx.Response) -> None:
    with pytest.raises(ProblemError, match="429"):
        played(calls.jobs(), [answer])


def test_refusal_is_not_repeated_and_carries_its_problem() -> None:
    with pytest.raises(ProblemError) as caught:
        played(calls.cancel("run-1"), [a_response(409, PROBLEM)])
    assert (caught.value.status, caught.value.code) == (409, "already_final")
    assert caught.value.problem == PROBLEM
    assert str(caught.value) == "409 already_final: It has finished."


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="<html>proxy</html>", request=REQUEST),
        httpx.Response(404, request=REQUEST),
        httpx.Response(400, json=["no object"], request=REQUEST),
        httpx.Response(
            400, text="{", headers={"content-type": "application/problem+json"}, request=REQUEST
        ),
    ],
)
def test_error_that_is_no_problem_of_ours_is_a_problem_error_too(answer: httpx.Response) -> None:
    with pytest.raises(ProblemError) as caught:
        played(calls.jobs(), [answer])
    assert caught.value.status == answer.status_code


def test_problem_is_read_though_its_type_has_parameters() -> None:
    """As a proxy may send it on."""
    headers = {"content-type": "application/problem+json; charset=utf-8"}
    answer = httpx.Response(409, json=PROBLEM, headers=headers, request=REQUEST)
    with pytest.raises(ProblemError) as caught:
        played(calls.cancel("run-1"), [answer])
    assert caught.value.code == "already_final"


def test_submission_sends_what_was_set_and_nothing_else() -> None:
    assert calls.submit(["reserve"], {"notify": None}, "key").json == {"jobs": ["reserve"]}
    full: ProgramOptions = {
        "program_data": {"a": 1},
        "job_data": {"reserve": {}},
        "start_at": datetime(2099, 1, 31, 8, tzinfo=UTC),
        "labels": {"team": "eu"},
        "notify": "https://shop.example/ended",
    }
    assert calls.submit(("reserve",), full, "key").json == {
        "jobs": ["reserve"],
        "program_data": {"a": 1},
        "job_data": {"reserve": {}},
        "start_at": "2099-01-31T08:00:00+00:00",
        "labels": {"team": "eu"},
        "notify": "https://shop.example/ended",
    }


def test_paths_are_quoted() -> None:
    assert calls.get("a/b c").path == "/programs/a%2Fb%20c"
    assert calls.attempt_page("run-1", {}).path == "/programs/run-1/attempts"
    assert calls.job_data("run-1", "shop/mail").path == "/programs/run-1/job-data/shop%2Fmail"
    assert calls.rotate_secret("shop/mail", None, None).path == "/jobs/shop%2Fmail/rotate-secret"


def test_list_leaves_out_what_is_not_asked_for() -> None:
    assert calls.list_page({"status": "pending", "job": None}).params == {"status": "pending"}
    since: Filters = {"created_after": datetime(2099, 1, 31, 8, tzinfo=UTC)}
    assert calls.list_page(since, "c1").params == {
        "created_after": "2099-01-31T08:00:00+00:00",
        "cursor": "c1",
    }


def test_request_waits_longer_than_the_service_holds() -> None:
    held = request_options(calls.get("run-1", wait_s=20))
    assert held["headers"] == {"Prefer": "wait=20"}
    assert held["timeout"] > 20
    assert request_options(calls.get("run-1"))["headers"] == {}


def test_answer_of_somebody_else_is_a_problem_error() -> None:
    """A sign-in page of a proxy, or another service that was asked by mistake."""
    for content in ({"hello": "world"}, ["jobs"]):
        with pytest.raises(ProblemError) as caught:
            played(calls.jobs(), [a_response(200, content)])
        assert "code" not in caught.value.problem
    with pytest.raises(ProblemError):
        played(calls.jobs(), [httpx.Response(200, text="<html>", request=REQUEST)])


def test_answer_without_content_is_none() -> None:
    answer = httpx.Response(204, request=REQUEST)
    assert played(calls.delete_job("ship"), [answer])[1] is None


def test_tries_are_as_many_as_was_said() -> None:
    steps = exchange(calls.jobs(), tries=1)
    steps.send(None)
    with pytest.raises(httpx.ConnectError):
        steps.send(httpx.ConnectError("refused"))


def test_both_clients_have_the_same_methods() -> None:
    def methods(client: type[Any]) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(client).items()
            if callable(method) and not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


def test_data_that_cannot_be_stored_is_not_sent() -> None:
    for value, said in (
        (math.nan, "the request: program_data.x[0].y is NaN; JSON has finite numbers only"),
        ((1, 2), "the request: program_data.x[0].y is a tuple; store a list"),
        ({1: 2}, "the request: program_data.x[0].y has a key that is 1"),
    ):
        call = calls.submit(["reserve"], {"program_data": {"x": [{"y": value}]}}, "key")
        with pytest.raises(ValueError, match=re.escape(said)):
            request_options(call)
        batch = calls.submit_batch([{"jobs": ("reserve",), "program_data": {"y": value}}])
        with pytest.raises(ValueError, match=r"programs\[0\].program_data.y"):
            request_options(batch)


def test_data_are_sent_as_they_are() -> None:
    data = {"numbers": [0.1, 1.0, -0.0, 1e16, 2**63 - 1], "text": "ö"}
    sent = request_options(calls.submit(("reserve",), {"program_data": data}, "key"))
    assert repr(json.loads(sent["content"])) == repr({"jobs": ["reserve"], "program_data": data})
    assert sent["headers"]["Content-Type"] == "application/json"
    batch = request_options(calls.submit_batch([{"jobs": ("reserve",)}]))
    assert json.loads(batch["content"]) == {"programs": [{"jobs": ["reserve"]}]}


@pytest.mark.parametrize("after", ["\u00b2", "1e9", "-1", "soon", ""])
def test_retry_after_that_is_no_number_is_ignored(after: str) -> None:
    busy = httpx.Response(503, headers=[(b"retry-after", after.encode("latin-1"))], request=REQUEST)
    steps, _ = played(calls.jobs(), [busy, a_response(200, NO_JOBS)])
    assert all(pause < 1 for pause in pauses_of(steps))


def test_deep_answer_of_somebody_in_between_becomes_a_problem() -> None:
    deep = httpx.Response(200, content=b"[" * 100_000, request=REQUEST)
    with pytest.raises(ProblemError):
        played(calls.get("run-1"), [deep])
