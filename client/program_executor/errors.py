"""Errors: why a command ends without having done its work, and with which exit code.

CommandError
├── UsageError         2, wrong from the start
├── UnreachableError   3, nothing answers
└── RefusedError       4, the service answers, and refuses
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    NOT_FINISHED = 1
    """A program was waited for and did not finish, or a check found something wrong."""
    WRONG_USE = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130
    """The shells' code for a command that was stopped by Ctrl-C."""


class CommandError(Exception):
    """A command cannot do its work; the message says what to do."""

    code: ClassVar[ExitCode]


class UsageError(CommandError):
    """Something is wrong with how a command was called; the message says what would be right."""

    code = ExitCode.WRONG_USE


class UnreachableError(CommandError):
    """The service, or the database, does not answer."""

    code = ExitCode.UNREACHABLE


class RefusedError(CommandError):
    """The service refuses."""

    code = ExitCode.REFUSED
