"""Messages: what is sent to others, and what those answer; the `webhooks` of the document.

The functions are never called; FastAPI describes them as if they were routes. What is described is
sent by `program_workers.callbacks.calls` and by `program_service.webhooks.notifier`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, Field

from program_service.api.contract import examples as shown
from program_service.api.schemas import ErrorRequest, JsonObject
from program_service.api.views import ProgramModel

webhooks = APIRouter()


class MessageHeaders(BaseModel):
    """The headers of every message: Standard Webhooks 1.0.0."""

    webhook_id: str = Field(
        description="The same each time that this message is sent: deduplicate by it.",
        examples=[f"{shown.RUN_ID}-0"],
    )
    webhook_timestamp: int = Field(
        description="When it was sent, in seconds since 1970; refuse what is minutes off.",
        examples=[1_795_507_200],
    )
    webhook_signature: str = Field(
        description="`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`; during a"
        " rotation two of them, and one that fits is enough.",
        examples=["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="],
    )
    traceparent: str | None = Field(
        None, description="The program's trace, if it has one.", examples=[shown.TRACEPARENT]
    )


class CallHeaders(MessageHeaders):
    """The headers of a call."""

    idempotency_key: str = Field(
        description="The same as `webhook-id`: `<run_id>-<step>`, for every try.",
        examples=[f"{shown.RUN_ID}-0"],
    )
    x_program_attempt: int = Field(description="As `attempt` in the body.", examples=[1])
    x_program_deadline: datetime = Field(
        description="As `deadline` in the body.", examples=["2026-11-24T08:00:30+00:00"]
    )


class CallLinks(BaseModel):
    """Where a step is completed later; the links carry a token and need no key."""

    job_data: str = Field(description="`PATCH` an object: it is merged into the job data.")
    heartbeat: str = Field(description="`POST`: the deadline moves.")
    complete: str = Field(description="`POST`: the step is done.")
    fail: str = Field(description="`POST`: this try failed.")


class JobCall(BaseModel):
    """A step that an endpoint shall do."""

    type: Literal["job.execute"] = Field(description="What the message is.")
    run_id: str = Field(description="The program.")
    job: str = Field(description="The job to be done.")
    step: int = Field(description="Its place among the jobs, from 0.")
    attempt: int = Field(description="The number of this try, from 1.")
    jobs: list[str] = Field(description="All jobs of the program.")
    program_data: JsonObject = Field(description="The data for all jobs.")
    job_data: JsonObject = Field(description="What this job has stored.")
    deadline: datetime = Field(description="When an answer comes too late.")
    links: CallLinks = Field(description="Where the step is completed later, after a 202.")


class JobAnswer(BaseModel):
    """What a call may answer with a 2xx."""

    job_data: JsonObject | None = Field(None, description="Merged into the job data, shallowly.")
    error: ErrorRequest | None = Field(
        None,
        description="When it is there, the try failed, whatever the status. What is no object with"
        " a text as its `message` is ignored.",
    )


class JobCancelled(BaseModel):
    """A program was cancelled while it ran or awaited the job."""

    type: Literal["job.cancel"] = Field(description="What the message is.")
    run_id: str = Field(description="The program.")
    job: str = Field(description="The job that is not needed any more.")
    step: int = Field(description="Its place among the jobs, from 0.")


class ProgramEnded(BaseModel):
    """A program has finished, errored or been cancelled."""

    type: Literal["program.ended"] = Field(description="What the message is.")
    program: ProgramModel = Field(description="The program, as `GET /programs/{run_id}` shows it.")


def _bodies(examples: dict[str, Any]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    return {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/JobAnswer"},
            "examples": named,
        }
    }


FAILED = _bodies(
    {
        "try_again": {"error": {"message": "the printer is out of paper", "retryable": True}},
        "for_good": {"error": {"message": "no such customer", "code": "no_customer"}},
    }
)

AGAIN = {408: "too slow", 409: "in conflict", 423: "locked", 425: "too early", 429: "too many"}

FINAL = "says `retryable: false`"
UNLESS = dict.fromkeys((409, 423), "does not say `retryable: true`")

OF_A_CALL: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobAnswer,
        "description": "Done; `job_data` are merged. So is every other 2xx but 202. A body that is"
        " not JSON, and does not say that it is, is done, too. One that should be a JSON object and"
        " is none is tried again.",
        "content": _bodies({"with_data": {"job_data": {"invoice": "2026-0042"}}, "without": {}}),
    },
    202: {"description": "Accepted: the step is completed later, by the links."},
    204: {"description": "Done, with nothing to store."},
    "3XX": {"description": "Failed: redirects are not followed."},
    "4XX": {
        "description": "Failed for good; `detail` or `title` of a problem+json body becomes the"
        " `error_message`.",
        "content": FAILED,
    },
    **{
        status: {
            "description": f"Tried again ({why}), and not before `Retry-After`, of at most a day or"
            f" `max_s` of the job, unless an `error` {UNLESS.get(status, FINAL)}."
        }
        for status, why in AGAIN.items()
    },
    410: {
        "description": "Failed, and the job is disabled: its programs stay pending until"
        " `PUT /jobs/{name}` enables it."
    },
    "5XX": {
        "description": f"Tried again, unless an `error` {FINAL}; so are no connection, no answer in"
        " time, and one that is longer than 1 MiB.",
        "content": FAILED,
    },
}

OF_A_NOTICE: dict[int | str, dict[str, Any]] = {
    200: {"description": "It was told; any other 2xx says so, too."},
    "default": {"description": "It is told again later."},
}

SENT = {
    "execute_job": {
        "type": "job.execute",
        "run_id": shown.RUN_ID,
        "job": "charge",
        "step": 0,
        "attempt": 1,
        "jobs": shown.ORDER["jobs"],
        "program_data": shown.ORDER["program_data"],
        "job_data": {},
        "deadline": "2026-11-24T08:00:30+00:00",
        "links": {
            "job_data": f"{shown.ADDRESS}/callbacks/{shown.TOKEN}/job-data",
            "heartbeat": f"{shown.ADDRESS}/callbacks/{shown.TOKEN}/heartbeat",
            "complete": f"{shown.ADDRESS}/callbacks/{shown.TOKEN}/complete",
            "fail": f"{shown.ADDRESS}/callbacks/{shown.TOKEN}/fail",
        },
    },
    "stop_job": {"type": "job.cancel", "run_id": shown.RUN_ID, "job": "provision", "step": 1},
    "hear_of_end": {"type": "program.ended", "program": shown.FINISHED},
}
"""A message for each operation."""


@webhooks.post(
    "job.execute",
    operation_id="execute_job",
    summary="Do a step",
    tags=["messages"],
    response_class=Response,
    responses=OF_A_CALL,
)
def execute_job(message: JobCall, headers: Annotated[CallHeaders, Header()]) -> None:
    """Do a step of a program, now or later; a worker calls, and the answer says what becomes of it.

    A step may be called again: after a timeout, a broken connection, the death of a worker.
    """
    del message, headers


@webhooks.post(
    "job.cancel",
    operation_id="stop_job",
    summary="Stop doing a step",
    tags=["messages"],
    response_class=Response,
    responses=OF_A_NOTICE,
)
def stop_job(message: JobCancelled, headers: Annotated[MessageHeaders, Header()]) -> None:
    """Know that a program was cancelled; sent to the job's `cancel_url`, with a few tries."""
    del message, headers


@webhooks.post(
    "program.ended",
    operation_id="hear_of_end",
    summary="Know the end of a program",
    tags=["messages"],
    response_class=Response,
    responses=OF_A_NOTICE,
)
def hear_of_end(message: ProgramEnded, headers: Annotated[MessageHeaders, Header()]) -> None:
    """Know how a program ended; sent to its `notify` until it is answered 2xx, 20 times at most."""
    del message, headers
