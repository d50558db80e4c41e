"""The errors of calls, as a tree.

CallError
├── Forbidden       the address may not be called; final
├── TookTooLong     no whole answer came before the deadline
├── NoConnection    none came about, or it broke
├── BrokenAnswer    what came is no answer that is taken
└── UnexpectedCallError     something was raised that nobody foresaw; it was logged
"""


class BadWebhookSetting(ValueError):
    """A setting about calls cannot be used; the message names it."""


class CallError(Exception):
    """A call did not bring an answer."""

    has_connected = False
    """Whether there was a connection: if not, no address of the host works at all."""


class Forbidden(CallError):
    """The address may not be called; `rule` is a stable word for the reason."""

    def __init__(self, rule: str, message: str) -> None:
        """Take the rule, and the reason in words."""
        super().__init__(f"forbidden address: {message} (rule {rule!r})")
        self.rule = rule


class TookTooLong(CallError):
    """No whole answer came before the deadline."""


class NoConnection(CallError):
    """No connection came about, or it broke."""


class BrokenAnswer(CallError):
    """What came is no answer that is taken."""


class UnexpectedCallError(CallError):
    """Something was raised that nobody foresaw; it was logged with its traceback."""
