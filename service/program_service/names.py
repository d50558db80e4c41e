"""Names: what jobs, queues and workers may be called; one definition, wherever a name is given.

A name obeys the rules of the narrowest place that it reaches:

job      a column of 255 characters, the path of a URL, a label of a metric, and a terminal
queue    besides, RabbitMQ, where it stands behind QUEUE_NAME in 255 bytes, and QUEUES, whose names
         are separated by commas
worker   a column of 255 characters, with the id of its process
"""

import re

MAX_NAME = 255
"""As the ancestor's: names are kept in a varchar(255)."""

MAX_BROKER_NAME = 255
"""Bytes of a name in AMQP."""

MAX_PREFIX, MAX_QUEUE = 100, 150
"""With a dot between them, they are a name in AMQP."""

MAX_WORKER = 240
"""What a column of 255 leaves beside the id that keeps two processes of one name apart."""

DEAD_LETTERS = "dead-letters"
"""What a queue of our own is called."""

ACTION = "/rotate-secret"
"""What follows the name of a job in a path."""

PRINTABLE = (
    r"^[^\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]*$"
)
"""No controls, and nothing that is not seen: a name is what people read, in any script."""

QUEUE = rf"^[a-zA-Z0-9\-_.:@#/+]([a-zA-Z0-9\-_.:@#/+ ]{{0,{MAX_QUEUE - 2}}}[a-zA-Z0-9\-_.:@#/+])?$"
_IN_WORDS = "letters without accents, digits, spaces and - _ . : @ # / +"

_PRINTABLE, _QUEUE = re.compile(PRINTABLE), re.compile(QUEUE)
_BROKER = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]*")


def require_printable(text: str) -> str:
    """Return a text that people can read.

    Raises:
        ValueError: it holds something that is not seen.
    """
    if not _PRINTABLE.fullmatch(text) or not is_unicode(text):
        msg = f"{text!r} holds a character that is not seen; use printable ones"
        raise ValueError(msg)
    return text


def require_job_name(name: object) -> str:
    """Return the name of a job.

    Raises:
        ValueError: no job can have it; the message says what would be right.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        msg = f"{_short(name)} cannot be a job's name: use 1 to {MAX_NAME} printable characters"
        raise ValueError(msg)
    if name in {".", ".."} or name.endswith(ACTION):
        msg = f"{name!r} cannot be a job's name: in the path of a URL it means something else"
        raise ValueError(msg)
    return require_printable(name)


def require_queue_name(name: object) -> str:
    """Return the name of a queue, without QUEUE_NAME.

    Raises:
        ValueError: no queue can have it; the message says what would be right.
    """
    if not isinstance(name, str) or not _QUEUE.fullmatch(name):
        msg = (
            f"{_short(name)} cannot be a queue's name: use 1 to {MAX_QUEUE} {_IN_WORDS}, with"
            " no space at either end"
        )
        raise ValueError(msg)
    if name == DEAD_LETTERS:
        msg = f"{name!r} is the queue of what could not be delivered; use another name"
        raise ValueError(msg)
    return name


def require_queue_prefix(name: str) -> str:
    """Return the first part of the names of all queues.

    Raises:
        ValueError: RabbitMQ, or one of its clients, does not take it.
    """
    if not 0 < len(name) <= MAX_PREFIX or not is_name_in_broker(name):
        msg = f"{_short(name)}: use 1 to {MAX_PREFIX} {_IN_WORDS} ,"
        raise ValueError(msg)
    if name.lower().startswith("amq."):
        msg = f"{name!r}: names that begin with amq. are RabbitMQ's own; use another"
        raise ValueError(msg)
    return name


def require_worker_name(name: str) -> str:
    """Return the name of a worker; the empty one is replaced by host and process.

    Raises:
        ValueError: no worker can have it.
    """
    if len(name) > MAX_WORKER:
        msg = f"{_short(name)} has {len(name)} characters; use at most {MAX_WORKER}"
        raise ValueError(msg)
    return require_printable(name)


def is_name_in_broker(name: str) -> bool:
    """Say whether RabbitMQ and its clients take a whole name."""
    return len(name) <= MAX_BROKER_NAME and _BROKER.fullmatch(name) is not None


def is_unicode(text: str) -> bool:
    """Say whether there are no lone surrogates, which no database keeps."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= MAX_QUEUE else f"{text[:40]}… ({len(text) - 2} characters)"
