"""Urls: addresses of databases, as people have them and as our drivers take them."""

import inspect
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import sqlalchemy as sa

DRIVERS = {
    "mariadb": "mysql+asyncmy",
    "mysql": "mysql+asyncmy",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}

LIBPQ = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"})
"""libpq's words for TLS: asyncpg reads them in a DSN, and has no arguments for them."""

ARGUMENTS = frozenset(
    {*inspect.signature(asyncpg.connect).parameters, "prepared_statement_cache_size"}
)


def driver_url(url: str) -> sa.URL:
    """Turn a URL as people have it into one that names our driver.

    Raises:
        ValueError: the URL names a database, or an option, that is not supported.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        # what it is, nobody repeats: it may be a password
        msg = "it is no URL; use postgresql://…, mysql://… or sqlite:///path"
        raise ValueError(msg) from error
    scheme = parsed.drivername.partition("+")[0]
    if scheme not in DRIVERS:
        msg = f"{scheme}://… is not supported; use postgresql://…, mysql://… or sqlite:///path"
        raise ValueError(msg)
    named = parsed.set(drivername=DRIVERS[scheme])
    return _with_dsn(named) if named.get_backend_name() == "postgresql" else named


def located_url(url: str) -> str:
    """Return a URL with the whole path of its file, if it is of SQLite.

    Connections are opened at any time, and would open another file in another folder.
    """
    if not url.startswith("sqlite"):
        return url
    parsed = sa.make_url(url)
    if parsed.database in {None, "", ":memory:"}:
        return url
    path = str(Path(parsed.database or "").absolute())
    return parsed.set(database=path).render_as_string(hide_password=False)


def _with_dsn(url: sa.URL) -> sa.URL:
    """Put libpq's words into a DSN, which asyncpg reads beside its arguments."""
    options = dict(url.query)
    words = {word: options.pop(word) for word in sorted(LIBPQ & options.keys())}
    if unknown := sorted(options.keys() - ARGUMENTS):
        msg = f"the driver does not understand {', '.join(f'?{name}=' for name in unknown)}"
        raise ValueError(msg)
    if words:
        options["dsn"] = f"postgresql://?{urlencode(words)}"
    return url.set(query=options)
