"""Registering endpoints: over HTTP and by file, with secrets that are shown once."""

from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from calling import hire, put
from endpoint_server import Call, Reply, endpoint
from patience import eventually
from program_executor import JobContext, job
from program_service.api.callback_file import BadCallbackFile, read_file
from program_service.bookkeeping.database import Database
from serving import Service, fields_of, json_of, problem_of, serving

URL = "http://127.0.0.1:9/job"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def fine(_call: Call) -> Reply:
    """Answer that all is well."""
    return Reply(204)


async def test_secret_that_the_service_makes_is_shown_once(service: Service) -> None:
    answer = await service.client.put("/jobs/charge", json={"url": URL})
    assert answer.status_code == 201
    made = json_of(answer)
    assert made["secret"].startswith("whsec_")
    shown = json_of(await service.client.get("/jobs/charge"))
    assert shown["secret"] is None
    assert made["secret"] not in (await service.client.get("/jobs")).text
    assert (shown["kind"], shown["url"], shown["secrets_valid"]) == ("callback", URL, 1)
    assert (shown["timeout_s"], shown["queue"]) == (30.0, "default")
    again = await service.client.put("/jobs/charge", json={"url": URL, "timeout_s": 5})
    assert again.status_code == 200
    assert "secret" not in json_of(again) or json_of(again)["secret"] is None
    assert json_of(again)["timeout_s"] == 5


async def test_secret_of_the_user_is_used_and_not_shown(service: Service) -> None:
    async with endpoint(fine) as server:
        made = await put(service, "charge", server.url, secret=SECRET)
        assert made["secret"] is None
        await hire(service)
        await service.ended((await service.submit("charge"))["run_id"])
    Webhook(SECRET).verify(server.calls[0].body, server.calls[0].headers)


async def test_rotation_signs_with_both_for_a_while(service: Service) -> None:
    async with endpoint(fine) as server:
        old = (await put(service, "charge", server.url))["secret"]
        await hire(service)
        answer = await service.client.post("/jobs/charge/rotate-secret")
        rotated = json_of(answer)
        assert rotated["secrets_valid"] == 2

        async def is_signed_with_the_new_one() -> bool:
            await service.ended((await service.submit("charge"))["run_id"])
            call = server.calls[-1]
            try:
                Webhook(rotated["secret"]).verify(call.body, call.headers)
            except WebhookVerificationError:
                return False
            Webhook(old).verify(call.body, call.headers)
            return True

        await eventually(is_signed_with_the_new_one)
        at_once = await service.client.post("/jobs/charge/rotate-secret", json={"overlap_s": 0})
        assert json_of(at_once)["secrets_valid"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("secret", "short"),
        ("secret", "whsec_" + "a" * 8),
        ("timeout_s", 0),
        ("timeout_s", 1e9),
        ("max_concurrency", 0),
        ("queue", ""),
        ("retry", {"max_attempts": 0}),
        ("retry", {"retries": 3}),
        ("method", "POST"),
    ],
)
async def test_field_that_cannot_be_meant_is_refused(
    service: Service, field: str, value: object
) -> None:
    answer = await service.client.put("/jobs/charge", json={"url": URL, field: value})
    assert any(name.startswith(field) for name in fields_of(problem_of(answer, 422, "invalid")))


@pytest.mark.parametrize("field", ["url", "cancel_url"])
@pytest.mark.parametrize("url", ["http://10.0.0.1/", "https://169.254.169.254/", "ftp://x/", "x"])
async def test_address_that_may_not_be_called_is_refused(
    service: Service, field: str, url: str
) -> None:
    answer = await service.client.put("/jobs/charge", json={"url": URL} | {field: url})
    problem = problem_of(answer, 422, "forbidden_address")
    assert list(fields_of(problem)) == [field]
    assert "rule" in problem["detail"]


async def test_function_of_live_workers_keeps_its_name(service: Service) -> None:
    @job
    async def charge(ctx: JobContext) -> None:
        del ctx

    await hire(service, charge)
    answer = await service.client.put("/jobs/charge", json={"url": URL})
    problem_of(answer, 409, "job_in_process")
    problem_of(await service.client.post("/jobs/charge/rotate-secret"), 404, "job_not_found")


async def test_job_that_programs_need_is_not_deleted(service: Service) -> None:
    await put(service, "charge", URL)
    await put(service, 'ship "fast"/ζ', URL)
    run_id = (await service.submit("charge", 'ship "fast"/ζ', start_at="2999-01-01T00:00:00Z"))[
        "run_id"
    ]
    for name in ("charge", 'ship "fast"/ζ'):
        answer = await service.client.delete(f"/jobs/{name}")
        assert run_id in problem_of(answer, 409, "job_needed")["detail"]
    await service.cancel(run_id)
    for name in ("charge", 'ship "fast"/ζ'):
        assert (await service.client.delete(f"/jobs/{name}")).status_code == 204
        problem_of(await service.client.delete(f"/jobs/{name}"), 404, "job_not_found")


async def test_worker_that_started_first_learns_of_an_endpoint(service: Service) -> None:
    await hire(service)
    async with endpoint(fine) as server:
        await put(service, "charge", server.url)
        program = await service.ended((await service.submit("charge"))["run_id"])
    assert program["status"] == "finished"


async def test_notify_without_a_secret_is_refused(database: Database) -> None:
    async with serving(database, jobs=["reserve"], callback_allow="127.0.0.1") as service:
        answer = await service.client.post("/programs", json={"jobs": ["reserve"], "notify": URL})
        problem = problem_of(answer, 422, "forbidden_address")
    assert "NOTIFY_SECRET" in problem["detail"]
    assert list(fields_of(problem)) == ["notify"]


async def test_file_of_endpoints_is_registered_at_the_start(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(f'[jobs.charge]\nurl = "{URL}"\nsecret = "{SECRET}"\nqueue = "bank"\n')
    async with serving(database, callback_jobs=str(file), callback_allow="127.0.0.1") as service:

        async def is_there() -> bool:
            return (await service.client.get("/jobs/charge")).status_code == 200

        await eventually(is_there)
        assert json_of(await service.client.get("/jobs/charge"))["queue"] == "bank"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write each job as a table"),
        ("x = 1", "write each job as a table"),
        ("[jobs", r"jobs\.toml, line 1: expected"),
        ("[jobs.charge]\n", r"\[jobs.charge\] url: Field required"),
        (f'[jobs.charge]\nurl = "{URL}"\n', r"\[jobs.charge\] secret: it is needed"),
        (f'[jobs.charge]\nurl = "{URL}"\nsecret = "x"\n', r"\[jobs.charge\] secret: a secret is"),
        (f'[jobs.charge]\nurl = "{URL}"\ntimeout = 3\n', r"\[jobs.charge\] timeout"),
    ],
)
def test_file_that_cannot_be_used_says_where_it_is_wrong(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(text)
    with pytest.raises(BadCallbackFile, match=said):
        read_file(file)


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCallbackFile, match=r"nothing\.toml"):
        read_file(tmp_path / "nothing.toml")
