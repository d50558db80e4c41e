"""Answers: the shapes of those that are no views of a row; problems, reports, probes."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from program_service.api.schemas import JsonObject
from program_service.bookkeeping.lifecycle import Status


class SettledModel(BaseModel):
    """What became of a program by a report of an endpoint."""

    run_id: str = Field(description="The program.")
    status: Status = Field(description="What it is doing now.")


class ProlongedModel(BaseModel):
    """More time for a step."""

    deadline: datetime | None = Field(description="When the step must be completed.")


class StepDataModel(BaseModel):
    """The data of a step's job."""

    job_data: JsonObject = Field(description="All of them, after the merge.")


class TokenKeyModel(BaseModel):
    """A key that callback tokens are signed with; nobody is shown its secret."""

    number: int = Field(description="Counts up with each rotation.")
    created_at: datetime = Field(description="When it was made.")
    expires_at: datetime | None = Field(description="When its tokens end; never, for the newest.")


class TokenKeysModel(BaseModel):
    """The valid keys of callback tokens."""

    keys: list[TokenKeyModel] = Field(description="The newest first, which signs.")


class LivenessModel(BaseModel):
    """A sign of life."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class FailingModel(BaseModel):
    """A process that should be restarted."""

    status: Literal["failing"] = Field(description="Always `failing`.")
    loops: str = Field(description="The background loops that keep failing, and why.")


class ReadinessModel(BaseModel):
    """Whether the service can serve, and what it looked at."""

    status: Literal["ok", "degraded", "unready"] = Field(
        description="`degraded`: programs are accepted, and run when the broker is back."
    )
    checks: dict[str, str] = Field(
        description="`database`, `migrations`, `broker` and `loops`: `ok`, or what is wrong."
    )


class FieldProblemModel(BaseModel):
    """Where in a request something is wrong."""

    field: str = Field(description="The field, as `jobs[0]`, or the parameter.")
    in_: Literal["body", "query", "path", "header"] = Field(
        alias="in", description="Where the field is."
    )
    code: str = Field(description="A stable word for what is wrong with it.")
    message: str = Field(description="What is wrong with it.")
    hint: str | None = Field(None, description="What was probably meant.")


class ProblemModel(BaseModel):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str = Field(description="A URN that names the code.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong, and what would be right.")
    instance: str = Field(description="The path that was asked.")
    code: str = Field(
        description="A stable word for what is wrong; each operation names those that it answers."
    )
    errors: list[FieldProblemModel] | None = Field(
        None, description="Where in the request something is wrong."
    )
