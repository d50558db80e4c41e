"""Schemas: what the API takes, as pydantic models; the border of the system."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

MAX_JOBS = 1_000
MAX_BATCH = 1_000
MAX_LABELS = 32

DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _printable(text: str) -> str:
    if not text.isprintable():
        msg = f"{text!r} holds a control character; use printable ones"
        raise ValueError(msg)
    return text


def _as_written(value: Any) -> Any:
    """Refuse numbers: whether seconds or milliseconds were meant, nobody can tell."""
    if not (isinstance(value, datetime) or (isinstance(value, str) and DATE.match(value))):
        msg = "a moment is a text such as 2027-01-31T08:00:00Z"
        raise ValueError(msg)
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        msg = "the moment is beyond the year 9999"
        raise ValueError(msg) from error


JobName = Annotated[
    str, StringConstraints(min_length=1, max_length=255, strict=True), AfterValidator(_printable)
]
LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^:]*$"),
    AfterValidator(_printable),
]
LabelValue = Annotated[str, StringConstraints(max_length=255, strict=True)]
Moment = Annotated[AwareDatetime, BeforeValidator(_as_written), AfterValidator(_in_utc)]
JsonObject = dict[str, Any]


class Body(BaseModel):
    """A request body: unknown fields are refused, by name."""

    model_config = ConfigDict(extra="forbid")


class ProgramRequest(Body):
    """A program to be run: its jobs, in order, and their data."""

    jobs: Annotated[list[JobName], Field(min_length=1, max_length=MAX_JOBS)] = Field(
        description="The names of the jobs, in the order in which they run.",
        examples=[["charge", "provision", "mail"]],
    )
    program_data: JsonObject = Field(
        default_factory=dict, description="Data for all jobs.", examples=[{"customer": 42}]
    )
    job_data: dict[JobName, JsonObject] = Field(
        default_factory=dict,
        description="Data for single jobs, by job name.",
        examples=[{"mail": {"template": "welcome"}}],
    )
    start_at: Moment | None = Field(
        None, description="When to start, with a zone; at once by default."
    )
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = Field(
        default_factory=dict, description="Words to find the program by.", examples=[{"team": "eu"}]
    )

    @model_validator(mode="after")
    def _job_data_is_of_jobs(self) -> Self:
        strangers = self.job_data.keys() - set(self.jobs)
        if strangers:
            msg = f"job_data names {sorted(strangers)}, which are not among the jobs of the program"
            raise ValueError(msg)
        return self


class BatchRequest(Body):
    """Programs that are accepted together, or not at all."""

    programs: Annotated[list[ProgramRequest], Field(min_length=1, max_length=MAX_BATCH)]


class ResumeRequest(Body):
    """Where a program goes on."""

    from_step: Annotated[int, Field(strict=True, ge=0, lt=MAX_JOBS)] | None = Field(
        None, description="The step to go on from; the failed one by default."
    )
