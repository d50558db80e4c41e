"""The example endpoints, one suite over every language: signatures, once only, now and later."""

import asyncio

import pytest

from endpoints.playing import OTHER_SECRET, SECRET, Json, PlayedService, Step
from program_executor.endpoint_check.calling import Plan
from program_executor.endpoint_check.checks import check_endpoint
from program_executor.endpoint_check.findings import Verdict

PRICES = {"prices": [5, 7]}
TOTAL = {"job_data": {"total": 12}}
ROUNDS = {"rounds": 2, "pause_s": 0.01}
FINE = {Verdict.RIGHT, Verdict.NOTE}
RUNS_TWICE_WITHIN_S = 0.3
"""By then a second run, which must not be, would have said something."""


def quick(url: str, service: PlayedService) -> Step:
    return Step(f"{url}/quick", service, "quick", PRICES)


def slow(url: str, service: PlayedService) -> Step:
    return Step(f"{url}/slow", service, "slow", ROUNDS)


async def test_quick_job_answers_its_job_data(endpoint_url: str, service: PlayedService) -> None:
    answer = await quick(endpoint_url, service).call()
    assert (answer.status_code, answer.json()) == (200, TOTAL)
    assert service.said == []


@pytest.mark.parametrize(("job", "data"), [("quick", PRICES), ("slow", ROUNDS)])
async def test_example_passes_the_check(endpoint_url: str, job: str, data: Json) -> None:
    plan = Plan(f"{endpoint_url}/{job}", SECRET, job, data)
    report = await check_endpoint(plan, lambda _finding: None)
    assert [each for each in report.findings if each.verdict not in FINE] == []
    assert {"call", "replay", "wrong signature", "changed body", "old timestamp"} <= {
        each.check for each in report.findings if each.verdict is Verdict.RIGHT
    }


async def test_step_that_is_called_again_has_the_same_answer(
    endpoint_url: str, service: PlayedService
) -> None:
    step = quick(endpoint_url, service)
    first = await step.call()
    step.program_data = {"prices": [1]}
    again = await step.call()
    assert (again.status_code, again.json()) == (200, first.json())


async def test_error_that_stays_is_said_in_the_answer(
    endpoint_url: str, service: PlayedService
) -> None:
    step = quick(endpoint_url, service)
    step.program_data = {}
    answer = await step.call()
    assert answer.json() == {"error": {"message": "no prices", "retryable": False}}
    step.program_data = PRICES  # errors are not kept: the program may be resumed
    assert (await step.call()).json() == TOTAL


@pytest.mark.parametrize(
    ("age_s", "secrets", "spoil"),
    [
        (0, (OTHER_SECRET,), b""),
        (0, (), b""),
        (0, (SECRET,), b" "),
        (400, (SECRET,), b""),
        (-400, (SECRET,), b""),
    ],
    ids=["another secret", "no signature", "another body", "too old", "too new"],
)
async def test_call_that_is_not_ours_is_refused(
    endpoint_url: str, service: PlayedService, age_s: int, secrets: tuple[str, ...], spoil: bytes
) -> None:
    step = quick(endpoint_url, service)
    answer = await step.call(age_s=age_s, secrets=secrets, spoil=spoil)
    assert answer.status_code == 401
    assert "total" not in answer.text


async def test_two_signatures_are_fine_when_one_fits(
    endpoint_url: str, service: PlayedService
) -> None:
    answer = await quick(endpoint_url, service).call(secrets=(OTHER_SECRET, SECRET))
    assert answer.json() == TOTAL


async def test_slow_job_is_accepted_asks_for_time_and_completes(
    endpoint_url: str, service: PlayedService
) -> None:
    step = slow(endpoint_url, service)
    assert (await step.call()).status_code == 202
    (completed,) = await service.hear(step.run_id, "complete")
    assert completed.body == {"job_data": {"rounds": 2}}
    assert len(service.heard(step.run_id, "heartbeat")) == 2
    assert service.heard(step.run_id, "fail") == []


async def test_slow_job_that_is_called_again_runs_once_and_completes_by_the_newest_links(
    endpoint_url: str, service: PlayedService
) -> None:
    step = slow(endpoint_url, service)
    service.gate.clear()  # it waits in its first heartbeat
    assert (await step.call()).status_code == 202
    await service.hear(step.run_id, "heartbeat")
    assert (await step.call()).status_code == 202
    await asyncio.sleep(RUNS_TWICE_WITHIN_S)
    service.gate.set()
    (completed,) = await service.hear(step.run_id, "complete")
    assert completed.attempt == 2
    assert [each.attempt for each in service.heard(step.run_id, "heartbeat")] == [1, 2]
    late = await step.call()  # as if the completion had been lost
    assert (late.status_code, late.json()) == (200, {"job_data": {"rounds": 2}})


async def test_slow_job_says_by_a_link_that_it_failed(
    endpoint_url: str, service: PlayedService
) -> None:
    step = slow(endpoint_url, service)
    step.program_data = {}
    assert (await step.call()).status_code == 202
    (failed,) = await service.hear(step.run_id, "fail")
    assert failed.body["error"]["message"]
    assert failed.body["error"]["retryable"] is False


async def test_slow_job_ends_when_its_step_has_moved_on(
    endpoint_url: str, service: PlayedService
) -> None:
    step = slow(endpoint_url, service)
    service.moved_on.add((step.run_id, 1))
    await step.call()
    await step.call()  # of a step that was resumed, say: it begins anew, or goes on
    assert (await service.hear(step.run_id, "complete"))[0].attempt == 2


async def test_completion_is_said_again_when_the_service_was_unwell(
    endpoint_url: str, service: PlayedService
) -> None:
    step = slow(endpoint_url, service)
    service.unwell = 2
    await step.call()
    assert (await service.hear(step.run_id, "complete"))[0].body == {"job_data": {"rounds": 2}}
