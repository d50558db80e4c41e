"""Peer installs: the systems to compare with, each in an environment of its own."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grounds import BENCH, ROOT, Grounds

SCRIPTS = Path(__file__).parent / "peers"
UV = ROOT / ".tools/bin/uv"
RESTATE = BENCH / "node_modules/.bin/restate-server"
INSTALL_WITHIN_S = 600
PYTHON = "3.11"


class NotInstalled(Exception):
    """A peer cannot be had; the message says in one line why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A system to compare with: its script, and what it needs."""

    script: str
    requirements: str = ""
    python: str = PYTHON
    needs_redis: bool = False
    is_restate: bool = False

    @property
    def environment(self) -> str:
        """The name of its virtual environment, and of its requirements."""
        return self.requirements or self.script


PEERS = {
    "celery": Peer("celery_chain", needs_redis=True),
    "dramatiq": Peer("dramatiq_pipeline", needs_redis=True),
    "taskiq": Peer("taskiq_pipeline", needs_redis=True),
    "oban": Peer("oban_jobs", python="3.12"),
    "dbos": Peer("dbos_workflow"),
    "procrastinate": Peer("procrastinate_jobs"),
    "restate": Peer("restate_steps", "restate", is_restate=True),
    "restate_calls": Peer("restate_calls", "restate", is_restate=True),
}


def install(peer: Peer, grounds: Grounds) -> None:
    """Install a peer, if that was not done before.

    Raises:
        NotInstalled: it cannot be had.
    """
    if peer.needs_redis and grounds.redis_url is None:
        msg = "redis-server is not installed"
        raise NotInstalled(msg)
    environment(peer.environment, SCRIPTS / f"{peer.environment}.txt", python=peer.python)
    if peer.is_restate and not RESTATE.exists():
        shutil.copy(SCRIPTS / "package.json", BENCH)
        _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(BENCH)])


def environment(name: str, requirements: Path, *, python: str = PYTHON) -> Path:
    """Make a virtual environment, if it is not there, and return its Python.

    Raises:
        NotInstalled: it cannot be had.
    """
    folder = BENCH / "venvs" / name
    interpreter, ready = folder / "bin/python", folder / "ready"
    if not ready.exists() or ready.read_text() != requirements.read_text():
        _run([str(UV), "venv", "--quiet", "--clear", "--python", python, str(folder)])
        wanted = ["--python", str(interpreter), "--requirement", str(requirements)]
        _run([str(UV), "pip", "install", "--quiet", *wanted])
        ready.write_text(requirements.read_text())
    return interpreter


def _run(command: list[str]) -> None:
    # what pyenv keeps is hidden behind shims, which only know the chosen version
    versions = sorted(map(str, (Path.home() / ".pyenv/versions").glob("*/bin")), reverse=True)
    path = os.pathsep.join([os.environ["PATH"], *versions])
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": INSTALL_WITHIN_S}
    try:
        subprocess.run(command, check=True, env=os.environ | {"PATH": path}, **options)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        msg = f"{Path(command[0]).name}: {said[0] if said else error}"
        raise NotInstalled(msg) from error
