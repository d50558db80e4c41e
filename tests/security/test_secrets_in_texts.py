"""Secrets in texts: first they are hidden, then the text is cut; no part of a secret is left."""

from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from program_service.bookkeeping.lifecycle import Fail, Failure, RetryLater
from program_service.bookkeeping.veiling import veil_outcome
from program_service.redaction import CUT, VEIL, Redaction, shown_text
from program_service.webhooks.answers import read_answer
from program_service.webhooks.caller import Answer
from program_workers.job_log import Kept

HIDING = Redaction(["card"])
MOST = 120
ANY_SIX = 6

SECRETS = st.lists(st.text("0123456789", min_size=6, max_size=40), min_size=1, max_size=4)
GAPS = st.lists(st.text("abcXYZ \n", max_size=90), min_size=5, max_size=9)


class Data:
    """What has data."""

    def __init__(self, hidden: Any) -> None:
        """Hide some."""
        self.program_data = {"card": hidden}
        self.job_data: dict[str, Any] = {}


def survivors(shown: str, secrets: list[str]) -> list[str]:
    """Return six characters of each secret that are still there."""
    return [
        secret[at : at + ANY_SIX]
        for secret in secrets
        for at in range(len(secret) - ANY_SIX + 1)
        if secret[at : at + ANY_SIX] in shown
    ]


def woven(secrets: list[str], gaps: list[str], overlap: int) -> str:
    """Put secrets into a text, each also where it overlaps the next by some characters."""
    text = gaps[0]
    for secret, gap in zip(secrets, gaps[1:], strict=False):
        text += secret + gap
    for one, other in pairwise(secrets):
        if one[-overlap:] == other[:overlap]:
            text += one + other[overlap:]
    return text


@given(SECRETS, GAPS, st.integers(1, 5))
@example(["0123456789012345"], ["x" * (MOST - 12), *[""] * 5], 1)
@example(["000000123456", "123456999999"], [""] * 6, 6)
@example(["1" * 40], ["", "1" * 0, "", "", ""], 1)
def test_no_six_characters_of_a_secret_survive_in_a_text(
    secrets: list[str], gaps: list[str], overlap: int
) -> None:
    text = woven(secrets, gaps, overlap)
    known = HIDING.secrets_of(Data(secrets))
    shown = shown_text(text, known, MOST).partition("…")[0]
    assert survivors(shown, secrets) == []
    assert len(shown.encode()) <= MOST


@given(SECRETS, GAPS, st.integers(1, 5))
def test_no_six_characters_of_a_secret_survive_in_a_line_that_a_job_logged(
    secrets: list[str], gaps: list[str], overlap: int
) -> None:
    kept = Kept(max_lines=50, max_bytes=250)
    kept.add({"at": "2027-01-31T08:00:00Z", "level": "info", "text": woven(secrets, gaps, overlap)})
    (line,) = HIDING.lines(kept.told(), HIDING.secrets_of(Data(secrets)))
    assert survivors(line["text"], secrets) == []


@given(SECRETS, GAPS, st.sampled_from([302, 400, 500]))
def test_no_six_characters_of_a_secret_survive_in_an_answer_that_is_quoted(
    secrets: list[str], gaps: list[str], status: int
) -> None:
    text = "z" * 430 + woven(secrets, gaps, 1)
    known = HIDING.secrets_of(Data(secrets))
    answer = Answer(status, {"location": text}, text.encode())
    outcome = veil_outcome(read_answer(answer, within_s=1, secrets=known).outcome, known)
    assert isinstance(outcome, Fail | RetryLater)
    assert survivors(outcome.failure.message, secrets) == []


def test_twelve_digits_of_a_card_at_the_cut_are_hidden() -> None:
    card = "4111111111111111"
    text = "x" * 65_476 + card + "y" * 1_000
    shown = shown_text(text, HIDING.secrets_of(Data(card)))
    assert "4111" not in shown
    assert shown.endswith("left out")


def test_secret_that_is_the_key_of_an_object_is_hidden() -> None:
    known = HIDING.secrets_of(Data({"4111-1111": {"5500-0000": [True]}}))
    assert shown_text("4111-1111, then 5500-0000", known) == f"{VEIL}, then {VEIL}"


def test_secret_is_found_as_json_and_repr_write_it() -> None:
    known = HIDING.secrets_of(Data('pä"ss\\word\n1'))
    for text in ('pä\\"ss\\\\word\\n1', 'p\\u00e4\\"ss\\\\word\\n1', 'pä"ss\\\\word\\n1'):
        assert shown_text(f"<{text}>", known) == f"<{VEIL}>", text


def test_code_and_type_of_an_error_lose_secrets_before_they_are_cut() -> None:
    card = "4111111111111111"
    failure = Failure("no", type="T" * 243 + card, code="c" * 243 + card)
    veiled = veil_outcome(Fail(failure), HIDING.secrets_of(Data(card)))
    assert isinstance(veiled, Fail)
    assert veiled.failure.type == "T" * 243 + VEIL
    assert veiled.failure.code == "c" * 243 + VEIL


def test_text_that_is_full_of_secrets_is_hidden_whole_and_not_searched_for_long() -> None:
    secrets = ["1" * length for length in range(4, 1_000)]
    assert shown_text("1" * 60_000, secrets) == VEIL


def test_line_that_was_cut_within_a_secret_loses_its_beginning() -> None:
    line = {"text": f"paid with 41111111{CUT}"}
    (shown,) = HIDING.lines([line], ["4111111111111111"])
    assert shown["text"] == f"paid with {VEIL}{CUT}"
