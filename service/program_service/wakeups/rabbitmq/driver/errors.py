"""Errors: what may go wrong between us and RabbitMQ; nothing else leaves this package."""

INTERNAL_ERROR = 541
"""RabbitMQ's code for a fault of its own: it closes the whole connection."""


class BrokerError(ConnectionError):
    """RabbitMQ did not do what it was asked."""


class ConnectionLost(BrokerError):
    """The connection is gone; `code` is RabbitMQ's reason, if it gave one."""

    def __init__(self, text: str, code: int | None = None) -> None:
        """Keep the reason."""
        super().__init__(text)
        self.code = code


class NotAdmitted(ConnectionLost):
    """RabbitMQ does not let us in, or the URL is wrong: waiting does not help."""


class NoAnswer(BrokerError):
    """RabbitMQ did not answer in time."""

    def __init__(self, asked: object, *, others_were_answered: bool) -> None:
        """Keep which transport it was asked over, and whether that was of use to others."""
        super().__init__(self.__doc__)
        self.asked = asked
        self.others_were_answered = others_were_answered


class Paused(BrokerError):
    """Nothing was tried: the last attempt failed a moment ago."""


class Blocked(BrokerError):
    """RabbitMQ takes no messages from anybody, because it is short of memory or of disk space."""


class NoRoom(BrokerError):
    """RabbitMQ allows one more connection at most, and the last one is for publishers."""


class NotConfirmed(BrokerError):
    """RabbitMQ refused a message, or had no queue to put it into."""


class Refused(BrokerError):
    """RabbitMQ refused an operation, and closed the channel."""


class AccessRefused(Refused):
    """The user lacks a permission."""


class QueueMissing(Refused):
    """There is no such queue."""


class QueueLocked(Refused):
    """The queue is another connection's alone."""


class ArgumentsDiffer(Refused):
    """The queue exists, with other arguments."""


class BadName(BrokerError):
    """AMQP clients cannot use a queue of this name."""
