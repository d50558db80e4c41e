"""TOML files: those that people write for us; a mistake is named with its file and line."""

import re
import tomllib
from pathlib import Path
from typing import Any

MARK = "\ufeff"
"""A byte order mark, which editors put before a text."""


class BadFile(ValueError):
    """A file cannot be used; the message names it, and the line where that is known."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises:
        BadFile: it cannot be read, or is not TOML.
    """
    text = text_of(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words, _, at = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", at)
        # what ends too early is wrong in its last line
        number = int(line[1]) if line else len(text.splitlines())
        msg = f"{path}, line {number}: {words[:1].lower()}{words[1:]}: it is not TOML"
        raise BadFile(msg) from error
    except RecursionError as error:
        msg = f"{path}: it is nested too deep"
        raise BadFile(msg) from error


def text_of(path: Path) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        BadFile: it cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        return content.decode().removeprefix(MARK)
    except OSError as error:
        msg = f"{path}: it cannot be read: {error.strerror}"
        raise BadFile(msg) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        msg = f"{path}, line {line}: it is not UTF-8"
        raise BadFile(msg) from error


def place_of(path: Path, key: str) -> str:
    """Name the place of a key of the top level, with its line if it is found."""
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[.=\]]""")
    try:
        lines = text_of(path).splitlines()
    except BadFile:
        lines = []
    for number, line in enumerate(lines, 1):
        if pattern.match(line):
            return f"{path}, line {number}, {key}"
    return f"{path}, {key}"
