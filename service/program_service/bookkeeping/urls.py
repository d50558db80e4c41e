"""Urls: addresses of databases, as people have them and as our drivers take them."""

import inspect
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import sqlalchemy as sa

from program_service.tls_files import require_authorities, require_pair

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

OPTIONS = {
    "mysql": frozenset(
        {
            *("charset", "connect_timeout", "read_timeout", "unix_socket", "local_infile"),
            *("ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "ssl_cipher"),
            *("ssl_check_hostname", "program_name", "client_flag", "init_command", "sql_mode"),
            *("max_allowed_packet", "read_default_file", "read_default_group", "stmt_cache_size"),
        }
    ),
    "sqlite": frozenset({"timeout", "detect_types", "cached_statements", "uri"}),
}
"""What the drivers of other databases understand."""

NUMBERS = {"connect_timeout", "read_timeout", "max_allowed_packet", "client_flag", "timeout"}
"""Options that the drivers take as numbers."""

FILES = {
    "postgresql": ("sslrootcert", "sslcert", "sslkey"),
    "mysql": ("ssl_ca", "ssl_cert", "ssl_key"),
}
"""The options that name the files of authorities, of a certificate, and of its key."""

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
ROOT = Path("~/.postgresql/root.crt")
MAX_PORT = 65_535

NO_FILES = {None, "", ":memory:"}
SQLITE_HEAD = b"SQLite format 3\0"


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
    except ValueError as error:
        msg = "its port is not a number; write an IPv6 address in brackets, and % in names as %25"
        raise ValueError(msg) from error
    if parsed.port is not None and not 0 < parsed.port <= MAX_PORT:
        msg = f"its port is {parsed.port}; use one from 1 to {MAX_PORT}"
        raise ValueError(msg)
    scheme = parsed.drivername.partition("+")[0]
    if scheme not in DRIVERS:
        msg = f"{scheme}://… is not supported; use postgresql://…, mysql://… or sqlite:///path"
        raise ValueError(msg)
    named = parsed.set(drivername=DRIVERS[scheme])
    _require_known(named)
    return _with_dsn(named) if named.get_backend_name() == "postgresql" else named


def require_usable(url: str) -> None:
    """Require a URL of a database whose options can be meant, and whose files are there.

    Raises:
        ValueError: it is none.
    """
    parsed = driver_url(url)
    kind, options = parsed.get_backend_name(), _texts(parsed)
    if "dsn" in options:
        options |= dict(parse_qsl(urlsplit(options["dsn"]).query))
    if kind == "postgresql":
        _require_mode(options)
    authorities, certificate, key = FILES.get(kind, ("", "", ""))
    if file := options.get(authorities):
        require_authorities(authorities, file)
    if file := options.get(certificate):
        of_key = (key, options[key]) if key in options else None
        require_pair((certificate, file), of_key, options.get("sslpassword", ""))
    elif key in options:
        msg = f"?{key}= needs ?{certificate}= beside it"
        raise ValueError(msg)


def require_file(url: str) -> None:
    """Require that the file of a SQLite database is one, or can be made.

    Raises:
        ValueError: it cannot be.
    """
    parsed = driver_url(url)
    if (
        parsed.get_backend_name() != "sqlite"
        or parsed.database in NO_FILES
        or "uri" in parsed.query
    ):
        return
    path = Path(parsed.database or "")
    if flaw := _flaw_of_folder(path) or (path.exists() and _flaw_of_file(path)):
        raise ValueError(flaw)


def _flaw_of_folder(path: Path) -> str | None:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r} for its file: make it"
    if path.is_dir():
        return f"{str(path)!r} is a folder: name a file in it"
    if not os.access(folder, os.W_OK):
        return f"this user may not write in {str(folder)!r}, where its file is"
    return None


def _flaw_of_file(path: Path) -> str | None:
    try:
        with path.open("r+b") as file:
            head = file.read(len(SQLITE_HEAD))
    except OSError as error:
        return f"{str(path)!r} cannot be opened: {error.strerror}"
    if head not in {b"", SQLITE_HEAD}:
        return f"{str(path)!r} is not a database of SQLite: name another file"
    return None


def _require_mode(options: dict[str, str]) -> None:
    mode = options.get("sslmode", "")
    if mode and mode not in MODES:
        msg = f"?sslmode= is {mode!r}; it must be one of {', '.join(MODES)}"
        raise ValueError(msg)
    has_root = "sslrootcert" in options or "PGSSLROOTCERT" in os.environ
    if mode.startswith("verify") and not has_root and not ROOT.expanduser().exists():
        msg = f"?sslmode={mode} needs ?sslrootcert=FILE, or {ROOT}"
        raise ValueError(msg)


def _require_known(url: sa.URL) -> None:
    """Refuse options of which a driver knows nothing, or takes no text."""
    kind = url.get_backend_name()
    if kind == "sqlite" and "uri" in url.query:
        return
    known = OPTIONS.get(kind, ARGUMENTS | LIBPQ)
    if unknown := sorted(url.query.keys() - known):
        msg = f"the driver does not understand {', '.join(f'?{name}=' for name in unknown)}"
        raise ValueError(msg)
    for name, text in _texts(url).items():
        if name in NUMBERS and not text.isdecimal():
            msg = f"?{name}= is {text!r}; it must be a number"
            raise ValueError(msg)


def _texts(url: sa.URL) -> dict[str, str]:
    """Return the options; of one that is given twice, the last."""
    return {
        name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()
    }


def located_url(url: str) -> str:
    """Return a URL with the whole path of its file, if it is of SQLite.

    Connections are opened at any time, and would open another file in another folder.
    """
    if not url.startswith("sqlite"):
        return url
    parsed = sa.make_url(url)
    if parsed.database in NO_FILES:
        return url
    path = str(Path(parsed.database or "").absolute())
    return parsed.set(database=path).render_as_string(hide_password=False)


def _with_dsn(url: sa.URL) -> sa.URL:
    """Put libpq's words into a DSN, which asyncpg reads beside its arguments."""
    options = dict(url.query)
    words = {word: options.pop(word) for word in sorted(LIBPQ & options.keys())}
    if words:
        options["dsn"] = f"postgresql://?{urlencode(words)}"
    return url.set(query=options)
