"""Strangers: calls that the service would never make, and that an endpoint has to refuse."""

from program_executor.endpoint_check.calling import Answer, NoAnswer, Signing
from program_executor.endpoint_check.examining import Examination
from program_executor.endpoint_check.links import Step
from program_executor.endpoint_check.reading import error_of, said_by
from program_service.webhooks.answers import RETRYABLE
from program_service.webhooks.signing import new_secret

HOUR_S = 3_600
WHY = {
    "wrong signature": "a call that was signed with another secret",
    "no signature": "a call without webhook-signature",
    "changed body": "a call whose body was changed after it was signed",
    "old timestamp": "a rightly signed call from an hour ago",
}
VERIFY = "verify the signature over the raw body before anything else, and answer 401"
TOO_OLD = "refuse webhook-timestamp when it is more than five minutes off, or calls can be replayed"


async def call_as_strangers(examination: Examination, first: Answer) -> None:
    """Make all of the calls; `first` is what a right call was answered."""
    for check in WHY:
        step = examination.new_step()
        answer = await _call(examination, step, check)
        _judge(examination, check, answer, first)
        if isinstance(answer, Answer) and 400 <= answer.status < 500:  # noqa: PLR2004
            examination.refused.append(step)


def look_for_runs(examination: Examination) -> None:
    """Say whether a job ran although its call was refused."""
    if any(step.said for step in examination.refused):
        text = "a call that was refused ran the job all the same: its links were used"
        examination.report.wrong("refused calls", f"{text}; {VERIFY}")


async def _call(examination: Examination, step: Step, check: str) -> Answer | NoAnswer:
    step.call_again()
    caller, secret = examination.caller, examination.plan.secret
    body = caller.body(step)
    key = new_secret() if check == "wrong signature" else secret
    age_s = HOUR_S if check == "old timestamp" else 0
    headers = caller.headers(step, body, Signing([key], age_s))
    if check == "no signature":
        del headers["webhook-signature"]
    if check == "changed body":
        body = body.replace(b'"attempt":1,', b'"attempt":2,', 1)
    return await caller.post(headers, body)


def _judge(examination: Examination, check: str, answer: Answer | NoAnswer, first: Answer) -> None:
    report, what = examination.report, WHY[check]
    if isinstance(answer, NoAnswer):
        report.wrong(check, f"{what}: {answer.text}; {VERIFY}")
        return
    status = answer.status
    if 400 <= status < 500:  # noqa: PLR2004
        if status == first.status:
            text = f"{what} is answered {status}, as is a right one: nobody can tell whether"
            text += " signatures are verified; give data that the job can work with: --program-data"
            report.warn(check, text)
        elif status in RETRYABLE:
            text = f"{what} is answered {status}, which asks to be called again; 401 is clearer"
            report.warn(check, text)
        else:
            report.right(check, f"{what} is refused ({status})")
    elif status < 300:  # noqa: PLR2004
        _judge_taken(examination, check, answer, first)
    else:
        text = f"{what} is answered {status}{said_by(answer)}, which is no refusal"
        report.wrong(check, f"{text}; {VERIFY}")


def _judge_taken(examination: Examination, check: str, answer: Answer, first: Answer) -> None:
    report, what = examination.report, WHY[check]
    if error_of(answer) is not None and error_of(first) is None:
        report.warn(check, f"{what} is answered {answer.status} with an error; 401 is clearer")
    elif check == "old timestamp":
        report.warn(check, f"{what} is accepted ({answer.status}): {TOO_OLD}")
    else:
        report.wrong(check, f"{what} is accepted ({answer.status}): {VERIFY}")
