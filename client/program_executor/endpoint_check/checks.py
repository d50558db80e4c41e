"""Checks: play the protocol against an endpoint, from the first call to the last completion."""

from collections.abc import Callable

from program_executor.endpoint_check.calling import Answer, Caller, NoAnswer, Plan
from program_executor.endpoint_check.completing import complete, look_at_links, tell_of_stale
from program_executor.endpoint_check.examining import (
    Examination,
    awaits_links,
    problem_of,
    taken_in_words,
)
from program_executor.endpoint_check.findings import Finding, Report
from program_executor.endpoint_check.links import Links, Step
from program_executor.endpoint_check.reading import error_of, said_by
from program_executor.endpoint_check.strangers import call_as_strangers, look_for_runs
from program_executor.endpoint_check.wire import serving
from program_executor.errors import UsageError
from program_service.webhooks.signing import new_secret

AGAIN = "the same webhook-id again, as after an answer that was lost"

# a number that many languages write in another way, a text beyond ASCII, an escape: who verifies a
# body that was parsed and written anew will not find the signature
LATER_FIELDS: dict[str, object] = {
    "from_a_later_version": {"text": "später ✓ </later>", "number": 1.0, "none": None}
}


async def check_endpoint(
    plan: Plan, tell: Callable[[Finding], None], *, links_host: str | None = None
) -> Report:
    """Check an endpoint; `tell` hears of each finding at once.

    `links_host` is how the endpoint reaches this machine, if not by the host that is listened on.

    Raises:
        UsageError: nothing answers there, or the address for the links cannot be listened on.
    """
    links, report = Links(), Report(plan.secret, tell)
    async with serving(links.answer, plan.host, plan.port) as port, Caller(plan, links) as caller:
        host = links_host or plan.host
        links.base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        await _examine(Examination(plan, caller, links, report))
    return report


async def _examine(examination: Examination) -> None:
    step = examination.new_step()
    first = await _first_call(examination, step)
    if first is None:
        text = "the other checks need an endpoint that takes a right call"
        examination.report.note("not looked at", text)
        return
    await _replay(examination, "replay", step)
    if awaits_links(first):
        await complete(examination, step, first)
        if examination.is_patient:
            await _replay(examination, "replay after its end", step)
    await call_as_strangers(examination, first)
    await _rotation_and_later_version(examination)
    look_for_runs(examination)
    look_at_links(examination)


async def _first_call(examination: Examination, step: Step) -> Answer | None:
    """Call rightly; None: that was not taken, and all else would be noise."""
    report = examination.report
    answer = await examination.call(step)
    if isinstance(answer, NoAnswer) and answer.is_unreachable:
        msg = f"{answer.text}: start the endpoint, or look at its address"
        raise UsageError(msg)
    problem = problem_of(answer)
    if isinstance(answer, NoAnswer) or problem is not None:
        report.wrong("call", str(problem))
        return None
    within = f"in {answer.took_s:.2f} s of {examination.plan.timeout_s:g} s"
    text = f"a correctly signed call is taken: {taken_in_words(answer)} ({within})"
    if error_of(answer) is None:
        report.right("call", text)
    else:
        report.warn("call", f"{text}; give data that it can work with: --program-data")
    if examination.look_at_form("answer", answer):
        report.right("answer", "its form is right")
    return answer


async def _replay(examination: Examination, check: str, step: Step) -> None:
    """Call a step again; what was accepted after its end must end again."""
    report, ended = examination.report, len(step.endings)
    answer = await examination.call(step)
    problem = problem_of(answer)
    if isinstance(answer, NoAnswer) or problem is not None:
        text = f"{AGAIN}: {problem}; answer as the first time, or 202 while it runs"
        report.wrong(check, text)
        return
    if ended and examination.is_patient and awaits_links(answer):
        if await examination.settle(check, step, answer, beyond=ended) is not None:
            report.right(check, f"{AGAIN}: answered 202, and completed once more")
        return
    report.right(check, f"{AGAIN}: {taken_in_words(answer)}")


async def _rotation_and_later_version(examination: Examination) -> None:
    """Call with two signatures, let the step move on meanwhile, and call with unknown fields."""
    moved_on = examination.new_step(is_stale=True)
    answer = await examination.call(moved_on, others=(new_secret(),))
    text = "a call with two signatures, of which the second fits, as in a rotation of secrets"
    advice = "webhook-signature is a list, divided by spaces: one that fits is enough"
    _judge(examination, "two signatures", (text, advice), answer)
    await examination.settle("two signatures", moved_on, answer)

    step = examination.new_step()
    answer = await examination.call(step, later=LATER_FIELDS)
    text = "a call with fields of a later version, some beyond ASCII"
    advice = "ignore unknown fields, and verify the raw body, as it arrived"
    _judge(examination, "unknown fields", (text, advice), answer)
    tell_of_stale(examination, moved_on, answer)
    await examination.settle("unknown fields", step, answer)


def _judge(
    examination: Examination, check: str, words: tuple[str, str], answer: Answer | NoAnswer
) -> None:
    """Say whether a right call was taken; `words` say what it was, and what to do if not."""
    what, advice = words
    if isinstance(answer, NoAnswer):
        examination.report.wrong(check, f"{what}, brought no answer ({answer.text}): {advice}")
    elif problem_of(answer) is not None:
        text = f"{what}, is answered {answer.status}{said_by(answer)}: {advice}"
        examination.report.wrong(check, text)
    else:
        examination.report.right(check, f"{what}, is taken")
