"""OpenAPI: the committed document is the API's, is valid, and what is answered is as it says."""

from pathlib import Path

import orjson
from openapi_spec_validator import OpenAPIV31SpecValidator

from program_executor import JobContext, RetryableError, job
from program_executor.commands.documents import openapi_document
from program_service.api.views import (
    AttemptListModel,
    ExplanationModel,
    JobListModel,
    ProgramListModel,
    ProgramModel,
    WorkerListModel,
)
from servers import on_postgresql
from serving import Service

ROOT = Path(__file__).parents[2]


@job
async def reserve(ctx: JobContext) -> dict[str, int]:
    """Fail once."""
    if ctx.attempt == 1:
        raise RetryableError("the desk is closed", after=0)
    return {"seat": 12}


def test_committed_document_is_the_generated_one() -> None:
    committed = orjson.loads((ROOT / "openapi" / "program-executor.json").read_bytes())
    assert committed == openapi_document(), "run `make generate`"


def test_document_is_valid_openapi_3_1() -> None:
    document = openapi_document()
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_route_documents_its_problems() -> None:
    for path, methods in openapi_document()["paths"].items():
        if path in {"/livez", "/readyz", "/metrics"}:
            continue
        for method, operation in methods.items():
            answers = operation["responses"]
            assert {"401", "403", "422", "503"} <= answers.keys(), (method, path)
            # what is put need not be there before
            may_be_missing = "{" in path and (method, path) != ("put", "/jobs/{name}")
            assert ("404" in answers) == may_be_missing, (method, path)
            assert operation["summary"]
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


@on_postgresql
async def test_answers_are_as_the_document_says(service: Service) -> None:
    """Extra fields are refused by the models, so none is forgotten in the document."""
    await service.crew.hire(reserve)
    labels = {"team": "eu"}
    created = await service.client.post("/programs", json={"jobs": ["reserve"], "labels": labels})
    ProgramModel.model_validate_json(created.content)
    run_id = created.json()["run_id"]
    await service.ended(run_id)
    ended = await service.client.get(f"/programs/{run_id}")
    program = ProgramModel.model_validate_json(ended.content)
    assert program.labels == labels
    listed = await service.client.get("/programs")
    assert ProgramListModel.model_validate_json(listed.content).programs == [program]
    attempts = (await service.client.get(f"/programs/{run_id}/attempts")).content
    assert len(AttemptListModel.model_validate_json(attempts).attempts) == 2
    explained = await service.client.get(f"/programs/{run_id}/explain")
    ExplanationModel.model_validate_json(explained.content)
    JobListModel.model_validate_json((await service.client.get("/jobs")).content)
    WorkerListModel.model_validate_json((await service.client.get("/workers")).content)


async def test_served_document_is_the_generated_one(service: Service) -> None:
    assert (await service.client.get("/openapi.json")).json() == openapi_document()
