"""Registry: which jobs there are, and which workers live."""

import os
from datetime import datetime
from urllib.parse import quote

import pytest

from patience import eventually
from program_executor import JobContext, Retry, job
from program_service.telemetry import VERSION
from servers import on_sqlite
from serving import Service, json_of, problem_of, register

pytestmark = on_sqlite  # the contract's tests look at both

POLICY = Retry(max_attempts=3, initial_s=0.5, factor=3.0, max_s=60.0, jitter="none")


@job("pay", timeout_s=12.5, retry=POLICY, queue="bank")
async def pay(_ctx: JobContext) -> None:
    """Stand with terms of its own."""


@job
async def note(_ctx: JobContext) -> None:
    """Stand with the default terms."""


async def test_jobs_show_their_terms_and_who_knows_them(service: Service) -> None:
    both = await service.crew.hire(pay, note)
    one = await service.crew.hire(note)
    answer = await service.client.get("/jobs")
    jobs = {each["name"]: each for each in json_of(answer)["jobs"]}
    assert list(jobs) == ["charge", "note", "pay", "reserve", "ship"]
    pay_job = jobs["pay"]
    assert datetime.fromisoformat(pay_job.pop("last_seen_at")).tzinfo is not None
    assert datetime.fromisoformat(pay_job.pop("created_at")).tzinfo is not None
    assert pay_job == {
        "name": "pay",
        "kind": "in_process",
        "queue": "bank",
        "timeout_s": 12.5,
        "retry": {
            "max_attempts": 3,
            "initial_s": 0.5,
            "factor": 3.0,
            "max_s": 60.0,
            "jitter": "none",
        },
        "workers": [both.worker.name],
        # those of endpoints
        "url": None,
        "cancel_url": None,
        "max_concurrency": None,
        "secrets_valid": 0,
        "disabled_at": None,
        "flaw": None,
        "secret": None,
    }
    assert jobs["note"]["workers"] == sorted([both.worker.name, one.worker.name])
    assert (jobs["note"]["queue"], jobs["note"]["timeout_s"]) == ("default", None)
    assert jobs["note"]["retry"]["max_attempts"] == 25


async def test_job_stays_known_when_its_workers_have_gone(service: Service) -> None:
    shift = await service.crew.hire(pay)
    await shift.stop()
    found = json_of(await service.client.get("/jobs/pay"))
    assert (found["name"], found["workers"]) == ("pay", [])
    assert (await service.submit("pay"))["queue"] == "bank"


@pytest.mark.parametrize("name", ["mail/welcome", "a b", "ünïcödé", "50%", "a?b#c"])
async def test_any_job_name_has_an_address(service: Service, name: str) -> None:
    await register(service.database, name)
    answer = await service.client.get(f"/jobs/{quote(name, safe='')}")
    assert answer.status_code == 200, answer.text
    assert json_of(answer)["name"] == name


async def test_job_that_was_never_registered_is_not_found(service: Service) -> None:
    problem = problem_of(await service.client.get("/jobs/nope"), 404, "job_not_found")
    assert "'nope'" in problem["detail"]


async def test_last_worker_says_what_holds_of_a_job(service: Service) -> None:
    await service.crew.hire(pay)
    await service.crew.hire(pay.named("pay", queue="other bank", timeout_s=1.0))
    found = json_of(await service.client.get("/jobs/pay"))
    assert (found["queue"], found["timeout_s"]) == ("other bank", 1.0)


async def test_workers_show_what_they_are_and_do(service: Service) -> None:
    await service.crew.hire(
        pay, note, worker_name="busy bee", queues=["default", "bank"], concurrency=7
    )
    (worker,) = json_of(await service.client.get("/workers"))["workers"]
    started, seen = worker.pop("started_at"), worker.pop("last_seen_at")
    assert datetime.fromisoformat(started) <= datetime.fromisoformat(seen)
    assert worker.pop("host")
    assert worker.pop("process").startswith("busy bee~")
    assert worker.pop("pid") == os.getpid()
    assert worker == {
        "name": "busy bee",
        "version": VERSION,
        "queues": ["default", "bank"],
        "jobs": ["note", "pay"],
        "slots": 7,
        "busy": 0,
        "is_draining": False,
        "endpoints": {"breakers": {}, "job_breakers": {}, "running": {}, "limits": {}},
    }


async def test_worker_that_stopped_is_gone_from_the_list(service: Service) -> None:
    shift = await service.crew.hire(pay)
    await shift.stop()
    assert json_of(await service.client.get("/workers"))["workers"] == []


async def test_worker_that_was_killed_is_gone_after_three_beats(service: Service) -> None:
    """The service reckons with beats of one second here."""
    shift = await service.crew.hire(pay)
    await shift.kill()
    assert json_of(await service.client.get("/workers"))["workers"]

    async def is_gone() -> bool:
        return not json_of(await service.client.get("/workers"))["workers"]

    await eventually(is_gone)


async def test_function_of_live_workers_is_not_deleted(service: Service) -> None:
    """Workers register their functions when they start, and so nobody would know it any more."""
    worker = await service.crew.hire(note)
    answer = await service.client.delete("/jobs/note")
    assert "stop them" in problem_of(answer, 409, "job_in_process")["detail"]
    assert (await service.submit("note"))["jobs"] == ["note"]
    await service.ended((await service.submit("note"))["run_id"])
    await worker.stop()
    assert (await service.client.delete("/jobs/note")).status_code == 204
