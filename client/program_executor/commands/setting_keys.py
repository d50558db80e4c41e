"""Setting keys: the keys of the setting API_KEYS, which are there before any table is."""

import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from program_executor.commands.printing import echo, print_json, print_rows
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_service.api.auth import Entry

SHOWN_OF_A_HASH = 12


def new(name: str, scopes: str, *, as_json: bool) -> None:
    """Make a key: print it for its user, and its entry for the setting."""
    from program_service.api import auth

    key = auth.new_key(name)
    entry = f"{name}={scopes}:{auth.digest_of(key)}"
    try:
        auth.Keyring.parse(entry)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if as_json:
        print_json({"key": key, "entry": entry})
        return
    echo(f"The key, shown only now:  {key}")
    echo(f"Add to PROGRAM_EXECUTOR_API_KEYS:  {entry}")


def list_all(*, as_json: bool) -> None:
    """List names, scopes and the beginnings of hashes."""
    rows = [_row(entry) for entry in _entries()]
    if as_json:
        print_json([dict(zip(("name", "scopes", "hash"), row, strict=True)) for row in rows])
    else:
        print_rows(("name", "scopes", "hash"), rows)


def _row(entry: "Entry") -> tuple[str, str, str]:
    caller = entry.caller
    return caller.name or "", "+".join(sorted(caller.scopes)), entry.digest[:SHOWN_OF_A_HASH]


def revoke(name: str, hash_: str | None, *, write: bool, as_json: bool) -> None:
    """Take a key out: print what is to be set, or edit the file that holds it."""
    with _editing_alone() if write else nullcontext():
        entries = _entries()
        revoked = [
            each
            for each in entries
            if each.caller.name == name and each.digest.startswith((hash_ or "").lower())
        ]
        if not revoked:
            raise UsageError(_no_such_key(name, hash_, entries))
        kept = " ".join(each.text for each in entries if each not in revoked)
        file = _edit_file([each.text for each in revoked], kept) if write else None
    if as_json:
        hashes = [each.digest[:SHOWN_OF_A_HASH] for each in revoked]
        print_json({"revoked": hashes, "api_keys": kept, "file": str(file) if file else None})
        return
    count = f"{len(revoked)} key{'' if len(revoked) == 1 else 's'} of {name}"
    if file is None:
        echo(f"Without {count}, set PROGRAM_EXECUTOR_API_KEYS to:  {kept}")
    else:
        echo(f"Took {count} out of {file}.")
    echo("A key is good until each service has been started anew with that.")
    if not kept:
        echo(
            "No key is left: on loopback a service lets everybody in, elsewhere it will not start."
        )


@contextmanager
def _editing_alone() -> Iterator[None]:
    """Lock the folder of the settings' file, so that two revocations do not undo each other."""
    from program_service.settings import CONFIG_VARIABLE

    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(Path(os.environ.get(CONFIG_VARIABLE, "")).resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _no_such_key(name: str, hash_: str | None, entries: "list[Entry]") -> str:
    whose = f"{name!r}" + (f" whose hash begins with {hash_!r}" if hash_ else "")
    names = sorted({each.caller.name or "" for each in entries})
    known = f"there are keys of {', '.join(names)}" if names else "API_KEYS holds none at all"
    return f"there is no key of {whose}; {known} (see `program-executor keys list --setting`)"


def _entries() -> "list[Entry]":
    from program_service.api.auth import entries_of
    from program_service.settings import Settings

    try:
        return entries_of(Settings().api_keys)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _edit_file(revoked: list[str], kept: str) -> Path:
    """Take entries out of the settings' file, and leave all else in it as it is.

    Raises:
        UsageError: the keys are not in the file, or in another form.
    """
    from program_service.settings import CONFIG_VARIABLE, PREFIX

    variable = f"{PREFIX}API_KEYS"
    if variable in {name.upper() for name in os.environ}:
        message = f"--write: the keys are in the environment, {variable}: change them there"
        raise UsageError(message)
    path = Path(os.environ[CONFIG_VARIABLE])
    old = path.read_text(encoding="utf-8")
    new = old
    for entry in revoked:
        new = new.replace(entry, "")
    try:
        is_right = tomllib.loads(new) == tomllib.loads(old) | {"api_keys": _keys_in(new)}
        is_right &= _keys_in(new).split() == kept.split()
    except (ValueError, KeyError, AttributeError):
        is_right = False
    if not is_right:
        message = f"--write: the keys in {path} have another form; set api_keys = {kept!r} there"
        raise UsageError(message)
    _put(path, new)
    return path


def _keys_in(text: str) -> str:
    keys: str = tomllib.loads(text)["api_keys"]
    return keys


def _put(path: Path, text: str) -> None:
    """Replace a file in one step, and keep its permissions, owner and group.

    Raises:
        UsageError: owner and group cannot be kept, and processes that read it by them would fail.
    """
    path = path.resolve()
    old = path.stat()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if sys.platform != "win32":
            os.chown(name, old.st_uid, old.st_gid)
        Path(name).chmod(old.st_mode)
        Path(name).replace(path)
    except PermissionError as error:
        Path(name).unlink()
        message = f"--write: {path} would not stay its owner's and group's: {error.strerror}"
        raise UsageError(message) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
