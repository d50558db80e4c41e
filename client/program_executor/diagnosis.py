"""Diagnosis: what a database or a broker said when it was not to be had, and what to do."""

import re
from collections.abc import Sequence
from typing import TypeAlias

from program_service.bookkeeping.errors import BookkeepingError
from program_service.bookkeeping.trouble import words_of

Advice: TypeAlias = Sequence[tuple[str, str]]

OF_BOTH: Advice = (
    (
        "name or service not known|name resolution|nodename nor servname|no address",
        ("no host has this name: correct it, or the name server"),
    ),
    (
        "connect call failed|connection refused|errno 111",
        ("nothing listens there: start it, or correct host and port"),
    ),
    (
        "timed out|timeout|no answer|not answer in time|errno 110",
        (
            "nothing answered in time: look at"
            " firewalls between, and whether another kind of server listens there"
        ),
    ),
    ("no route|unreachable", "the network does not lead there: correct the host, or the network"),
    (
        "certificate verify failed|hostname mismatch|self.signed",
        (
            "the certificate does not fit: name"
            " its authority in the URL, and the host as the certificate does"
        ),
    ),
)

OF_DATABASE: Advice = (
    (
        "password authentication|no password|access denied.*using password|fe_sendauth|scram",
        "correct the user and the password in DATABASE_URL",
    ),
    ("role .* does not exist", "create the role, or correct the user in DATABASE_URL"),
    (
        "database .* does not exist|unknown database",
        ("create the database, or correct its name in DATABASE_URL"),
    ),
    (
        "pg_hba|is not allowed to connect",
        ("let this host and user in (pg_hba.conf), or use TLS as it says"),
    ),
    ("access denied.*to database", "grant the user its privileges on this database"),
    ("access denied", "correct the user and the password in DATABASE_URL"),
    (
        (
            "too many (clients|connections)|connection slots|too_many|max_user_connections"
            "|more than 'max_"
        ),
        (
            "raise the server's limit (max_connections), or lower DATABASE_POOL_SIZE"
            " or the number of processes"
        ),
    ),
    (
        "rejected ssl upgrade",
        (
            "it does not speak TLS, or is no PostgreSQL: correct host and port, or"
            " use ?sslmode=prefer"
        ),
    ),
    (
        (
            "packet sequence|unexpected protocol|lost connection to mysql"
            "|unexpected connection_lost|connection was closed in the middle"
        ),
        (
            "another kind of server may listen there: correct the"
            " scheme, host and port in DATABASE_URL"
        ),
    ),
    (
        "read.?only|standby|recovery",
        ("this server takes no writes: name the primary in DATABASE_URL"),
    ),
    (
        "permission denied|command denied|must be owner",
        ("grant the user all privileges on the tables"),
    ),
    (
        "ssl|tls|wrong version",
        ("the two sides do not agree about TLS: correct ?sslmode=, or ?ssl_ca= of MariaDB"),
    ),
    ("unable to open database file", "make its folder, and let this user write there"),
    ("file is not a database|malformed", "name another file in DATABASE_URL"),
    ("starting up|shutting down", "wait until it has started"),
)

OF_BROKER: Advice = (
    (
        "access_refused.*login|authentication",
        (
            "correct the user and the password in AMQP_URL; guest"
            " may log in from RabbitMQ's own host only"
        ),
    ),
    (
        "vhost.*not found",
        ("create the virtual host, or correct it in AMQP_URL (/ is %2F, or nothing)"),
    ),
    (
        r"limit \(",
        ("raise RabbitMQ's limit of connections, or stop other users of it"),
    ),
    ("access to vhost .* refused", "give the user permissions in this virtual host"),
    (
        "lacks the permission|access_refused",
        ("give the user permissions: rabbitmqctl set_permissions"),
    ),
    (
        "wrong.version|unknown protocol|record layer",
        ("it does not speak TLS at this port: use amqp://, or the port for TLS (5671)"),
    ),
    ("certificate", "name the files that RabbitMQ wants: ?cafile=, ?certfile= and ?keyfile="),
    (
        "no amqp|connection unexpectedly closed|connection reset|bytes expected",
        (
            "this may be no"
            " RabbitMQ, or its port for TLS (then use amqps://): correct scheme, host and port in"
            " AMQP_URL"
        ),
    ),
    ("vhost .* is down", "look at RabbitMQ's log, and restart the virtual host"),
    ("blocked|alarm", "free memory or disk space where RabbitMQ runs"),
)


def of_database(error: BookkeepingError) -> str:
    """Say what the database said, and what to do."""
    words = _innermost_words(error)
    return _advised(words, (*OF_DATABASE, *OF_BOTH), "look at DATABASE_URL, and whether it runs")


def of_broker(error: Exception | str) -> str:
    """Say what the broker said, and what to do."""
    advice = (*OF_BROKER, *OF_BOTH)
    return _advised(str(error), advice, "look at AMQP_URL, and whether RabbitMQ runs")


def _innermost_words(error: BookkeepingError) -> str:
    """Return what the server or its driver said, without what we said of it."""
    at: BaseException = error
    while isinstance(at, BookkeepingError) and at.__cause__ is not None:
        at = at.__cause__
    return str(error) if at is error else words_of(at)


def _advised(words: str, advice: Advice, otherwise: str) -> str:
    words = words.rstrip(".")
    for pattern, text in advice:
        if re.search(pattern, words, re.IGNORECASE):
            return f"{words}: {text}"
    return f"{words}: {otherwise}"
