"""Findings: what an endpoint does right and wrong, and what would be right."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from program_service.webhooks.signing import PREFIX

MAX_SHOWN = 200
"""Characters of what an endpoint said."""


class Verdict(StrEnum):
    """What a finding means; only `WRONG` makes the check fail."""

    RIGHT = "right"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `check` names what was looked at."""

    check: str
    verdict: Verdict
    text: str


@dataclass(slots=True)
class Report:
    """Everything that was found; `tell` hears of each finding at once, and nobody of the secret."""

    secret: str
    tell: Callable[[Finding], None]
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.verdict is not Verdict.WRONG for finding in self.findings)

    def right(self, check: str, text: str) -> None:
        """Say what is right."""
        self._add(check, Verdict.RIGHT, text)

    def note(self, check: str, text: str) -> None:
        """Say what is neither."""
        self._add(check, Verdict.NOTE, text)

    def warn(self, check: str, text: str) -> None:
        """Say what works, and could be better."""
        self._add(check, Verdict.WARNING, text)

    def wrong(self, check: str, text: str) -> None:
        """Say what is wrong, and what would be right."""
        self._add(check, Verdict.WRONG, text)

    def _add(self, check: str, verdict: Verdict, text: str) -> None:
        # an endpoint may say the secret in its answer
        hidden = text.replace(self.secret.removeprefix(PREFIX), "…")
        finding = Finding(check, verdict, hidden)
        self.findings.append(finding)
        self.tell(finding)


def excerpt(text: str) -> str:
    """Return the beginning of what an endpoint said, on one line, without control characters."""
    shown = "".join(each if each.isprintable() else " " for each in text[: MAX_SHOWN + 1]).strip()
    return shown[:MAX_SHOWN] + "…" if len(text) > MAX_SHOWN else shown
