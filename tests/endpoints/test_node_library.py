"""A job library of the Node library, served as it is: data, errors, checkpoints, long jobs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from endpoints.playing import OTHER_SECRET, PlayedService, Step
from endpoints.starting import EXAMPLES, running, tool

LOCK_FILES = ["endpoints/node/package-lock.json", "node-library/package-lock.json"]
LIBRARY = """
const later = () => new Promise((resolve) => setTimeout(resolve, 50));
const job = (execute) => ({ create: (programData) => ({ execute: execute.bind(programData) }) });
module.exports = {
  told: job(async function (message, data) { await data.merge({ message, programData: this }); }),
  data: job(async (message, data) => {
    await data.set({ a: 1, b: { c: [2] }, d: undefined, when: new Date(0) });
    await data.merge({ a: null, e: 3 });
    await data.merge({ seen: await data.get() });
    (await data.get()).b.c.push('no one sees this');
    await data.merge({ again: (await data.get()).b });
  }),
  text: job(() => { throw 'a text'; }),
  nothing: job(() => Promise.reject()),
  many: job(async (message, data) => { await data.set([1]); }),
  slips: job(async (message, data) => { await later(); await data.checkpoint({ n: 1 }, 1); }),
};
"""


def charge(url: str, service: PlayedService, **program_data: Any) -> Step:
    return Step(url, service, "charge", {"cents": 500} | program_data)


def pages(url: str, service: PlayedService, **program_data: Any) -> Step:
    return Step(url, service, "import_customers", {"pages": 3} | program_data)


@pytest.fixture(scope="module")
def strange_url(library_folder: Path) -> Any:
    """Serve a library of jobs that do what libraries may do."""
    (library_folder / "strange.js").write_text(LIBRARY)
    command = [tool("node"), "serve.js", "./strange"]
    with running(command, folder=library_folder) as url:
        yield url


async def test_job_is_told_what_the_library_tells(strange_url: str, service: PlayedService) -> None:
    step = Step(strange_url, service, "told", {"shop": 1})
    assert (await step.call()).status_code == 204
    message = {"runId": step.run_id, "jobs": ["told", "later"], "programData": {"shop": 1}}
    assert service.job_data[step.run_id] == {"message": message, "programData": {"shop": 1}}


async def test_job_data_are_read_set_and_merged(strange_url: str, service: PlayedService) -> None:
    step = Step(strange_url, service, "data")
    service.job_data[step.run_id] = {"old": 1, "a": 0}
    assert (await step.call()).status_code == 204
    when = "1970-01-01T00:00:00.000Z"
    data = service.job_data[step.run_id]
    assert data.pop("seen") == {"b": {"c": [2]}, "when": when, "e": 3}
    assert data.pop("again") == {"c": [2]}
    assert data == {"old": None, "a": None, "d": None, "b": {"c": [2]}, "when": when, "e": 3}


async def test_set_leaves_nothing_of_what_was_there_to_be_read(
    library_url: str, service: PlayedService
) -> None:
    step = Step(library_url, service, "summarize")
    service.job_data[step.run_id] = {"x": 1, "y": 2}
    assert (await step.call()).status_code == 204
    expected = {"x": None, "y": None, "summary": ["x", "y"], "left": ["summarize", "later"]}
    assert service.job_data[step.run_id] == expected


async def test_step_that_is_done_is_not_run_again(library_url: str, service: PlayedService) -> None:
    step = charge(library_url, service)
    assert (await step.call()).status_code == 204
    assert service.job_data[step.run_id] == {"receipt": f"{step.run_id}: 500 cents"}
    assert (await step.call()).status_code == 204
    assert len(service.heard(step.run_id, "job-data")) == 1


@pytest.mark.parametrize(
    ("program_data", "error"),
    [
        (
            {"card": "busy"},
            {"message": "the bank is busy", "retryable": True, "ignorable": False, "code": "503"},
        ),
        (
            {"card": "declined"},
            {
                "message": "the card was declined",
                "retryable": False,
                "ignorable": True,
                "code": "402",
            },
        ),
        (
            {"cents": "many"},
            {
                "message": "this._cents.toFixed is not a function",
                "retryable": False,
                "ignorable": False,
            },
        ),
    ],
    ids=["retryable", "ignorable", "any other"],
)
async def test_error_of_a_job_is_answered(
    library_url: str, service: PlayedService, program_data: dict[str, Any], error: dict[str, Any]
) -> None:
    step = charge(library_url, service, **program_data)
    assert (await step.call()).json() == {"error": error}
    step.program_data = {"cents": 1}  # what failed is run again
    assert (await step.call()).status_code == 204


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("text", "a text"),
        ("nothing", "the job threw undefined"),
        ("many", "job data are an object"),
        ("toString", "no job of this library is named 'toString'"),
    ],
)
async def test_whatever_is_thrown_is_told(
    strange_url: str, service: PlayedService, job: str, message: str
) -> None:
    error = (await Step(strange_url, service, job).call()).json()["error"]
    assert error == {"message": message, "retryable": False, "ignorable": False}


async def test_checkpoint_over_its_time_puts_the_step_back(
    strange_url: str, service: PlayedService
) -> None:
    step = Step(strange_url, service, "slips")
    error = (await step.call()).json()["error"]
    assert re.fullmatch(r"Execution time exceeded \(\d+ ms\)", error["message"])
    assert (error["retryable"], error["code"]) == (True, "execution_time_exceeded")
    assert service.job_data[step.run_id] == {"n": 1}


async def test_job_goes_on_from_its_checkpoint(library_url: str, service: PlayedService) -> None:
    step = pages(library_url, service)
    service.job_data[step.run_id] = {"page": 2}
    assert (await step.call()).status_code == 204
    assert [each.body for each in service.heard(step.run_id, "job-data")] == [{"page": 3}]


async def test_long_job_is_accepted_asks_for_time_and_completes(
    late_library_url: str, service: PlayedService
) -> None:
    step = pages(late_library_url, service)
    step.timeout_s = 0.3
    service.gate.clear()  # it waits in its first checkpoint
    assert (await step.call()).status_code == 202
    await service.hear(step.run_id, "heartbeat")
    service.gate.set()
    (completed,) = await service.hear(step.run_id, "complete")
    assert completed.body == {}
    assert service.job_data[step.run_id] == {"page": 3}
    assert (await step.call()).status_code == 204


async def test_long_job_says_by_a_link_that_it_failed(
    late_library_url: str, service: PlayedService
) -> None:
    step = pages(late_library_url, service, patience=1)
    step.timeout_s = 0.3
    service.gate.clear()
    assert (await step.call()).status_code == 202
    await service.hear(step.run_id, "heartbeat")
    service.gate.set()  # by now it has taken longer than a millisecond
    (failed,) = await service.hear(step.run_id, "fail")
    assert failed.body["error"]["retryable"] is True
    assert failed.body["error"]["code"] == "execution_time_exceeded"


async def test_long_job_that_is_called_again_runs_once_and_completes_by_the_newest_links(
    late_library_url: str, service: PlayedService
) -> None:
    step = pages(late_library_url, service)
    service.gate.clear()
    assert (await step.call()).status_code == 202
    assert (await step.call()).status_code == 202
    service.gate.set()
    (completed,) = await service.hear(step.run_id, "complete")
    assert completed.attempt == 2
    pages_stored = [each.body["page"] for each in service.heard(step.run_id, "job-data")]
    assert pages_stored == [1, 2, 3]


async def test_job_whose_step_has_moved_on_stops_at_its_next_word(
    library_url: str, service: PlayedService
) -> None:
    step = pages(library_url, service)
    service.moved_on.add((step.run_id, 1))
    error = (await step.call()).json()["error"]
    assert error["message"].startswith("job_data: the step has moved on")
    assert service.said == []


async def test_word_is_said_again_when_the_service_was_unwell(
    library_url: str, service: PlayedService
) -> None:
    step = charge(library_url, service)
    service.unwell = 2
    assert (await step.call()).status_code == 204
    assert len(service.heard(step.run_id, "job-data")) == 1


@pytest.mark.parametrize("age_s", [400, -400])
async def test_call_of_another_time_is_refused(
    library_url: str, service: PlayedService, age_s: int
) -> None:
    assert (await charge(library_url, service).call(age_s=age_s)).status_code == 401


async def test_call_that_is_not_ours_is_refused(library_url: str, service: PlayedService) -> None:
    step = charge(library_url, service)
    assert (await step.call(secrets=(OTHER_SECRET,))).status_code == 401
    assert (await step.call(spoil=b" ")).status_code == 401
    assert service.said == []


@pytest.mark.parametrize("name", LOCK_FILES)
def test_lock_file_names_the_public_registry(name: str) -> None:
    packages = json.loads((EXAMPLES / name).read_text())["packages"]
    resolved = [package["resolved"] for path, package in packages.items() if path]
    assert resolved
    assert all(url.startswith("https://registry.npmjs.org/") for url in resolved)
