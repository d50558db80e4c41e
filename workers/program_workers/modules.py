"""Modules: import those with jobs, and name the line at which one cannot be imported."""

import importlib
import pkgutil
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from program_service.plain import described, tried
from program_workers.errors import LibraryError

OURS = ("program_executor", "program_service", "program_workers", "importlib", "pkgutil", "runpy")
"""Top-level packages whose lines no user wrote."""

MAX_WORDS = 500
"""Characters of an error that are repeated in our own message."""


def import_all(name: str) -> list[ModuleType]:
    """Import a module and, if it is a package, every module in it.

    Raises:
        LibraryError: one of them is not there, or cannot be imported; the message says where.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise LibraryError(_missing(name))
    return list(_modules(name))


def _modules(name: str) -> Iterator[ModuleType]:
    module = _import(name)
    yield module
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}."):
        yield _import(info.name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise LibraryError(_failure(name, error)) from error


def _failure(name: str, error: BaseException) -> str:
    """Say in one line why a module cannot be imported."""
    if isinstance(error, SystemExit):
        return f"{_place(name, error)}: it ends the process: sys.exit({error.code!r})"
    if isinstance(error, ModuleNotFoundError) and _is_of(error, name):
        return _missing(name)
    if isinstance(error, LibraryError):
        return f"{_place(name, error)}: {error}"
    words = tried(lambda: described(error), type(error).__name__)
    if isinstance(error, SyntaxError):
        words = f"{type(error).__name__}: {error.msg}"
    words = " ".join(words.split())[:MAX_WORDS]
    return f"{_place(name, error)}: {words} (`python -c 'import {name}'` shows the traceback)"


def _is_of(error: ModuleNotFoundError, name: str) -> bool:
    """Say whether it is this module that is missing, and not one that it imports."""
    return error.name is not None and (name == error.name or name.startswith(f"{error.name}."))


def _missing(name: str) -> str:
    return (
        f"there is no module {name!r} to take jobs from; JOBS wants names that Python can"
        f" import, such as shop.jobs, and looks where Python looks (PYTHONPATH, or the folder"
        f" that the worker is started in)"
    )


def _place(name: str, error: BaseException) -> str:
    """Say at which line of the user's own an import failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return written_at(error.filename, error.lineno)
    frames = [
        (frame.f_globals.get("__name__", ""), frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    foreign = [each for each in frames if each[0].partition(".")[0] not in OURS]
    of_users = [each for each in foreign if not _is_installed(each[1])]
    same = [each for each in foreign if each[0].partition(".")[0] == name.partition(".")[0]]
    found: Sequence[Any] = of_users or same or foreign
    return written_at(*found[-1][1:]) if found else f"the module {name!r}"


def _is_installed(file: str) -> bool:
    folders = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<frozen")
    return file.startswith(folders)


def written_at(file: str, line: int | None) -> str:
    """Name a line of a file, which is named as seen from here."""
    path = Path(file)
    if path.is_relative_to(here := Path.cwd()):
        path = path.relative_to(here)
    return f"{path}, line {line}" if line else str(path)


def line_of(function: object) -> str:
    """Say where a function was written; empty if that cannot be known."""
    code = getattr(function, "__code__", None)
    return written_at(code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else ""
