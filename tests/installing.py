"""Installing: the product in virtual environments of its own, as users have it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 600


class NoUvError(Exception):
    """There is no uv: `make .venv/ready` installs one in .tools."""


def uv(*words: str | Path, folder: Path = ROOT, **environment: str) -> str:
    """Run uv in a folder, and return what it says.

    Raises:
        NoUvError: there is none.
        RuntimeError: it failed; the message ends with its own.
    """
    ours = ROOT / ".tools/bin/uv"
    found = str(ours) if ours.exists() else shutil.which("uv")
    if found is None:
        raise NoUvError(NoUvError.__doc__)
    done = subprocess.run(
        [found, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=folder,
        env=bare_environment() | {"UV_PYTHON_DOWNLOADS": "never"} | environment,
    )
    if done.returncode != 0:
        msg = f"uv {' '.join(map(str, words))}: {done.stderr[-2_000:]}"
        raise RuntimeError(msg)
    return done.stdout


def bare_environment() -> dict[str, str]:
    """Return the environment without what leads to this repository or its settings."""
    ours = ("PROGRAM_EXECUTOR", "PYTHON", "PYTEST", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def empty_venv(folder: Path, *, python: str = sys.executable) -> Path:
    """Make a virtual environment with nothing in it, and return the folder of its commands."""
    uv("venv", "--quiet", "--python", python, folder)
    return folder / "bin"


@dataclass(frozen=True, slots=True)
class Built:
    """What is uploaded with a release."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has installed the wheel: an empty home, an empty folder, no repository."""

    command: Path
    folder: Path
    environment: dict[str, str]


def install(wheel: Path, folder: Path, *, constraints: Path, python: str) -> User:
    """Install a wheel, with dependencies of these versions, into an environment of its own."""
    home, elsewhere = folder / "home", folder / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    commands = empty_venv(folder / "venv", python=python)
    into = ("--quiet", "--python", commands / "python", "--constraints", constraints)
    uv("pip", "install", *into, wheel, folder=elsewhere)
    environment = bare_environment() | {"HOME": str(home), "PYTHONWARNINGS": "default"}
    return User(commands / "program-executor", elsewhere, environment)
