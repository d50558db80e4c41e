"""Bad input: every refusal says what is wrong, and what would be right."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from servers import on_sqlite
from serving import Json, Service, fields_of, json_of, problem_of

pytestmark = on_sqlite  # refused before any database hears of it

JSON = {"Content-Type": "application/json"}
LIMIT = 1_048_576


async def post(service: Service, content: str | bytes) -> httpx.Response:
    """Send a body as it is."""
    return await service.client.post("/programs", content=content, headers=JSON)


async def refused(service: Service, body: Any, code: str = "invalid") -> dict[str, Json]:
    """Send a body that must be refused, and return {field: what is wrong with it}."""
    problem = problem_of(await service.client.post("/programs", json=body), 422, code)
    return fields_of(problem)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"jobs": "reserve"}, "jobs"),
        ({"jobs": None}, "jobs"),
        ({"jobs": {"0": "reserve"}}, "jobs"),
        ({"jobs": [1]}, "jobs[0]"),
        ({"jobs": ["reserve", None]}, "jobs[1]"),
        ({"jobs": [["reserve"]]}, "jobs[0]"),
        ({"jobs": [""]}, "jobs[0]"),
        ({"jobs": ["x" * 256]}, "jobs[0]"),
        ({"jobs": ["tab\there"]}, "jobs[0]"),
        ({"jobs": ["line\u2028break"]}, "jobs[0]"),
        ({"jobs": ["bell\u0007"]}, "jobs[0]"),
        ({"program_data": []}, "program_data"),
        ({"program_data": "text"}, "program_data"),
        ({"program_data": None}, "program_data"),
        ({"job_data": {"reserve": 1}}, "job_data.reserve"),
        ({"job_data": ["reserve"]}, "job_data"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {"a": None}}, "labels.a"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": {"a": "x" * 256}}, "labels.a"),
        ({"labels": {str(n): "" for n in range(33)}}, "labels"),
        ({"start_at": "tomorrow"}, "start_at"),
        ({"start_at": "2099-01-01T00:00:00"}, "start_at"),
        ({"start_at": "2099-13-01T00:00:00Z"}, "start_at"),
        ({"start_at": ["2099-01-01T00:00:00Z"]}, "start_at"),
        ({"start_at": "9999-12-31T23:59:59-10:00"}, "start_at"),
        ({"start_at": 4_070_908_800}, "start_at"),
        ({"start_at": "4070908800"}, "start_at"),
        ({"start_at": True}, "start_at"),
    ],
)
async def test_wrong_values_are_named(service: Service, change: Json, field: str) -> None:
    (name,) = await refused(service, {"jobs": ["reserve"]} | change)
    assert name == field


async def test_missing_jobs_are_named(service: Service) -> None:
    fields = await refused(service, {})
    assert fields["jobs"]["message"] == "this is required"


async def test_label_key_is_refused_with_its_name(service: Service) -> None:
    for key in ("", "a:b", "a\tb", "x" * 101):
        (name,) = await refused(service, {"jobs": ["reserve"], "labels": {key: ""}})
        assert name.startswith("labels")


async def test_time_without_zone_is_told_how_to_write_it(service: Service) -> None:
    body = {"jobs": ["reserve"], "start_at": "2099-01-01T00:00:00"}
    assert "zone" in (await refused(service, body))["start_at"]["message"]
    assert "T08:00:00Z" in (await refused(service, body))["start_at"]["message"]
    answer = await service.client.get("/programs?created_after=2099-01-01T00:00:00")
    assert "zone" in fields_of(problem_of(answer, 422, "invalid"))["created_after"]["message"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("jobsData", "job_data"),
        ("jobData", "job_data"),
        ("programData", "program_data"),
        ("startAt", "start_at"),
        ("StartAt", "start_at"),
        ("lables", "labels"),
        ("job", "jobs"),
        ("xyzzy", None),
    ],
)
async def test_unknown_field_is_named_with_a_hint(
    service: Service, wrong: str, right: str | None
) -> None:
    fields = await refused(service, {"jobs": ["reserve"], wrong: {}})
    assert fields[wrong]["message"] == f"{wrong!r} is not a field"
    assert fields[wrong].get("hint") == (f"did you mean {right!r}?" if right else None)


async def test_unknown_fields_are_named_wherever_they_stand(service: Service) -> None:
    body: Json = {"programs": [{"jobs": ["reserve"]}, {"jobs": ["reserve"], "jobsData": {}}]}
    answer = await service.client.post("/programs/batch", json=body)
    fields = fields_of(problem_of(answer, 422, "invalid"))
    assert fields["programs[1].jobsData"]["hint"] == "did you mean 'job_data'?"
    program = await service.submit("reserve")
    address = f"/programs/{program['run_id']}/resume"
    answer = await service.client.post(address, json={"fromStep": 0})
    fields = fields_of(problem_of(answer, 422, "invalid"))
    assert fields["fromStep"]["hint"] == "did you mean 'from_step'?"


async def test_field_that_stands_twice_is_refused_or_the_later_counts(service: Service) -> None:
    answer = await post(service, '{"jobs": ["ship"], "jobs": ["reserve"]}')
    assert json_of(answer).get("jobs", ["reserve"]) == ["reserve"]


async def test_job_data_for_strangers_is_refused(service: Service) -> None:
    body = {"jobs": ["reserve"], "job_data": {"charge": {}, "reserve": {}}}
    (wrong,) = (await refused(service, body)).values()
    assert "charge" in wrong["message"]
    assert "not among the jobs" in wrong["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/programs/", 404, "not_found"),
        ("DELETE", "/programs", 405, "method_not_allowed"),
        ("GET", "/programs/no-such-program", 404, "program_not_found"),
        ("GET", f"/programs/{'x' * 256}", 422, "invalid"),
        ("GET", "/programs/a%00b", 422, "invalid"),
        ("GET", "/programs/no-such-program/attempts", 404, "program_not_found"),
        ("GET", "/programs/no-such-program/events", 404, "program_not_found"),
        ("GET", "/programs/no-such-program/explain", 404, "program_not_found"),
        ("POST", "/programs/no-such-program/cancel", 404, "program_not_found"),
        ("POST", "/programs/no-such-program/resume", 404, "program_not_found"),
        ("GET", "/programs/no-such-program/job-data/reserve", 404, "program_not_found"),
        ("GET", "/jobs/no-such-job", 404, "job_not_found"),
        ("GET", "/jobs/a%00b", 422, "invalid"),
        ("GET", "/programs?limit=0", 422, "invalid"),
        ("GET", "/programs?limit=201", 422, "invalid"),
        ("GET", "/programs?status=done", 422, "invalid"),
        ("GET", "/programs?offset=10", 422, "invalid"),
        ("GET", "/programs?label=nocolon", 422, "invalid"),
        ("GET", "/programs?cursor=nonsense", 422, "bad_cursor"),
        ("GET", "/programs?error=closed", 422, "invalid"),
    ],
)
async def test_every_error_is_a_problem(
    service: Service, method: str, path: str, status: int, code: str
) -> None:
    problem_of(await service.client.request(method, path), status, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/programs", "GET, POST"),
        ("GET", "/programs/batch", "POST"),
        ("PUT", "/programs/a", "GET"),
        ("POST", "/programs/a/job-data/b", "GET, PATCH, PUT"),
        ("PATCH", "/jobs/a/b", "DELETE, GET, PUT"),
        ("PUT", "/jobs/a/b/rotate-secret", "POST"),
        ("TRACE", "/livez", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_told_the_right_ones(
    service: Service, method: str, path: str, allowed: str
) -> None:
    answer = await service.client.request(method, path)
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("value", ["3", True, 1.5, [3], 0])
async def test_number_of_tries_is_a_whole_number(service: Service, value: Any) -> None:
    body = {"url": "https://billing.example/jobs", "retry": {"max_attempts": value}}
    answer = await service.client.put("/jobs/bill", json=body)
    assert set(fields_of(problem_of(answer, 422, "invalid"))) == {"retry.max_attempts"}


@pytest.mark.parametrize("value", ["30", True, None])
async def test_time_limit_is_a_number(service: Service, value: Any) -> None:
    body = {"url": "https://billing.example/jobs", "timeout_s": value}
    answer = await service.client.put("/jobs/bill", json=body)
    assert set(fields_of(problem_of(answer, 422, "invalid"))) == {"timeout_s"}


async def test_whole_number_may_be_written_as_a_fraction(service: Service) -> None:
    """As JSON Schema says, and as JavaScript may write it."""
    body = {"url": "https://billing.example/jobs", "retry": {"max_attempts": 3.0}}
    answer = await service.client.put("/jobs/bill", json=body)
    assert json_of(answer)["retry"]["max_attempts"] == 3


async def test_name_may_have_any_character_that_is_seen(service: Service) -> None:
    for name in ("ναῦς", "日本 語", "a/b", "\N{PARTY POPPER}", "%2F"):
        body = {"url": "https://billing.example/jobs"}
        answer = await service.client.put(f"/jobs/{quote(name, safe='')}", json=body)
        assert json_of(answer)["name"] == name
        assert (await service.submit(name))["job"] == name
    for name in ("\N{ZERO WIDTH SPACE}", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "\N{SOFT HYPHEN}"):
        answer = await service.client.post("/programs", json={"jobs": [name]})
        assert "not seen" in problem_of(answer, 422, "invalid")["detail"]


async def test_wrong_paths_and_methods_are_told_what_would_be_right(service: Service) -> None:
    """A redirect would name the host that was asked for, and http behind a proxy with https."""
    for method, path, right in (
        ("GET", "/nowhere", "/openapi.json"),
        ("GET", "/nowhere/", "/openapi.json"),
        ("POST", "/programs/", "leave out the slash"),
        ("PUT", "/programs", "takes GET, POST"),
    ):
        answer = await service.client.request(method, path, json={"jobs": ["reserve"]})
        assert right in answer.json()["detail"], path


async def test_wrong_kinds_are_told_in_the_words_of_json(service: Service) -> None:
    fields = await refused(service, {"jobs": {}, "program_data": []})
    assert fields["jobs"]["message"] == "a JSON list is needed"
    assert fields["program_data"]["message"] == "a JSON object is needed"


async def test_moment_before_the_year_1_is_told_why(service: Service) -> None:
    body = {"jobs": ["reserve"], "start_at": "0001-01-01T00:00:00+14:00"}
    assert "before the year 1" in (await refused(service, body))["start_at"]["message"]


async def test_titles_are_the_same_under_every_python(service: Service) -> None:
    answer = await service.client.post("/programs", json={})
    assert answer.json()["title"] == "Unprocessable Content"  # Python 3.12 says … Entity
