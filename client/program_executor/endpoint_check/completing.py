"""Completing: what an endpoint says by the links after a 202."""

from program_executor.endpoint_check.calling import Answer, NoAnswer
from program_executor.endpoint_check.examining import Examination
from program_executor.endpoint_check.findings import excerpt
from program_executor.endpoint_check.links import METHODS, STALE, Said, Step
from program_executor.endpoint_check.reading import error_in_words

OK = 200
BODIES = {
    "complete": '{} or {"job_data": {…}}, as application/json',
    "fail": '{"error": {"message": "…", "retryable": true or false}}, as application/json',
    "heartbeat": "{}, as application/json",
    "job-data": "an object, as application/json",
}


async def complete(examination: Examination, step: Step, first: Answer) -> None:
    """Wait for the completion of the first step, and say what it was like."""
    report = examination.report
    end = await examination.settle("completion", step, first)
    if end is not None:
        _judge(examination, step, end)
    beats = sum(each.link == "heartbeat" for each in step.said)
    text = f"{beats} came" if beats else "none came; only a job longer than its limit needs them"
    report.note("heartbeats", text)


def tell_of_stale(examination: Examination, step: Step, later: Answer | NoAnswer) -> None:
    """Say what a completion did that was answered 409; `later` is the answer to the next call."""
    report = examination.report
    count = sum(each.status == STALE for each in step.endings)
    if not count:
        return
    if isinstance(later, NoAnswer):
        text = "a completion was answered 409 stale_step, and since then the endpoint is silent"
        report.wrong("stale completion", f"{text}: 409 means that the step has moved on, no more")
    elif count > 1:
        text = f"a completion that was answered 409 stale_step was sent {count} times"
        report.warn("stale completion", f"{text}: 409 is final, the step has moved on")
    else:
        text = "a completion was answered 409 stale_step, and did the endpoint no harm"
        report.note("stale completion", text)


def look_at_links(examination: Examination) -> None:
    """Say which uses of links the service would have refused."""
    said = [each for step, _ in examination.links.steps.values() for each in step.said]
    refused = dict.fromkeys(_refusal(each) for each in said if each.status not in {OK, STALE})
    for text in refused:
        if all(finding.text != text for finding in examination.report.findings):
            examination.report.wrong("links", text)
    for stray in dict.fromkeys(examination.links.strays):
        text = f"{excerpt(stray)} is no link (404): use the links of the call as they are"
        examination.report.wrong("links", text)


def _judge(examination: Examination, step: Step, end: Said) -> None:
    report = examination.report
    if end.status != OK:
        report.wrong("completion", _refusal(end))
    elif end.link == "fail":
        error = error_in_words(end.body["error"])
        text = f"said by links.fail: {error}; give data that it can work with: --program-data"
        report.warn("completion", text)
    else:
        which = "newest" if end.attempt == step.attempt else "first"
        report.right("completion", f"completed, by the {which} links, with a valid body")


def _refusal(said: Said) -> str:
    name, why = said.link.replace("-", "_"), excerpt(said.detail)
    right = f"{METHODS[said.link]} {BODIES[said.link]}"
    return f"links.{name} was refused with {said.status} ({why}); right: {right}"
