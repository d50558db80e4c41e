"""Examples: what the operations take and answer, as one story of a shop that sells a mug.

They are data of the document; tests compare them with their schemas and send them to the service.
"""

from typing import Any

import orjson

Json = dict[str, Any]

RUN_ID = "019a8f3c-6f27-730f-bd71-396620658ecc"
TOKEN = "WyJzZW5kX2ludm9pY2UiLCIwMTlhOGYzYyIsMCwwLDFd.k3v0Pq0v7y0hKq1v3nQe9A"  # noqa: S105 - of nobody
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of nobody
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CURSOR = "eyJpZCI6MTF9"
ADDRESS = "http://127.0.0.1:8080"

SUBMITTED_AT = "2026-11-24T08:00:00.000000Z"
STARTED_AT = "2026-11-24T08:00:00.004211Z"
DONE_AT = "2026-11-24T08:00:00.512034Z"
ENDED_AT = "2026-11-24T08:00:02.250118Z"

ORDER: Json = {
    "jobs": ["charge", "provision", "mail"],
    "program_data": {"customer": 42, "cents": 1999},
    "job_data": {"mail": {"template": "welcome"}},
    "labels": {"team": "eu"},
}

SCHEDULED_ORDER: Json = {"jobs": ["mail"], "start_at": "2027-01-31T08:00:00Z"}

PENDING: Json = {
    "run_id": RUN_ID,
    "status": "pending",
    **ORDER,
    "step": 0,
    "step_retry_count": 0,
    "finished_at": None,
    "errored_at": None,
    "error_message": None,
    "created_at": SUBMITTED_AT,
    "updated_at": SUBMITTED_AT,
    "due_at": SUBMITTED_AT,
    "claimed_by": None,
    "lease_losses": 0,
    "resumes": 0,
    "awaiting": None,
    "cancelled_at": None,
    "job": "charge",
    "queue": "default",
    "submitted_by": "shop",
    "parent_run_id": None,
    "traceparent": None,
    "notify": None,
    "current_job": "charge",
    "progress": {"done": 0, "total": 3},
    "links": {
        "self": f"/programs/{RUN_ID}",
        "attempts": f"/programs/{RUN_ID}/attempts",
        "events": f"/programs/{RUN_ID}/events",
        "explain": f"/programs/{RUN_ID}/explain",
        "cancel": f"/programs/{RUN_ID}/cancel",
        "resume": f"/programs/{RUN_ID}/resume",
    },
}

FINISHED: Json = PENDING | {
    "status": "finished",
    "step": 3,
    "finished_at": ENDED_AT,
    "updated_at": ENDED_AT,
    "due_at": None,
    "job": "mail",
    "current_job": None,
    "progress": {"done": 3, "total": 3},
}

LISTED: Json = {
    name: value for name, value in FINISHED.items() if name not in {"program_data", "job_data"}
}

RETRYING: Json = PENDING | {
    "status": "retrying",
    "step": 1,
    "step_retry_count": 1,
    "error_message": "the shelf is locked",
    "updated_at": DONE_AT,
    "due_at": ENDED_AT,
    "job": "provision",
    "current_job": "provision",
    "progress": {"done": 1, "total": 3},
}

CANCELLED: Json = RETRYING | {
    "status": "cancelled",
    "errored_at": ENDED_AT,
    "cancelled_at": ENDED_AT,
    "updated_at": ENDED_AT,
}

RESUMED: Json = RETRYING | {
    "status": "pending",
    "step_retry_count": 0,
    "error_message": None,
    "updated_at": ENDED_AT,
    "resumes": 1,
}

ATTEMPTS: Json = {
    "attempts": [
        {
            "step": 0,
            "attempt": 1,
            "job": "charge",
            "worker": "worker-1",
            "started_at": STARTED_AT,
            "finished_at": "2026-11-24T08:00:00.120339Z",
            "outcome": "done",
            "error_type": None,
            "error_code": None,
            "error_message": None,
            "traceback": None,
            "log": [
                {
                    "at": "2026-11-24T08:00:00.100020Z",
                    "level": "info",
                    "text": "charged",
                    "fields": {"cents": 1999},
                }
            ],
        },
        {
            "step": 1,
            "attempt": 1,
            "job": "provision",
            "worker": "worker-1",
            "started_at": "2026-11-24T08:00:00.121007Z",
            "finished_at": DONE_AT,
            "outcome": "retry",
            "error_type": "RetryableError",
            "error_code": None,
            "error_message": "the shelf is locked",
            "traceback": None,
            "log": [],
        },
    ],
    "next_cursor": None,
}

