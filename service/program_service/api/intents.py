"""Intents: turn a checked request into programs to be written down."""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache, partial
from itertools import islice

import orjson
import uuid_utils
from fastapi import Request

from program_service.api.auth import Caller
from program_service.api.problems import MOST_MISTAKES, Problem, forbidden_address, suggest
from program_service.api.schemas import ProgramRequest
from program_service.api.services import Services
from program_service.bookkeeping.ledger.job_data import too_large
from program_service.bookkeeping.ledger.keys import IdempotencyKey
from program_service.bookkeeping.ledger.submitting import NewProgram
from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE, Json
from program_service.redaction import VEIL
from program_service.settings import UnknownJobs
from program_service.tracing.spans import HEADER
from program_service.webhooks.errors import Forbidden

KEY = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^"]+)')
MAX_KEY = 255
MOST_NAMED = 10
"""Unknown jobs that `detail` names."""
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


async def new_programs(  # noqa: PLR0913 - what headers, body and key say of programs
    services: Services,
    requests: Sequence[ProgramRequest],
    caller: Caller,
    *,
    traceparent: str | None,
    key: str | None = None,
    place: str = "",
) -> list[NewProgram]:
    """Give each request its id and the queue of its first job.

    `place` says where in the body a request stands, with `{}` for its number: `programs[{}].`.

    Raises:
        Problem: a job is registered nowhere, the key is of no form, or a label is not the caller's.
    """
    labels = [_labels_of(each, caller, place.format(index)) for index, each in enumerate(requests)]
    queues = await services.directory.queues(job for each in requests for job in each.jobs)
    is_for_known_jobs = services.settings.unknown_jobs is UnknownJobs.REFUSE
    if is_for_known_jobs:
        _refuse_unknown_jobs(services, requests, queues, place)
    _require_tellable(services, requests, place)
    _require_short_job_data(services, requests, place)
    if services.redaction.is_on:
        for index, each in enumerate(requests):
            refuse_veiled(services, each.program_data, f"{place.format(index)}program_data")
            refuse_veiled(services, each.job_data, f"{place.format(index)}job_data")
    return [
        NewProgram(
            run_id=str(uuid_utils.uuid7()),
            jobs=each.jobs,
            queue=queues.get(each.jobs[0], DEFAULT_QUEUE),
            program_data=each.program_data,
            job_data=each.job_data,
            labels=given,
            start_at=each.start_at,
            submitted_by=caller.name,
            traceparent=services.traces.onward(traceparent),
            notify=each.notify,
            idempotency=None if key is None else _idempotency(key, each, caller),
            is_for_known_jobs=is_for_known_jobs,
        )
        for each, given in zip(requests, labels, strict=True)
    ]


def _labels_of(request: ProgramRequest, caller: Caller, place: str) -> dict[str, str]:
    """Return the labels of a program, with that of the caller's key.

    Raises:
        Problem: it has another value of that label.
    """
    if caller.label is None:
        return request.labels
    name, value = caller.label
    if request.labels.get(name, value) != value:
        detail = (
            f"{place}labels: the key {caller.name!r} submits programs with the label"
            f" {name}={value!r}; leave {name!r} out, or give it this value."
        )
        raise Problem(403, "forbidden", detail)
    return request.labels | {name: value}


def owner_of(caller: Caller) -> str:
    """Return whose idempotency keys these are: keys of one name share them, within a label."""
    if caller.label is None:
        return caller.name or ""
    # no name has a blank: it is nobody else's
    digest = hashlib.sha256(orjson.dumps(caller.label)).hexdigest()
    return f"{caller.name} {digest[:32]}"


def traceparent_of(request: Request) -> str | None:
    """Return a request's trace context; what is none is ignored, as the W3C recommends."""
    given = request.headers.get(HEADER, "")
    return given if TRACEPARENT.fullmatch(given) else None


def refuse_veiled(services: Services, value: Json, place: str = "") -> None:
    """Refuse what was copied from an answer with veils in it: it would be stored as the value.

    Raises:
        Problem: a veil stands where a value was.
    """
    path = services.redaction.first_veil(value)
    if path is None:
        return
    field, words = ".".join([place, path] if place else [path]), f"{VEIL!r} stands for a value here"
    item = {"field": field, "in": "body", "code": "redacted_value", "message": words}
    detail = (
        f"{field}: {VEIL!r} is what this service shows in place of a value that its setting REDACT"
        " hides; send the value itself, or leave the field out."
    )
    raise Problem(422, "redacted_value", detail, fields=[item])


def _require_tellable(services: Services, requests: Sequence[ProgramRequest], place: str) -> None:
    """Refuse addresses that could not be told of the end."""
    for index, each in enumerate(requests):
        if each.notify is None:
            continue
        try:
            services.notifier.require_tellable(each.notify)
        except Forbidden as error:
            field = f"{place.format(index)}notify"
            raise forbidden_address(field, error) from error


def _require_short_job_data(
    services: Services, requests: Sequence[ProgramRequest], place: str
) -> None:
    """Refuse job data that no job could add anything to."""
    most = services.settings.max_job_data_bytes
    for index, each in enumerate(requests):
        error = too_large(each.job_data, most=most) if each.job_data else None
        if error is not None:
            detail = f"{place.format(index)}job_data: {error}"
            raise Problem(413, error.code, detail) from error


def _refuse_unknown_jobs(
    services: Services, requests: Sequence[ProgramRequest], queues: dict[str, str], place: str
) -> None:
    names = sorted({job for each in requests for job in each.jobs} - queues.keys())
    if not names:
        return
    known, found = sorted(services.directory.names), _jobs_among(requests, set(names), place)
    hint_for = cache(partial(suggest, known=known))
    fields = []
    for field, job in islice(found, MOST_MISTAKES):
        message, near = f"no worker ever registered a job {job!r}", hint_for(job)
        hint = {"hint": f"did you mean {near!r}?"} if near else {}
        item = {"field": field, "in": "body", "code": "unknown_job", "message": message}
        fields.append(item | hint)
    shown, left = ", ".join(map(repr, names[:MOST_NAMED])), len(names) - MOST_NAMED
    detail = (
        f"Unknown jobs: {shown}{f' and {left} more' if left > 0 else ''}. Start a worker that knows"
        " them first, or set UNKNOWN_JOBS=accept to have programs wait for one."
    )
    raise Problem(422, "unknown_jobs", detail, fields=fields)


def _jobs_among(
    requests: Sequence[ProgramRequest], names: Collection[str], place: str
) -> Iterator[tuple[str, str]]:
    """Yield (where, job) of each mention of one of these names."""
    for index, each in enumerate(requests):
        for position, job in enumerate(each.jobs):
            if job in names:
                yield f"{place.format(index)}jobs[{position}]", job


def _idempotency(header: str, request: ProgramRequest, caller: Caller) -> IdempotencyKey:
    """Read an Idempotency-Key, quoted or bare, and hash the request that it stands for.

    Raises:
        Problem: the key is empty, too long, or of no form.
    """
    match = KEY.fullmatch(header.strip())
    key = (match["quoted"] or match["bare"] or "") if match else ""
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        detail = f"Idempotency-Key must be 1 to {MAX_KEY} printable characters, quoted or bare."
        raise Problem(422, "bad_idempotency_key", detail)
    return IdempotencyKey(owner_of(caller), key, hash_of(request))


def hash_of(request: ProgramRequest) -> str:
    """Return what the same request has in each release: it is stored with its key.

    A field that comes later must be left out here while it has its default.
    """
    meaning = orjson.dumps(request.model_dump(), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(meaning).hexdigest()
