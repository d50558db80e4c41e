"""Reading: what an answer means to the worker, and whether its form is right."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from program_executor.endpoint_check.calling import Answer
from program_executor.endpoint_check.findings import Verdict, excerpt
from program_service.bookkeeping.lifecycle import RetryLater
from program_service.webhooks import answer_bodies
from program_service.webhooks.answer_bodies import Unreadable
from program_service.webhooks.answers import RETRYABLE, as_text, outcome_of_error
from program_service.webhooks.caller import LIMIT_BYTES

ACCEPTED = 202
KNOWN = {"job_data", "error"}
IN_ERRORS = {"message", "retryable", "ignorable", "code"}
RIGHT_FORM = 'answer with {"job_data": {…}}, with {"error": {…}}, or without a body'


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something about the form of an answer; a `WARNING` is ignored by the service."""

    verdict: Verdict
    text: str


def is_taken(answer: Answer) -> bool:
    """Say whether an endpoint took a call: did it, will do it, or says how the job failed."""
    return 200 <= answer.status < 300 or error_of(answer) is not None  # noqa: PLR2004


def content_of(answer: Answer) -> dict[str, Any] | Unreadable | None:
    """Return the JSON object of an answer, as the worker reads it."""
    return answer_bodies.read_body(answer.status, answer.headers, answer.body)


def error_of(answer: Answer) -> dict[str, Any] | None:
    """Return the protocol's error that a body holds; None when it holds none."""
    return answer_bodies.error_in(content_of(answer))


def error_in_words(error: dict[str, Any], *, status: int | None = None) -> str:
    """Say how a job failed."""
    outcome = outcome_of_error(error, status=status)
    again = "to be tried again" if isinstance(outcome, RetryLater) else "for good"
    return f"the job fails {again}: {excerpt(outcome.failure.message)!r}"


def said_by(answer: Answer) -> str:
    """Return what an answer says: a problem's detail or title, else the text itself."""
    content = content_of(answer)
    fields = content if isinstance(content, dict) else {}
    said = fields.get("detail") or fields.get("title")
    text = excerpt(as_text(said) if said else answer.body.decode("utf-8", "replace"))
    return f" ({text!r})" if text else ""


def refusal_in_words(answer: Answer) -> str:
    """Say what becomes of a step whose call is answered with this status, without an error."""
    status, said = answer.status, said_by(answer)
    if 300 <= status < 400:  # noqa: PLR2004
        to = excerpt(answer.headers.get("location", "nowhere"))
        return (
            f"redirects (answered {status}, to {to!r}): redirects are never followed, and the step"
            " fails; give the address where it really answers"
        )
    if status in {401, 403}:
        return (
            f"refused a correctly signed call (answered {status}{said}): it must know this secret,"
            " and compute HMAC-SHA256 over webhook-id.webhook-timestamp.body with the raw body, as"
            " it arrived"
        )
    if status == 410:  # noqa: PLR2004
        return f"answered 410{said}, which disables the job; 200, 204 or 202 would be right"
    if status in RETRYABLE or status >= 500:  # noqa: PLR2004
        return (
            f"answered {status}{said}, which asks to be called again; 200, 204 or 202 would be"
            " right, or an error in the body that says whether to try again"
        )
    return (
        f"answered {status}{said}, which fails the step for good; 200, 204 or 202 would be right,"
        " or an error in the body that says why"
    )


def flaws_of(answer: Answer) -> Iterator[Flaw]:
    """Yield what is not right about the form of an answer that took the call."""
    if answer.encoding:
        text = f"is compressed ({excerpt(answer.encoding)}), which is refused: send it as it is"
        yield Flaw(Verdict.WRONG, text)
    elif answer.is_too_long:
        text = f"is longer than {LIMIT_BYTES} bytes, which is refused: store the data elsewhere"
        yield Flaw(Verdict.WRONG, f"{text}, and answer with where it is")
    elif (error := error_of(answer)) is not None:
        yield from _flaws_of_error(error)
    elif answer.status != ACCEPTED:
        yield from _flaws_of_result(answer)


def _flaws_of_result(answer: Answer) -> Iterator[Flaw]:
    content = content_of(answer)
    if isinstance(content, Unreadable):
        text = f"comes as JSON, and {content.reason}: the try fails, and is repeated"
        yield Flaw(Verdict.WRONG, f"{text}. Right: {RIGHT_FORM}")
    elif content is not None:
        yield from _flaws_of_object(content)
    elif answer.body.strip():
        yield _flaw_of_another_type(answer)


def _flaw_of_another_type(answer: Answer) -> Flaw:
    kind = answer.headers.get("content-type", "")
    if "html" in kind.lower() or answer.body.lstrip()[:1] == b"<":
        text = "is a page (HTML), and yet would count as done: is a login or a proxy before it?"
        return Flaw(Verdict.WRONG, f"{text} Right: {RIGHT_FORM}")
    text = f"is no JSON object{said_by(answer)}: the step counts as done, and nothing is stored"
    return Flaw(Verdict.WARNING, f"{text}; better: {RIGHT_FORM}")


def _flaws_of_object(content: dict[str, Any]) -> Iterator[Flaw]:
    if "program_data" in content:
        text = "has program_data, which fails the step, since jobs do not change it: send job_data"
        yield Flaw(Verdict.WRONG, text)
    if not isinstance(content.get("job_data"), dict | None) and content["job_data"] != []:
        text = f"has a job_data that is {_kind(content['job_data'])}, which fails the step"
        yield Flaw(Verdict.WRONG, f"{text}: it must be a JSON object")
    if content.get("error") is not None:
        text = f"has an error that is {_kind(content['error'])}, and ignored: it is an error only"
        yield Flaw(Verdict.WRONG, f"{text} as an object with a text as its message")
    if unknown := _shown(content.keys() - KNOWN - {"program_data"}):
        text = f"has {unknown}, which nothing reads: only job_data is stored, and only error fails"
        yield Flaw(Verdict.WARNING, f"{text} the step")


def _flaws_of_error(error: dict[str, Any]) -> Iterator[Flaw]:
    if not error["message"]:
        yield Flaw(Verdict.WARNING, "has an error without a message: nobody will learn why")
    for name in ("retryable", "ignorable"):
        if not isinstance(error.get(name, False), bool):
            text = f"has an error whose {name} is {_kind(error[name])} and is ignored"
            yield Flaw(Verdict.WRONG, f"{text}: it must be true or false")
    if unknown := _shown(error.keys() - IN_ERRORS):
        text = f"has {unknown} in its error, which nothing reads; {', '.join(sorted(IN_ERRORS))}"
        yield Flaw(Verdict.WARNING, f"{text} are known")


def _shown(names: set[str]) -> str:
    return ", ".join(excerpt(repr(name)) for name in sorted(names))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case list():
            return "an array"
        case str():
            return "a text"
        case dict():
            return "an object"
        case _:
            return "a number"