EXPLANATION: Json = {
    "run_id": RUN_ID,
    "status": "retrying",
    "reason": "backing_off",
    "text": "Step 1 ('provision') failed and is tried again at 2026-11-24T08:00:02Z (retry 1):"
    " the shelf is locked",
    "moves_at": ENDED_AT,
    "facts": {
        "job": "provision",
        "queue": "default",
        "step": 1,
        "step_retry_count": 1,
        "lease_losses": 0,
        "due_at": ENDED_AT,
        "claimed_by": None,
        "error_message": "the shelf is locked",
        "wakeups_in_queue": 0,
        "workers_that_know_the_job": ["worker-1"],
        "workers_that_serve_the_queue": ["worker-1"],
    },
}

FUNCTION: Json = {
    "name": "charge",
    "kind": "in_process",
    "queue": "default",
    "timeout_s": 60.0,
    "retry": {
        "max_attempts": 25,
        "initial_s": 1.0,
        "factor": 2.0,
        "max_s": 3600.0,
        "jitter": "full",
    },
    "created_at": "2026-11-23T17:03:11.902144Z",
    "last_seen_at": "2026-11-24T07:59:58.004313Z",
    "workers": ["worker-1"],
    "url": None,
    "cancel_url": None,
    "max_concurrency": None,
    "secrets_valid": 0,
    "disabled_at": None,
    "flaw": None,
    "secret": None,
}

ENDPOINT_BODY: Json = {
    "url": "https://billing.example/jobs/invoice",
    "timeout_s": 30,
    "retry": {"max_attempts": 10, "initial_s": 2},
    "max_concurrency": 20,
}

ENDPOINT: Json = FUNCTION | {
    "name": "send_invoice",
    "kind": "callback",
    "timeout_s": 30.0,
    "retry": FUNCTION["retry"] | {"max_attempts": 10, "initial_s": 2.0},
    "url": ENDPOINT_BODY["url"],
    "max_concurrency": 20,
    "secrets_valid": 1,
}

NEW_ENDPOINT: Json = ENDPOINT | {"secret": SECRET}
ROTATED: Json = NEW_ENDPOINT | {"secrets_valid": 2}

TOKEN_KEYS: list[Json] = [
    {"number": 2, "created_at": "2026-11-24T08:00:02.250118Z", "expires_at": None},
    {
        "number": 1,
        "created_at": "2026-03-01T09:30:00.000000Z",
        "expires_at": "2026-12-01T08:00:02.250118Z",
    },
]

WORKER: Json = {
    "name": "worker-1",
    "process": "worker-1~5f0c92e1",
    "host": "worker-7d9f4c6b5-x2x7k",
    "pid": 7,
    "version": "0.1.0",
    "queues": ["default"],
    "jobs": ["charge", "mail", "provision", "send_invoice"],
    "slots": 100,
    "busy": 3,
    "is_draining": False,
    "started_at": "2026-11-23T17:03:11.871201Z",
    "last_seen_at": "2026-11-24T07:59:58.004313Z",
    "endpoints": {
        "running": {"send_invoice": 2},
        "breakers": {},
        "job_breakers": {},
        "limits": {
            "provision": {
                "waiting": 12,
                "reason": "threads",
                "limit": 1,
                "held_by": ["0199f2c1-7a6e-7c41-9d5e-0b6f3a1c2d4e"],
            }
        },
    },
}

EVENT_STREAM = (
    "event: program\n"
    f"data: {orjson.dumps(RETRYING).decode()}\n"
    "id: 4-retrying\n\n"
    "event: program\n"
    f"data: {orjson.dumps(FINISHED).decode()}\n"
    "id: 8-finished\n\n"
)

METRICS = """\
# HELP program_executor_programs Programs that have not ended, by status
# TYPE program_executor_programs gauge
program_executor_programs{status="pending"} 3.0
"""


KEY_ID = "9f86d081884c7d65"

API_KEY = {
    "id": KEY_ID,
    "name": "mailer",
    "scopes": ["submit", "read"],
    "label": None,
    "source": "table",
    "created_at": "2026-11-24T08:00:00.000000Z",
    "expires_at": None,
    "last_used_at": None,
}

SESSION = {
    "id": "60303ae22b998861",
    "key_id": KEY_ID,
    "key_name": "ops",
    "created_at": "2026-11-24T08:00:00.000000Z",
    "last_seen_at": "2026-11-24T08:31:00.000000Z",
    "expires_at": "2026-11-24T20:00:00.000000Z",
}

AUDIT_ENTRY = {
    "id": "019a8f3c-8d51-7c02-9b1e-2f1f6f0c6a11",
    "at": "2026-11-24T08:05:00.000000Z",
    "actor": "ops",
    "client": "10.0.3.7",
    "action": "program_resumed",
    "run_id": RUN_ID,
    "target": None,
    "reason": "the card was replaced",
    "detail": {"step": 1, "job": "charge"},
}
