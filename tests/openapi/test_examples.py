"""Examples: each fits its schema, and the service takes and answers what they show."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from builders import JOBS
from contracts import Operation, misfits, operations, shown
from keys import KEYS, entry_of
from program_executor import JobContext, RetryableError, job
from program_service.api.auth import Scope, digest_of, new_key
from program_service.api.contract.examples import RUN_ID, SECRET
from program_service.api.contract.operations import OPERATIONS
from program_service.bookkeeping.database import Database
from servers import on_postgresql, on_sqlite
from serving import Service, json_of, serving

Json = dict[str, Any]

JSON = "application/json"


@job
async def reserve(ctx: JobContext) -> dict[str, int]:
    """Fail once."""
    if ctx.attempt == 1:
        raise RetryableError("the desk is closed", after=0)
    return {"seat": 12}


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Service]:
    """Serve as the examples want it: any job is known, and ends can be told."""
    async with serving(database, jobs=JOBS, unknown_jobs="accept", notify_secret=SECRET) as served:
        yield served


def bodies(operation: Operation) -> Json:
    """Return {kind: content} of what an operation takes."""
    return dict(operation.said.get("requestBody", {}).get("content", {}))


@pytest.mark.parametrize("within", ["paths", "webhooks"])
def test_every_body_and_answer_has_an_example_that_fits(document: Json, within: str) -> None:
    count = 0
    for operation in operations(document, within=within):
        answers = operation.said["responses"].items()
        contents = [("body", *each) for each in bodies(operation).items()] + [
            (status, *each)
            for status, answer in answers
            for each in answer.get("content", {}).items()
        ]
        for what, kind, content in contents:
            where = (operation.name, what)
            examples = shown(document, content)
            assert examples or "openmetrics" in kind, where
            for name, value in examples.items():
                assert misfits(document, content["schema"], value) == [], (*where, name)
                count += 1
    assert count > 3


def test_every_parameter_of_a_path_has_an_example(document: Json) -> None:
    for operation in operations(document):
        for parameter in operation.said.get("parameters", ()):
            if parameter["in"] == "path":
                (example, *_) = parameter["schema"]["examples"]
                assert misfits(document, parameter["schema"], example) == []


@on_sqlite
async def test_service_takes_what_the_examples_show(database: Database, document: Json) -> None:
    options: Json = {"unknown_jobs": "accept", "notify_secret": SECRET}
    async with serving(database, jobs=JOBS, api_keys=entry_of("admin"), **options) as service:
        service.client.headers["Authorization"] = f"Bearer {KEYS['admin']}"
        await _send_examples(service, document)


async def _send_examples(service: Service, document: Json) -> None:
    by_name = {operation.name: operation for operation in operations(document)}
    order = OPERATIONS["submit_program"].body["at_once"]
    for name, example in OPERATIONS.items():
        if name.startswith(("rotate", "delete")):
            await service.client.put(
                "/jobs/send_invoice", json=OPERATIONS["put_job"].body["endpoint"]
            )
        for body in example.body.values() or [None]:
            run_id = (await service.client.post("/programs", json=order)).json()["run_id"]
            if name == "resume_program":
                await service.cancel(run_id)
            if name == "watch_program":
                await service.cancel(run_id)  # so that the stream ends
            path = example.instance.replace(RUN_ID, run_id)
            answer = await service.client.request(by_name[name].method, path, json=body)
            _fits(document, by_name[name], answer)
            expected = 404 if path.startswith("/callbacks/") else 300
            is_missing = (
                name in {"get_job", "revoke_key", "end_session"} and answer.status_code == 404
            )
            assert answer.status_code < 300 or answer.status_code == expected or is_missing, (
                answer.text
            )


@on_postgresql
async def test_answers_are_as_the_document_says(service: Service, document: Json) -> None:
    """Fields that the document does not know are found by the examples having all of them."""
    await service.crew.hire(reserve)
    program = await service.submit("reserve", labels={"team": "eu"})
    run_id = program["run_id"]
    ended = await service.ended(run_id)
    assert ended.keys() == OPERATIONS["get_program"].answers[200]["finished"].keys()
    by_name = {operation.name: operation for operation in operations(document)}
    paths = {
        "get_program": f"/programs/{run_id}",
        "list_programs": "/programs",
        "list_attempts": f"/programs/{run_id}/attempts",
        "explain_program": f"/programs/{run_id}/explain",
        "list_jobs": "/jobs",
        "get_job": "/jobs/reserve",
        "list_workers": "/workers",
        "live": "/livez",
        "ready": "/readyz",
    }
    for name, path in paths.items():
        answer = await service.client.get(path)
        assert answer.status_code == 200
        _fits(document, by_name[name], answer)
        (example, *_) = OPERATIONS[name].answers[200].values()
        _require_same_fields(json_of(answer), example)


@on_sqlite
async def test_scopes_are_those_that_the_service_wants(database: Database, document: Json) -> None:
    keys = {scope: new_key(scope.value) for scope in Scope}
    but = {scope: new_key(f"but-{scope.value}") for scope in Scope}
    entries = [f"{scope.value}={scope.value}:{digest_of(key)}" for scope, key in keys.items()]
    for scope, key in but.items():
        others = "+".join(other for other in Scope if other not in {scope, Scope.ADMIN})
        entries.append(f"but-{scope.value}={others}:{digest_of(key)}")
    async with serving(database, api_keys=" ".join(entries)) as guarded:

        async def status(operation: Operation, key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            path = OPERATIONS[operation.name].instance
            sent: Json | None = {} if bodies(operation) else None
            answer = await guarded.client.request(
                operation.method, path, headers=headers, json=sent
            )
            return answer.status_code

        for operation in operations(document):
            wanted = OPERATIONS[operation.name].scope
            if wanted is None:
                assert await status(operation, None) not in {401, 403}, operation.name
                continue
            assert operation.said["security"] == [{}, {wanted.value: []}]
            assert await status(operation, None) == 401, operation.name
            assert await status(operation, but[wanted]) == 403, operation.name
            assert await status(operation, keys[wanted]) not in {401, 403}, operation.name


async def test_served_document_is_the_generated_one(service: Service, document: Json) -> None:
    assert (await service.client.get("/openapi.json")).json() == document


def _fits(document: Json, operation: Operation, answer: httpx.Response) -> None:
    said = operation.said["responses"][str(answer.status_code)]
    if "content" not in said:
        assert not answer.content
        return
    kind = answer.headers["content-type"].partition(";")[0]
    content = said["content"][kind]
    if kind == JSON or kind.endswith("+json"):
        assert misfits(document, content["schema"], answer.json()) == [], operation.name
    if kind == "application/problem+json":
        assert answer.json()["code"] in content["examples"]


def _require_same_fields(value: Any, example: Any) -> None:
    """Require the same names of fields, as deep as lists of objects go on both sides."""
    if isinstance(value, dict):
        assert value.keys() == example.keys()
        for name in value:
            if isinstance(value[name], list):
                _require_same_fields(value[name], example[name])
    if isinstance(value, list) and value and example:
        _require_same_fields(value[0], example[0])
