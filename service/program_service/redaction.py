"""Redaction: the one place that decides which values are never shown and never logged.

Data are veiled when they are shown, by the names of their fields; jobs and endpoints work on the
real ones. Texts, which an exception may have put a value into, are veiled before they are recorded:
they are searched, grouped and logged from there on. A text is cut after that, never before: half of
a secret would not be found.
"""

import json
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from program_service.plain import tried
from program_service.texts import MAX_TEXT_BYTES, cut, size_of

VEIL = "***"

SHORTEST = 4
"""Values below so many characters are left in texts: `1` or `no` would be found everywhere."""

DEEPEST = 200
"""What nests deeper is hidden whole: our own data never do, what a job logs may hold itself."""

MOST_PLACES = 10_000
"""A text in which secrets are in more places is hidden whole."""

CUT = " […]"
"""The end of a logged text that was cut before all secrets were known."""

OF_EVERY_LINE = frozenset({"event", "level", "timestamp"})


class HasData(Protocol):
    """A program, however it was read."""

    @property
    def program_data(self) -> dict[str, Any]:
        """The data of all its jobs."""

    @property
    def job_data(self) -> dict[str, Any]:
        """{job name: its data}."""


P = TypeVar("P", bound=HasData)


class Redaction:
    """Which fields are hidden, at any depth, by name and in any case."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Take the names of the fields."""
        self._names = frozenset(name.casefold() for name in names)
        self.is_on = bool(self._names)

    def program(self, program: P) -> P:
        """Return a program as it may be shown."""
        if not self.is_on:
            return program
        data, job_data = self.data(program.program_data), self._of_jobs(program.job_data)
        shown: P = replace(program, program_data=data, job_data=job_data)  # type: ignore[type-var]
        return shown

    def _of_jobs(self, job_data: dict[str, Any]) -> dict[str, Any]:
        """Veil the data of each job; the name of a job is no field."""
        return {job: self.data(data) for job, data in job_data.items()}

    def data(self, value: Any) -> Any:
        """Return JSON, or what a job logs, as it may be shown."""
        return self._veiled(value, 0) if self.is_on else value

    def _veiled(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            return VEIL
        if isinstance(value, dict):
            return {
                name: VEIL if self._hides(name) else self._veiled(each, depth + 1)
                for name, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._veiled(each, depth + 1) for each in value]
        return value

    def _hides(self, name: object) -> bool:
        return isinstance(name, str) and name.casefold() in self._names

    def hides_any(self, names: Iterable[str]) -> bool:
        """Say whether one of these fields is hidden, and so what is in it."""
        return any(map(self._hides, names))

    def first_veil(self, value: Any) -> str | None:
        """Return the path of the first hidden field whose value is the veil itself, if any is."""
        if not self.is_on:
            return None
        found = self._hidden(value, "")
        return next((path for path, hidden in found if VEIL in _leaves(hidden)), None)

    def _hidden(self, value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield the path and the value of each hidden field."""
        if depth > DEEPEST:
            yield path, value
            return
        named = value.items() if isinstance(value, dict) else ()
        listed = enumerate(value) if isinstance(value, list) else ()
        for name, each in named:
            place = f"{path}.{name}" if path else str(name)
            if self._hides(name):
                yield place, each
            else:
                yield from self._hidden(each, place, depth + 1)
        for index, each in listed:
            yield from self._hidden(each, f"{path}[{index}]", depth + 1)

    def secrets_of(self, program: HasData, *more: Any) -> Sequence[str]:
        """Return the hidden values of a program, and of more data, as texts may hold them.

        The longest come first.
        """
        data = [program.program_data, *program.job_data.values(), *more]
        hidden = [value for each in data for _, value in self._hidden(each, "")]
        leaves = {str(leaf) for value in hidden for leaf in _leaves(value)}
        forms = {form for leaf in leaves for form in _forms(leaf)}
        return sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def lines(self, lines: list[dict[str, Any]], secrets: Sequence[str]) -> list[dict[str, Any]]:
        """Return the lines that a job logged as they may be kept."""
        return [
            line
            | {"text": _veil_line(line["text"], secrets)}
            | (
                {"fields": _veil_texts(self.data(line["fields"]), secrets)}
                if "fields" in line
                else {}
            )
            for line in lines
        ]

    def log_line(
        self, _logger: object, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Hide fields of a log line, as a processor of structlog."""
        for name, value in line.items():
            if name not in OF_EVERY_LINE:
                # of what cannot be looked through nobody knows what it holds
                line[name] = VEIL if self._hides(name) else tried(partial(self.data, value), VEIL)
        return line


def shown_text(text: str, secrets: Sequence[str] = (), most: int = MAX_TEXT_BYTES) -> str:
    """Return a text as it may be kept: without these secrets, and then cut to so many bytes."""
    longest = max(map(len, secrets), default=0)
    if len(text) <= most + longest:
        return cut(veil_text(text, secrets), most)
    # only what may be shown is searched; at its end half of a secret may be left
    veiled = veil_text(text[: most + longest], secrets)
    return cut(veiled[: max(0, len(veiled) - longest)], most, of_bytes=size_of(text))


def veil_text(text: str, secrets: Sequence[str], *, has_lost_its_end: bool = False) -> str:
    """Put the veil in the place of each secret in a text, also of those that overlap.

    In a text that was cut, the beginning of a secret at its end is one, too.
    """
    found = list(islice(_places(text, secrets), MOST_PLACES + 1))
    if has_lost_its_end:
        found += _begun(text, secrets)
    if len(found) > MOST_PLACES:
        return VEIL
    shown, end = list[str](), 0
    for first, after in sorted(found):
        if first >= end:
            shown += (text[end:first], VEIL)
        end = max(end, after)
    return "".join((*shown, text[end:]))


def _places(text: str, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where secrets begin and end in a text."""
    for secret in secrets:
        at = text.find(secret)
        while at >= 0:
            yield at, at + len(secret)
            at = text.find(secret, at + 1)


def _begun(text: str, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where secrets begin whose end a text has lost."""
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(text)), SHORTEST - 1, -1):
            if text.endswith(secret[:length]):
                yield len(text) - length, len(text)
                break


def _forms(secret: str) -> tuple[str, ...]:
    """Return what a secret looks like in texts: as it is, in a traceback, and in JSON."""
    in_json = json.dumps(secret), json.dumps(secret, ensure_ascii=False)
    return (secret, *(form[1:-1] for form in (repr(secret), *in_json)))


def _veil_line(text: str, secrets: Sequence[str]) -> str:
    whole = text.removesuffix(CUT)
    is_cut = whole != text
    return veil_text(whole, secrets, has_lost_its_end=is_cut) + (CUT if is_cut else "")


def _veil_texts(value: Any, secrets: Sequence[str]) -> Any:
    """Put the veil in the place of each secret in JSON, wherever it stands."""
    if isinstance(value, dict):
        return {
            veil_text(name, secrets): _veil_texts(each, secrets) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_veil_texts(each, secrets) for each in value]
    if isinstance(value, str):
        return veil_text(value, secrets)
    return VEIL if str(value) in secrets else value


def _leaves(value: Any) -> Iterator[Any]:
    """Yield what a value is made of; what is true, false or null says nothing in a text."""
    left = [value]  # not by recursion, whose limit a row may be beyond
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left.extend((*each, *each.values()))
        elif isinstance(each, list):
            left.extend(each)
        elif each is not None and not isinstance(each, bool):
            yield each
