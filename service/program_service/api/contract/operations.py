"""Operations: the scope that each needs, and examples of what it takes and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from program_service.api.auth import Scope
from program_service.api.contract import examples as shown


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation in the document: who may call it, and examples.

    `body` is {what it shows: body}, `answers` is {status: {what it shows: answer}}, and `instance`
    the path of a problem.
    """

    scope: Scope | None
    instance: str
    body: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


PROGRAM = f"/programs/{shown.RUN_ID}"
CALLBACK = f"/callbacks/{shown.TOKEN}"
MAIL_DATA = {"template": "welcome", "language": "el"}

OPERATIONS: dict[str, Shown] = {
    "submit_program": Shown(
        Scope.SUBMIT,
        "/programs",
        {
            "at_once": shown.ORDER,
            "later": shown.SCHEDULED_ORDER,
            "told_at_the_end": shown.ORDER | {"notify": "https://shop.example/ended"},
        },
        {201: {"stored": shown.PENDING}, 200: {"replayed": shown.FINISHED}},
    ),
    "submit_programs": Shown(
        Scope.SUBMIT,
        "/programs/batch",
        {"two": {"programs": [shown.ORDER, {"jobs": ["mail"]}]}},
        {
            201: {
                "stored": {
                    "programs": [
                        {"run_id": shown.RUN_ID},
                        {"run_id": "019a8f3c-6f27-730f-bd71-3967a1c0f3b2"},
                    ]
                }
            }
        },
    ),
    "list_programs": Shown(
        Scope.READ,
        "/programs",
        answers={
            200: {
                "page": {"programs": [shown.LISTED], "next_cursor": shown.CURSOR},
                "last_page": {"programs": [shown.LISTED], "next_cursor": None},
            }
        },
    ),
    "get_program": Shown(
        Scope.READ,
        PROGRAM,
        answers={
            200: {
                "pending": shown.PENDING,
                "retrying": shown.RETRYING,
                "finished": shown.FINISHED,
            }
        },
    ),
    "cancel_program": Shown(
        Scope.OPERATE, f"{PROGRAM}/cancel", answers={200: {"cancelled": shown.CANCELLED}}
    ),
    "resume_program": Shown(
        Scope.OPERATE,
        f"{PROGRAM}/resume",
        {"from_the_failed_step": {}, "from_the_beginning": {"from_step": 0}},
        {200: {"resumed": shown.RESUMED}},
    ),
    "list_attempts": Shown(
        Scope.READ, f"{PROGRAM}/attempts", answers={200: {"a_retry": shown.ATTEMPTS}}
    ),
    "watch_program": Shown(
        Scope.READ, f"{PROGRAM}/events", answers={200: {"until_the_end": shown.EVENT_STREAM}}
    ),
    "explain_program": Shown(
        Scope.READ, f"{PROGRAM}/explain", answers={200: {"backing_off": shown.EXPLANATION}}
    ),
    "get_job_data": Shown(
        Scope.READ, f"{PROGRAM}/job-data/mail", answers={200: {"data": {"template": "welcome"}}}
    ),
    "replace_job_data": Shown(
        Scope.OPERATE,
        f"{PROGRAM}/job-data/mail",
        {"data": MAIL_DATA},
        {200: {"replaced": MAIL_DATA}},
    ),
    "merge_job_data": Shown(
        Scope.OPERATE,
        f"{PROGRAM}/job-data/mail",
        {"one_property": {"language": "el"}},
        {200: {"merged": MAIL_DATA}},
    ),
    "list_jobs": Shown(
        Scope.READ,
        "/jobs",
        answers={
            200: {"both_kinds": {"jobs": [shown.FUNCTION, shown.ENDPOINT], "next_cursor": None}}
        },
    ),
    "get_job": Shown(
        Scope.READ,
        "/jobs/send_invoice",
        answers={200: {"function": shown.FUNCTION, "endpoint": shown.ENDPOINT}},
    ),
    "put_job": Shown(
        Scope.ADMIN,
        "/jobs/send_invoice",
        {
            "endpoint": shown.ENDPOINT_BODY,
            "own_secret": shown.ENDPOINT_BODY | {"secret": shown.SECRET},
        },
        {201: {"registered": shown.NEW_ENDPOINT}, 200: {"changed": shown.ENDPOINT}},
    ),
    "rotate_secret": Shown(
        Scope.ADMIN,
        "/jobs/send_invoice/rotate-secret",
        {"made_by_the_service": {}, "own": {"secret": shown.SECRET, "overlap_s": 3600}},
        {200: {"rotated": shown.ROTATED}},
    ),
    "rotate_token_key": Shown(
        Scope.ADMIN,
        "/token-keys/rotate",
        {"in_a_week": {}, "after_a_leak": {"overlap_s": 0}},
        {200: {"rotated": {"keys": shown.TOKEN_KEYS}}},
    ),
    "delete_job": Shown(Scope.ADMIN, "/jobs/send_invoice"),
    "list_workers": Shown(
        Scope.READ,
        "/workers",
        answers={200: {"one": {"workers": [shown.WORKER], "next_cursor": None}}},
    ),
    "make_key": Shown(
        Scope.ADMIN,
        "/keys",
        {
            "for_a_service": {"name": "mailer", "scopes": ["submit", "read"]},
            "for_a_tenant": {
                "name": "acme",
                "scopes": ["submit", "read"],
                "label": "tenant=acme",
                "expires_at": "2027-11-24T08:00:00Z",
            },
        },
        {201: {"made": shown.API_KEY | {"key": "pe_mailer_example-of-a-key"}}},
    ),
    "list_keys": Shown(
        Scope.ADMIN,
        "/keys",
        answers={200: {"last_page": {"keys": [shown.API_KEY], "next_cursor": None}}},
    ),
    "revoke_key": Shown(Scope.ADMIN, f"/keys/{shown.KEY_ID}"),
    "list_sessions": Shown(
        Scope.ADMIN,
        "/sessions",
        answers={200: {"last_page": {"sessions": [shown.SESSION], "next_cursor": None}}},
    ),
    "end_session": Shown(Scope.ADMIN, f"/sessions/{shown.SESSION['id']}"),
    "list_audit": Shown(
        Scope.READ,
        "/audit",
        answers={200: {"last_page": {"entries": [shown.AUDIT_ENTRY], "next_cursor": None}}},
    ),
    "complete_step": Shown(
        None,
        f"{CALLBACK}/complete",
        {"done": {}, "with_data": {"job_data": {"invoice": "2026-0042"}}},
        {200: {"recorded": {"run_id": shown.RUN_ID, "status": "pending"}}},
    ),
    "fail_step": Shown(
        None,
        f"{CALLBACK}/fail",
        {
            "try_again": {"error": {"message": "the printer is out of paper", "retryable": True}},
            "for_good": {"error": {"message": "no such customer", "code": "no_customer"}},
        },
        {200: {"recorded": {"run_id": shown.RUN_ID, "status": "retrying"}}},
    ),
    "prolong_step": Shown(
        None,
        f"{CALLBACK}/heartbeat",
        {"more_time": {}},
        {200: {"prolonged": {"deadline": "2026-11-24T08:00:32.250118Z"}}},
    ),
    "merge_step_data": Shown(
        None,
        f"{CALLBACK}/job-data",
        {"progress": {"page": 7}},
        {200: {"merged": {"job_data": {"invoice": "2026-0042", "page": 7}}}},
    ),
    "live": Shown(
        None,
        "/livez",
        answers={
            200: {"lives": {"status": "ok"}},
            503: {
                "failing": {
                    "status": "failing",
                    "loops": "failing: relay (61 times in a row: AttributeError: 'publish')",
                }
            },
        },
    ),
    "ready": Shown(
        None,
        "/readyz",
        answers={
            200: {
                "ready": {
                    "status": "ok",
                    "checks": {
                        "database": "ok",
                        "migrations": "ok",
                        "broker": "ok",
                        "loops": "ok",
                    },
                }
            },
            503: {
                "unready": {
                    "status": "unready",
                    "checks": {
                        "database": "down: ConnectionRefusedError",
                        "migrations": "unknown",
                        "broker": "ok",
                        "loops": "ok",
                    },
                }
            },
        },
    ),
    "metrics": Shown(
        None,
        "/metrics",
        answers={200: {"a_gauge": shown.METRICS}},
    ),
}
