"""Examining: what the checks have in common: who calls, and what to say of an answer."""

from dataclasses import dataclass, field

from program_executor.endpoint_check.calling import Answer, Caller, NoAnswer, Plan, Signing
from program_executor.endpoint_check.findings import Report, Verdict
from program_executor.endpoint_check.links import STALE, Links, Said, Step
from program_executor.endpoint_check.reading import (
    ACCEPTED,
    error_in_words,
    error_of,
    flaws_of,
    is_taken,
    refusal_in_words,
)

NOT_AGAIN = (
    "answered 202 to the same webhook-id after it had completed the step, and did not complete it"
    " again: when a completion is lost, the step never ends. Answer 200 with the stored answer, or"
    " complete once more through the new links"
)


@dataclass(slots=True)
class Examination:
    """One endpoint, and what was seen of it so far."""

    plan: Plan
    caller: Caller
    links: Links
    report: Report
    is_patient: bool = True
    """Whether completions are worth waiting for: not when the first one never came."""
    refused: list[Step] = field(default_factory=list)
    """Steps whose calls were refused, so that none of their links should be used."""

    def new_step(self, *, is_stale: bool = False) -> Step:
        """Begin a step of another program."""
        return Step(self.plan.timeout_s, is_stale=is_stale)

    async def call(
        self, step: Step, *, others: tuple[str, ...] = (), later: dict[str, object] | None = None
    ) -> Answer | NoAnswer:
        """Call rightly; `others` are secrets that sign before ours, `later` are more fields."""
        step.call_again()
        body = self.caller.body(step, **(later or {}))
        signing = Signing([*others, self.plan.secret])
        answer = await self.caller.post(self.caller.headers(step, body, signing), body)
        step.answered_attempt = step.attempt
        return answer

    async def settle(
        self, check: str, step: Step, answer: Answer | NoAnswer, *, beyond: int = 0
    ) -> Said | None:
        """Wait for one more ending of a step that was accepted, and say so when none comes."""
        if not (self.is_patient and awaits_links(answer)):
            return None
        end = await step.end(beyond=beyond)
        if end is None:
            self.is_patient = False
            self.report.wrong(check, NOT_AGAIN if beyond else self._never_ended(step))
        return end

    def look_at_form(self, check: str, answer: Answer) -> bool:
        """Report what is not right about an answer's form; say whether it is right."""
        flaws = list(flaws_of(answer))
        for flaw in flaws:
            tell = self.report.wrong if flaw.verdict is Verdict.WRONG else self.report.warn
            tell(check, f"the answer {flaw.text}")
        return not flaws

    def _never_ended(self, step: Step) -> str:
        beats = sum(each.link == "heartbeat" for each in step.said)
        seen = f"{beats} heartbeats came" if beats else "no heartbeat came"
        if any(each.link == "fail" and each.status == STALE for each in step.said):
            seen = "it said fail by the links of an earlier call: keep the newest ones"
        return (
            f"answered 202, and did not complete within {self.plan.timeout_s:g} s ({seen}): POST"
            ' {} or {"job_data": {…}} to links.complete, or {"error": {"message": "…"}} to'
            f" links.fail. The links begin with {self.links.base}: if the endpoint cannot reach"
            " that, use --listen; if it needs longer, send heartbeats or use --timeout"
        )


def awaits_links(answer: Answer | NoAnswer) -> bool:
    """Say whether the endpoint will say later how the job ended."""
    return isinstance(answer, Answer) and answer.status == ACCEPTED and error_of(answer) is None


def problem_of(answer: Answer | NoAnswer) -> str | None:
    """Say why a right call was not taken; None: it was."""
    if isinstance(answer, NoAnswer):
        advice = "answer in time, or answer 202 and complete later through the links"
        return f"{answer.text}: {advice if answer.is_late else 'answer with 200, 204 or 202'}"
    return None if is_taken(answer) else refusal_in_words(answer)


def taken_in_words(answer: Answer) -> str:
    """Say what an endpoint answered that took a call."""
    error = error_of(answer)
    if error is not None:
        return f"answered {answer.status}, {error_in_words(error, status=answer.status)}"
    if answer.status == ACCEPTED:
        return "answered 202: it completes later, through the links"
    return f"answered {answer.status}: done"
