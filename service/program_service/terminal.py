r"""Terminal: text from outside as it may be written to a terminal.

An escape sequence sets a terminal's clipboard or title and overwrites lines, a line break forges a
line, and a bidirectional control reorders one. They are shown as Python writes them: `\x1b`.
"""

import json
import re

_HIDDEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tab and line feed
    r"\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\u2028\u2029\ud800-\udfff\U000e0000-\U000e007f"
)
_CONTROL = re.compile(f"[{_HIDDEN}]")
_LINE_BREAK = re.compile(r"\r\n|[\n\x0b\x0c\r\x85\u2028\u2029]")


def printable(text: str) -> str:
    """Return a text of several lines without anything that a terminal obeys."""
    return _CONTROL.sub(_escaped, text.replace("\r\n", "\n"))


def in_line(text: str) -> str:
    """Return a text as a part of one line: its line breaks become spaces."""
    return printable(_LINE_BREAK.sub(" ", text))


def printable_json(document: str) -> str:
    """Return a JSON document with the same values, and without anything that a terminal obeys."""
    return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], document)


def _escaped(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape").decode()
