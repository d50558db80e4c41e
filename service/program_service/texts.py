"""Texts: how long a message may be, wherever it comes from."""

MAX_TEXT_BYTES = 65_536
"""Of an error message, a traceback or a log line, in UTF-8."""

NOTE_BYTES = 40
"""What the note about the rest may take."""

UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def cut(text: str, most: int = MAX_TEXT_BYTES, *, of_bytes: int = 0) -> str:
    """Return a text of at most so many bytes; its end says how much was left out.

    `of_bytes` is the size of the whole, if `text` is only its beginning. A text that may hold
    secrets is cut by `redaction.shown_text`: what is cut first is not found any more.
    """
    size = max(of_bytes, size_of(text))
    if size <= most:
        return text
    kept = text[:most].encode("utf-8", "replace")[: max(0, most - NOTE_BYTES)]
    shown = kept.decode("utf-8", "ignore")
    return f"{shown}… {_amount(size - len(kept))} left out"


def size_of(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _amount(size: int) -> str:
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
