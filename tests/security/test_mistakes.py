"""Mistakes: an answer describes few of them, is short, and costs the event loop little."""

import difflib
import threading
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from builders import JOBS
from program_service.api import problems, submit_route
from program_service.api.problems import MOST_COMPARED, MOST_MISTAKES
from program_service.bookkeeping.database import Database
from servers import on_sqlite
from serving import Service, problem_of, register, serving

pytestmark = on_sqlite

MOST_OF_AN_ANSWER = 30_000
HEADERS = {"Content-Type": "application/json"}
UNKNOWN = {f"field{number}": number for number in range(50_000)}

BODIES: dict[str, tuple[str, str, Any]] = {
    "program": ("POST", "/programs", {"jobs": ["reserve"], **UNKNOWN}),
    "batch": ("POST", "/programs/batch", {"programs": [{"jobs": ["reserve"]}], **UNKNOWN}),
    "programs-of-a-batch": (
        "POST",
        "/programs/batch",
        {"programs": [dict.fromkeys(list(UNKNOWN)[:60])] * 900},
    ),
    "no-programs": ("POST", "/programs/batch", {"programs": [7] * 900}),
    "unknown-jobs": ("POST", "/programs", {"jobs": [f"reserv{number}" for number in range(900)]}),
    "one-unknown-job": ("POST", "/programs", {"jobs": ["reserv"] * 900}),
    "jobs-are-numbers": ("POST", "/programs", {"jobs": [1] * 900}),
    "labels": ("POST", "/programs", {"jobs": ["reserve"], "labels": UNKNOWN}),
    "job-data": ("POST", "/programs", {"jobs": ["reserve"], "job_data": UNKNOWN}),
    "job-data-of-others": (
        "POST",
        "/programs",
        {"jobs": ["reserve"], "job_data": {"x" * 250 + str(number): {} for number in range(900)}},
    ),
    "long-name": ("POST", "/programs", {"jobs": ["reserve"], "\n" * 400_000: 1}),
    "endpoint": ("PUT", "/jobs/charge", {"url": "https://shop.example/", **UNKNOWN}),
    "retry": ("PUT", "/jobs/charge", {"url": "https://shop.example/", "retry": UNKNOWN}),
    "rotation": ("POST", "/jobs/charge/rotate-secret", UNKNOWN),
    "resume": ("POST", "/programs/nobody/resume", UNKNOWN),
}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve, with 2,000 known jobs."""
    async with serving(database, jobs=JOBS) as served:
        await register(database, *(f"reserve{number:04}" for number in range(2_000)))
        yield served


async def sent(service: Service, method: str, path: str, body: Any) -> Any:
    """Send a body."""
    return await service.client.request(method, path, content=orjson.dumps(body), headers=HEADERS)


@pytest.mark.parametrize("name", BODIES)
async def test_few_mistakes_are_described(service: Service, name: str) -> None:
    answer = await sent(service, *BODIES[name])
    problem = problem_of(answer, 422, "unknown_jobs" if "unknown-job" in name else "invalid")
    assert 1 <= len(problem["errors"]) <= MOST_MISTAKES
    assert len(answer.content) <= MOST_OF_AN_ANSWER


async def test_many_parameters_are_described_as_few(service: Service) -> None:
    parameters = "&".join(f"parameter{number}=1" for number in range(3_000))
    answer = await service.client.get(f"/programs?{parameters}")
    assert len(problem_of(answer, 422, "invalid")["errors"]) == MOST_MISTAKES
    assert len(answer.content) <= MOST_OF_AN_ANSWER


async def test_hints_are_looked_for_once_for_each_name(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    closest = difflib.get_close_matches

    def counted(word: str, among: Any, **options: Any) -> Any:
        compared.append(len(among))
        return closest(word, among, **options)

    monkeypatch.setattr(problems, "get_close_matches", counted)
    programs = [{"jobs": [f"reserv{number}", "resreve"]} for number in range(1_000)]
    answer = await sent(service, "POST", "/programs/batch", {"programs": programs})
    problem = problem_of(answer, 422, "unknown_jobs")
    assert len(problem["errors"]) == MOST_MISTAKES
    assert "and 991 more" in problem["detail"]
    assert problem["errors"][1]["hint"] == "did you mean 'reserve'?"
    assert len(compared) == MOST_MISTAKES / 2 + 1
    assert max(compared) == MOST_COMPARED


@pytest.mark.parametrize("header", ["Content-Encoding", "Content-Type", "Host", "Idempotency-Key"])
async def test_long_header_is_not_sent_back(service: Service, header: str) -> None:
    headers = HEADERS | {header: "x" * 60_000}
    answer = await service.client.post("/programs", json={"jobs": ["reserve"]}, headers=headers)
    assert 400 <= answer.status_code < 500
    assert len(answer.content) <= MOST_OF_AN_ANSWER / 10


async def test_long_path_is_not_sent_back(service: Service) -> None:
    answer = await service.client.get(f"/{'x' * 60_000}")
    assert answer.status_code == 404
    assert len(answer.content) <= MOST_OF_AN_ANSWER / 10


@pytest.mark.parametrize("path", ["/programs", "/programs/batch"])
async def test_long_body_is_read_beside_the_event_loop(
    service: Service, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, threads = submit_route._checked, list[str]()

    def noted(model: Any, value: Any) -> Any:
        threads.append(threading.current_thread().name)
        return checked(model, value)

    monkeypatch.setattr(submit_route, "_checked", noted)
    for data in ({}, {"text": "x" * 100_000}):
        program = {"jobs": ["reserve"], "program_data": data}
        body = program if path == "/programs" else {"programs": [program]}
        assert (await service.client.post(path, json=body)).status_code == 201
    assert [name == "MainThread" for name in threads] == [True, False]
