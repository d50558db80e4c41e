"""Submitting: 201 means that the row is committed, and nothing less does."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import row_of
from program_service.bookkeeping.ledger.reading import find
from servers import Connect
from serving import Json, Service, fields_of, json_of, problem_of, register, serving

EMPTY_AT_FIRST = (
    "finished_at",
    "errored_at",
    "error_message",
    "claimed_by",
    "awaiting",
    "cancelled_at",
    "submitted_by",
    "parent_run_id",
    "traceparent",
    "notify",
)


async def test_answer_201_means_that_the_row_is_committed(
    service: Service, connect: Connect
) -> None:
    """Invariant 1: another connection sees it when the answer is there."""
    program = await service.submit("reserve", "charge")
    row = await connect().read(find, program["run_id"])
    assert row.jobs == ["reserve", "charge"]


async def test_answer_shows_where_the_program_is_and_its_version(service: Service) -> None:
    answer = await service.client.post("/programs", json={"jobs": ["reserve"]})
    program = json_of(answer)
    assert answer.headers["location"] == f"/programs/{program['run_id']}"
    assert answer.headers["content-type"] == "application/json"
    again = await service.client.get(answer.headers["location"])
    assert answer.headers["etag"].startswith('"')  # strong
    assert json_of(again) == program
    assert again.headers["etag"] == answer.headers["etag"]


async def test_defaults_are_filled_in(service: Service) -> None:
    program = await service.submit("reserve", "charge", "ship")
    assert uuid.UUID(program["run_id"]).version == 7
    created = program.pop("created_at")
    assert created.endswith("Z")
    assert datetime.fromisoformat(created) > datetime.now(UTC) - timedelta(minutes=5)
    assert program.pop("updated_at") == program.pop("due_at") == created
    run_id = program.pop("run_id")
    links = program.pop("links")
    assert links["self"] == f"/programs/{run_id}"
    assert links.keys() == {"self", "attempts", "events", "explain", "cancel", "resume"}
    nothing = dict.fromkeys(EMPTY_AT_FIRST)
    assert program == nothing | {
        "status": "pending",
        "jobs": ["reserve", "charge", "ship"],
        "program_data": {},
        "job_data": {},
        "step": 0,
        "step_retry_count": 0,
        "lease_losses": 0,
        "resumes": 0,
        "job": "reserve",
        "queue": "default",
        "labels": {},
        "current_job": "reserve",
        "progress": {"done": 0, "total": 3},
    }


async def test_everything_that_was_sent_is_kept(service: Service) -> None:
    sent: Json = {
        "jobs": ["reserve", "charge", "reserve"],
        "program_data": {
            "customer": 42,
            "deep": {"list": [1, 2.5, None, True, "ü\u2028\U0001f600"]},
        },
        "job_data": {"charge": {"amount": 2**63 - 1, "least": -(2**63)}},
        "labels": {"team": "eu", "Größe": "", "x.y/z": "a:b"},
        "start_at": "2099-01-31T09:00:00+01:00",
    }
    answer = await service.client.post("/programs", json=sent)
    shown = await service.get(json_of(answer)["run_id"])
    assert {name: shown[name] for name in sent if name != "start_at"} == {
        name: value for name, value in sent.items() if name != "start_at"
    }
    assert shown["due_at"] == "2099-01-31T08:00:00Z"
    assert shown["status"] == "scheduled"


async def test_start_in_the_past_is_now(service: Service) -> None:
    program = await service.submit("reserve", start_at="2001-01-01T00:00:00Z")
    assert (program["status"], program["due_at"]) == ("pending", "2001-01-01T00:00:00Z")


async def test_program_goes_to_the_queue_of_its_first_job(service: Service) -> None:
    await register(service.database, "pay", queue="bank")
    assert (await service.submit("pay", "reserve"))["queue"] == "bank"
    assert (await service.submit("reserve", "pay"))["queue"] == "default"


async def test_trace_context_is_kept_and_nonsense_ignored(service: Service) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    for sent, kept in ((trace, trace), ("nonsense", None), (trace.upper(), None)):
        headers = {"traceparent": sent}
        answer = await service.client.post("/programs", json={"jobs": ["reserve"]}, headers=headers)
        assert json_of(answer)["traceparent"] == kept


async def test_batch_stores_all_programs_in_their_order(service: Service) -> None:
    programs = [{"jobs": ["reserve"], "program_data": {"number": n}} for n in range(1_000)]
    answer = await service.client.post("/programs/batch", json={"programs": programs})
    assert answer.status_code == 201
    run_ids = [each["run_id"] for each in json_of(answer)["programs"]]
    assert len(set(run_ids)) == 1_000
    for number in (0, 1, 500, 999):
        assert (await service.get(run_ids[number]))["program_data"] == {"number": number}
    rows = [await row_of(service.database, run_id) for run_id in run_ids[::333]]
    assert len({row["created_at"] for row in rows}) == 1  # one statement, one transaction


async def test_batch_is_all_or_nothing(service: Service) -> None:
    bad: list[Json] = [{"jobs": ["reserve"]}, {"jobs": ["reserve", "chrage"]}]
    answer = await service.client.post("/programs/batch", json={"programs": bad})
    problem = problem_of(answer, 422, "unknown_jobs")
    assert fields_of(problem)["programs[1].jobs[1]"]["hint"] == "did you mean 'charge'?"
    bad = [{"jobs": ["reserve"]}, {"jobs": []}]
    problem = problem_of(
        await service.client.post("/programs/batch", json={"programs": bad}), 422, "invalid"
    )
    assert "programs[1].jobs" in fields_of(problem)
    assert json_of(await service.client.get("/programs"))["programs"] == []


async def test_field_of_a_batch_of_one_is_named_like_any_other(service: Service) -> None:
    answer = await service.client.post("/programs/batch", json={"programs": [{"jobs": ["nope"]}]})
    assert list(fields_of(problem_of(answer, 422, "unknown_jobs"))) == ["programs[0].jobs[0]"]


@pytest.mark.parametrize("count", [0, 1_001])
async def test_batch_has_1_to_1000_programs(service: Service, count: int) -> None:
    programs = [{"jobs": ["reserve"]}] * count
    answer = await service.client.post("/programs/batch", json={"programs": programs})
    assert "programs" in fields_of(problem_of(answer, 422, "invalid"))


async def test_program_has_1_to_1000_jobs(service: Service) -> None:
    assert (await service.submit(*["reserve"] * 1_000))["progress"]["total"] == 1_000
    jobs: Any
    for jobs in ([], ["reserve"] * 1_001):
        answer = await service.client.post("/programs", json={"jobs": jobs})
        assert "jobs" in fields_of(problem_of(answer, 422, "invalid"))


async def test_batch_takes_no_idempotency_key(service: Service) -> None:
    body = {"programs": [{"jobs": ["reserve"]}]}
    headers = {"Idempotency-Key": "key-1"}
    answer = await service.client.post("/programs/batch", json=body, headers=headers)
    problem_of(answer, 422, "idempotency_not_for_batches")


async def test_unknown_jobs_are_listed_with_near_names(service: Service) -> None:
    body = {"jobs": ["reserve", "chrage", "Ship", "xyzzy"]}
    problem = problem_of(await service.client.post("/programs", json=body), 422, "unknown_jobs")
    assert "'chrage'" in problem["detail"]
    assert "'xyzzy'" in problem["detail"]
    fields = fields_of(problem)
    assert fields.keys() == {"jobs[1]", "jobs[2]", "jobs[3]"}
    assert fields["jobs[1]"]["code"] == "unknown_job"
    assert fields["jobs[1]"]["hint"] == "did you mean 'charge'?"
    assert fields["jobs[2]"]["hint"] == "did you mean 'ship'?"
    assert "hint" not in fields["jobs[3]"]


async def test_unknown_jobs_are_accepted_where_the_service_starts_first(service: Service) -> None:
    """Invariant 10: the program is there to be seen, and waits."""
    async with serving(service.database, unknown_jobs="accept") as lenient:
        program = await lenient.submit("nobody_yet", "reserve")
        assert (program["status"], program["queue"]) == ("pending", "default")
        assert (await lenient.explain(program["run_id"]))["reason"] == "no_worker_knows_the_job"


async def test_job_that_is_registered_later_is_known_at_once(service: Service) -> None:
    problem_of(await service.client.post("/programs", json={"jobs": ["new"]}), 422, "unknown_jobs")
    async with serving(service.database, jobs=["new"]):
        assert (await service.submit("new"))["status"] == "pending"
