"""Schemas: what the API takes, as pydantic models; the border of the system."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticKnownError

from program_service.bookkeeping.retry import LONGEST_S, Retry
from program_service.names import (
    MAX_NAME,
    PRINTABLE,
    require_job_name,
    require_printable,
    require_queue_name,
)
from program_service.webhooks.signing import require_secret

MAX_JOBS = 1_000
MOST_UNKNOWN = 21
"""One more than are described, so that the answer says that there are more."""
MAX_BATCH = 1_000
MAX_LABELS = 32
MAX_URL = 2_048

DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _as_written(value: Any) -> Any:
    """Refuse numbers: whether seconds or milliseconds were meant, nobody can tell."""
    if not (isinstance(value, datetime) or (isinstance(value, str) and DATE.match(value))):
        msg = "a moment is a text such as 2027-01-31T08:00:00Z"
        raise ValueError(msg)
    return value


def _whole(value: Any) -> Any:
    """Take 3.0 for 3, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        msg = "in UTC the moment is before the year 1, or after the year 9999"
        raise ValueError(msg) from error


@dataclass(frozen=True, slots=True)
class Documented:
    """A pattern that a validator of ours requires, for the document."""

    pattern: str

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Write it into the JSON schema."""
        return handler(core_schema) | {"pattern": self.pattern}


JobName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_NAME, strict=True),
    AfterValidator(require_job_name),
    Documented(PRINTABLE),
]
QueueName = Annotated[
    str,
    # the form is documented as it was: names that never worked are refused for what they mean
    StringConstraints(min_length=1, max_length=MAX_NAME, strict=True),
    AfterValidator(require_queue_name),
    Documented(PRINTABLE),
]
LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^:]*$"),
    AfterValidator(require_printable),
    Documented(PRINTABLE.replace("[^", "[^:", 1)),
]
WHOLE = BeforeValidator(_whole)
LabelValue = Annotated[str, StringConstraints(max_length=255, strict=True)]
Moment = Annotated[
    AwareDatetime,
    Field(strict=False),  # a text, as all of JSON
    BeforeValidator(_as_written),
    AfterValidator(_in_utc),
]
JsonObject = dict[str, Any]


def at_most(most: int) -> BeforeValidator:
    """Reject an object with more properties before any of them is looked at."""

    def check(value: Any) -> Any:
        if type(value) is dict and len(value) > most:
            counts = {"max_length": most, "actual_length": len(value)}
            raise PydanticKnownError("too_long", {"field_type": "Dictionary", **counts})
        return value

    return BeforeValidator(check)


class Body(BaseModel):
    """A request body: unknown fields are refused, by name."""

    # strict: neither "30" nor true is a number
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _keep_few_mistakes(cls, value: Any) -> Any:
        """Leave out unknown fields beyond those that are described: each takes time."""
        if type(value) is not dict or len(value) <= len(cls.model_fields) + MOST_UNKNOWN:
            return value
        unknown = (name for name in value if name not in cls.model_fields)
        kept = cls.model_fields.keys() | set(islice(unknown, MOST_UNKNOWN))
        return {name: each for name, each in value.items() if name in kept}


class ProgramRequest(Body):
    """A program to be run: its jobs, in order, and their data."""

    jobs: Annotated[list[JobName], Field(min_length=1, max_length=MAX_JOBS)] = Field(
        description="The names of the jobs, in the order in which they run.",
        examples=[["charge", "provision", "mail"]],
    )
    program_data: JsonObject = Field(
        default_factory=dict, description="Data for all jobs.", examples=[{"customer": 42}]
    )
    job_data: Annotated[dict[JobName, JsonObject], at_most(MAX_JOBS)] = Field(
        default_factory=dict,
        description="Data for single jobs, by job name.",
        examples=[{"mail": {"template": "welcome"}}],
    )
    start_at: Moment | None = Field(
        None, description="When to start, with a zone; at once by default."
    )
    labels: Annotated[
        dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS), at_most(MAX_LABELS)
    ] = Field(
        default_factory=dict, description="Words to find the program by.", examples=[{"team": "eu"}]
    )

    notify: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)] | None = Field(
        None, description="An address that is told, signed, when the program has ended."
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

    programs: list[ProgramRequest] = Field(
        min_length=1, max_length=MAX_BATCH, description="The programs, in the order of the answer."
    )


class ResumeRequest(Body):
    """Where a program goes on."""

    from_step: Annotated[int, Field(ge=0, lt=MAX_JOBS), WHOLE] | None = Field(
        None, description="The step to go on from; the failed one by default."
    )


class RetryRequest(Body):
    """How often and how late a failed step is tried again; see `Retry` in docs/jobs.md."""

    max_attempts: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = Field(
        25, description="Tries of a step, in all."
    )
    initial_s: float = Field(1.0, ge=0, le=LONGEST_S, description="The first pause.")
    factor: float = Field(2.0, ge=1, le=1_000, description="What each pause is multiplied by.")
    max_s: float = Field(3600.0, ge=0, le=LONGEST_S, description="The longest pause.")
    jitter: Literal["full", "none"] = Field(
        "full", description="`full` draws each pause between nothing and its length."
    )

    def as_policy(self) -> Retry:
        """Return the policy."""
        return Retry(**self.model_dump())


Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)]
SecretText = Annotated[
    str,
    AfterValidator(require_secret),
    Documented(r"^whsec_[A-Za-z0-9+/]{32,86}={0,2}$"),
]


class CallbackJobRequest(Body):
    """An HTTP endpoint that is called as a job."""

    url: Url = Field(description="Where it is called.", examples=["https://billing.example/jobs"])
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        30.0,
        description="For connecting, sending and the whole answer; after a 202, for completing.",
    )
    queue: QueueName = Field(
        "default",
        description=(
            "Whose workers call it: 1 to 150 letters without accents, digits, spaces inside and"
            " - _ . : @ # / +, but not `dead-letters`."
        ),
    )
    retry: RetryRequest = Field(
        default_factory=RetryRequest, description="How often and how late it is tried again."
    )
    max_concurrency: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = Field(
        None, description="Calls that one worker process makes at a time."
    )
    secret: SecretText | None = Field(
        None, description="Signs the calls; made by the service, and shown once, when not given."
    )
    cancel_url: Url | None = Field(
        None,
        description="Told, signed, when a program is cancelled while it runs or awaits the job.",
    )


class RotationRequest(Body):
    """A new secret for a callback job."""

    secret: SecretText | None = Field(None, description="Made by the service when not given.")
    overlap_s: Annotated[float, Field(ge=0, le=2_592_000)] = Field(
        86_400, description="How long calls are signed with the old secret, too."
    )


class TokenKeyRotationRequest(Body):
    """A new key for callback tokens."""

    overlap_s: Annotated[float, Field(ge=0, le=31_536_000)] = Field(
        604_800, description="How long tokens that older keys have signed stay valid."
    )


class CompleteRequest(Body):
    """A completion."""

    job_data: JsonObject | None = Field(None, description="Merged into the job data, shallowly.")


class ErrorRequest(Body):
    """What went wrong."""

    message: str = Field(min_length=1, max_length=100_000, description="For people.")
    code: Annotated[str, StringConstraints(max_length=255)] | None = Field(
        None, description="A word for programs; it stands in the attempt as `error_code`."
    )
    retryable: bool = Field(default=False, description="Whether another try may succeed.")
    ignorable: bool = Field(default=False, description="Whether it is logged as information only.")


class FailRequest(Body):
    """A failure."""

    error: ErrorRequest = Field(description="Why the try failed.")


class HeartbeatRequest(Body):
    """Nothing: a heartbeat has no fields."""
