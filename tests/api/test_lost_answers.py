"""Lost answers: a request whose COMMIT was done and not answered is answered as any other.

Rule R4, over HTTP: the same status and body, the same rows, and what is counted and logged, once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from builders import JOBS, a_failure, claimed, stands, submitted
from calling import ALLOW
from forgetting import Forgetful, empty, plain, tables_of
from program_service.api import keys
from program_service.api.auth import digest_of, new_key
from program_service.bookkeeping.ledger.api_keys import ID_DIGITS, ApiKey, add_key
from program_service.bookkeeping.ledger.auditing import Entry
from program_service.bookkeeping.ledger.callbacks import Ticket
from program_service.bookkeeping.ledger.endpoints import put_endpoint
from program_service.bookkeeping.ledger.registry import CALLBACK, Endpoint, Job, Secret, find_job
from program_service.bookkeeping.ledger.sessions import NewSession, begin_session
from program_service.bookkeeping.ledger.steering import cancel
from program_service.bookkeeping.lifecycle import Accepted, Fail
from program_service.webhooks.tokens import write_token
from servers import Connect
from serving import Json, Service, json_of, serving

URL = "http://127.0.0.1:9/charge"
TOKEN_KEY = "ab" * 32
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MADE, OTHER_KEY = new_key("ops"), new_key("ops")
OF_A_BUSY_MACHINE = {"database.unavailable", "loop.blocked"}
"""What background loops log where the tests leave them too little time."""

COUNTED = ("programs_submitted", "programs_finished", "step_attempts", "step_retries")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the functions of the ledger that it may be a transaction of."""

    works: str
    method: str
    path: str
    body: Any = None
    key: str | None = None
    api_key: str | None = None

    async def send(self, service: Service) -> Any:
        """Send it."""
        headers = {"Idempotency-Key": self.key} if self.key else {}
        headers |= {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return await service.client.request(self.method, self.path, json=self.body, headers=headers)


Ask = Callable[[Service], Awaitable[Asked]]
REQUESTS: dict[str, tuple[str, Ask]] = {}
"""{name of a test: (operation_id, how it is asked)}."""


def of(operation_id: str) -> Callable[[Ask], Ask]:
    """List a request."""

    def listed(ask: Ask) -> Ask:
        REQUESTS[ask.__name__] = (operation_id, ask)
        return ask

    return listed


@of("submit_program")
async def submit(_service: Service) -> Asked:
    return Asked("submit_unlocked submit_at_once", "POST", "/programs", {"jobs": ["reserve"]})


@of("submit_program")
async def submit_with_a_key(_service: Service) -> Asked:
    return Asked("submit_unlocked", "POST", "/programs", {"jobs": ["reserve"]}, key="order-1")


@of("submit_programs")
async def submit_a_batch(_service: Service) -> Asked:
    body = {"programs": [{"jobs": ["reserve"]}, {"jobs": ["ship"]}]}
    return Asked("submit submit_at_once", "POST", "/programs/batch", body)


@of("cancel_program")
async def cancel_a_program(service: Service) -> Asked:
    await submitted(service.database, "run-1")
    return Asked("cancel", "POST", "/programs/run-1/cancel")


@of("resume_program")
async def resume_a_program(service: Service) -> Asked:
    await stands(service.database, await claimed(service.database, "run-1"), Fail(a_failure()))
    return Asked("resume", "POST", "/programs/run-1/resume")


@of("resume_program")
async def resume_from_another_step(service: Service) -> Asked:
    await submitted(service.database, "run-1")
    await service.database.transact(cancel, "run-1")
    return Asked("resume", "POST", "/programs/run-1/resume", {"from_step": 1})


@of("replace_job_data")
async def replace_data(service: Service) -> Asked:
    await submitted(service.database, "run-1")
    return Asked("edit_job_data", "PUT", "/programs/run-1/job-data/reserve", {"a": 1})


@of("merge_job_data")
async def merge_data(service: Service) -> Asked:
    await submitted(service.database, "run-1", job_data={"reserve": {"a": 1}})
    return Asked("edit_job_data", "PATCH", "/programs/run-1/job-data/reserve", {"b": 2})


@of("put_job")
async def put_a_new_job(_service: Service) -> Asked:
    return Asked("put_endpoint", "PUT", "/jobs/charge", {"url": URL})


@of("put_job")
async def put_a_job_again(service: Service) -> Asked:
    await _registered(service)
    return Asked("put_endpoint", "PUT", "/jobs/charge", {"url": URL, "timeout_s": 5})


@of("rotate_secret")
async def rotate(service: Service) -> Asked:
    await _registered(service)
    return Asked("rotate_secret", "POST", "/jobs/charge/rotate-secret")


@of("rotate_token_key")
async def rotate_the_token_key(_service: Service) -> Asked:
    return Asked("rotate_token_key", "POST", "/token-keys/rotate")


@of("delete_job")
async def delete(service: Service) -> Asked:
    await _registered(service)
    return Asked("delete_job", "DELETE", "/jobs/charge")


@of("complete_step")
async def complete(service: Service) -> Asked:
    return Asked("settle_callback", "POST", f"{await _awaited(service)}/complete")


@of("complete_step")
async def complete_the_last_step(service: Service) -> Asked:
    path = await _awaited(service, "charge")
    return Asked("settle_callback", "POST", f"{path}/complete", {"job_data": {"n": 1}})


@of("fail_step")
async def fail(service: Service) -> Asked:
    body = {"error": {"message": "no such card"}}
    return Asked("settle_callback", "POST", f"{await _awaited(service)}/fail", body)


@of("fail_step")
async def fail_a_try(service: Service) -> Asked:
    body = {"error": {"message": "busy", "retryable": True, "code": "busy"}}
    return Asked("settle_callback", "POST", f"{await _awaited(service)}/fail", body)


@of("prolong_step")
async def prolong(service: Service) -> Asked:
    return Asked("prolong", "POST", f"{await _awaited(service)}/heartbeat")


@of("merge_step_data")
async def merge_data_of_a_step(service: Service) -> Asked:
    path = f"{await _awaited(service)}/job-data"
    return Asked("merge_callback_data", "PATCH", path, {"page": 7})


@of("make_key")
async def make_a_key(_service: Service) -> Asked:
    return Asked("add_key", "POST", "/keys", {"name": "ops", "scopes": ["admin"]})


@of("revoke_key")
async def revoke_a_key(service: Service) -> Asked:
    admin, mailer = (ApiKey(digest_of(key), "ops", ["admin"]) for key in (MADE, OTHER_KEY))
    for key in (admin, mailer):
        await service.database.transact(add_key, key, _entry())
    return Asked("revoke_key", "DELETE", f"/keys/{mailer.id}", api_key=MADE)


@of("end_session")
async def end_a_session(service: Service) -> Asked:
    session = NewSession(digest_of(OTHER_KEY), digest_of(MADE), "ops")
    await service.database.transact(begin_session, session, _entry(), lasts_s=600.0)
    return Asked("end_session", "DELETE", f"/sessions/{session.digest[:ID_DIGITS]}")


def _entry() -> Entry:
    return Entry("prepared", "ops", "192.0.2.1")


async def _registered(service: Service) -> None:
    endpoint = Endpoint(URL, [Secret(OLD)], TOKEN_KEY)
    policy = {"initial_s": 3_600.0, "jitter": "none"}  # a retry is not due while it is looked at
    job = Job("charge", CALLBACK, "default", 30.0, policy, endpoint=endpoint)
    await service.database.transact(put_endpoint, job, brings_secret=True, beat_s=5.0)


async def _awaited(service: Service, *jobs: str) -> str:
    """Let an endpoint accept a step; return the path of its links."""
    await _registered(service)
    program = await claimed(service.database, "run-1", jobs=jobs or ("charge", "ship"))
    await stands(service.database, program, Accepted(within_s=600))
    ticket = Ticket(program.run_id, program.step, program.resumes, program.attempt)
    return f"/callbacks/{write_token(ticket, 'charge', token_key=TOKEN_KEY)}"


@pytest.fixture(autouse=True)
def _same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the same key each time: two executions are compared."""
    monkeypatch.setattr(keys, "new_key", lambda _name: MADE)


@pytest.fixture
async def forgetful(connect: Connect) -> Forgetful:
    """Return a database that forgets nothing yet."""
    return connect.of(Forgetful)


@pytest.mark.parametrize("name", REQUESTS)
async def test_request_is_answered_as_if_nothing_had_been_lost(
    forgetful: Forgetful, name: str
) -> None:
    undisturbed = await _answered(forgetful, name, answers_to_lose=0)
    assert 200 <= undisturbed["status"] < 300, undisturbed
    assert await _answered(forgetful, name, answers_to_lose=2) == undisturbed


async def test_no_operation_is_missing_here(forgetful: Forgetful) -> None:
    async with serving(forgetful) as service:
        paths = service.app.openapi()["paths"]
    changing = {
        operation["operationId"]
        for path in paths.values()
        for method, operation in path.items()
        if method != "get"
    }
    assert {operation_id for operation_id, _ in REQUESTS.values()} == changing


@pytest.mark.parametrize("name", ["put_a_new_job", "rotate"])
async def test_secret_that_is_shown_is_the_one_that_signs(forgetful: Forgetful, name: str) -> None:
    async with serving(forgetful, jobs=JOBS, callback_allow=ALLOW) as service:
        asked = await REQUESTS[name][1](service)
        forgetful.losses.to_come, forgetful.losses.of_works = 2, asked.works.split()
        shown = json_of(await asked.send(service))["secret"]
        job = await forgetful.read(find_job, "charge")
    assert job.endpoint is not None
    secrets = [each.secret for each in job.endpoint.secrets]
    assert secrets == ([shown] if name == "put_a_new_job" else [shown, OLD])


async def _answered(forgetful: Forgetful, name: str, *, answers_to_lose: int) -> Json:
    """Ask on empty tables; return the answer, the tables, and what was counted and logged."""
    await empty(forgetful)
    async with serving(forgetful, jobs=JOBS, callback_allow=ALLOW) as service:
        asked = await REQUESTS[name][1](service)
        forgetful.losses.to_come = answers_to_lose
        forgetful.losses.of_works = asked.works.split()
        with capture_logs() as lines:
            answer = await asked.send(service)
        assert forgetful.losses.to_come == 0
        return {
            "status": answer.status_code,
            "body": plain(answer.json() if answer.content else None),
            "counted": _counted(service),
            "logged": [plain(line) for line in lines if line["event"] not in OF_A_BUSY_MACHINE],
            "tables": _without_wakeups(await tables_of(forgetful)),
        }


def _counted(service: Service) -> Json:
    return {
        f"{sample.name} {sample.labels}": sample.value
        for family in service.metrics.registry.collect()
        if family.name.removeprefix("program_executor_") in COUNTED
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def _without_wakeups(tables: Json) -> Json:
    """Return the tables without what the relay does after the answer."""
    for rows in tables.values():
        for row in rows:
            row.pop("woken_at", None)
    return tables
