"""Releases: the version before this one, installed from the history, to run beside it."""

import subprocess
import sys
import tarfile
from pathlib import Path

from installing import ROOT, NoUvError, uv
from processes import Launch, spawner

PREVIOUS = "c8ce5eb23c32cb94e95c91be3763af00e89d9183"
"""The last release: its tag, from the first one on.

Until then the commit before migrations 0004 and 0005, so that the tables are others.
"""


class NoReleaseError(Exception):
    """The previous release is not to be had; the message says why."""


def previous_release(folder: Path) -> Launch:
    """Install the last release with the dependencies of its own lock file; return what runs it.

    Raises:
        NoReleaseError: its commit is not in this clone, or there is no git or uv.
    """
    source = folder / "source"
    archive = folder / "source.tar"
    words = ("git", "-C", ROOT, "archive", "--format=tar", f"--output={archive}", PREVIOUS)
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or error
        msg = f"{PREVIOUS[:12]} is not in this clone's history: {why}".strip()
        raise NoReleaseError(msg) from error
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    sync = ("sync", "--frozen", "--no-dev", "--no-editable", "--quiet", "--python", sys.executable)
    try:
        uv(*sync, folder=source)
    except NoUvError as error:
        raise NoReleaseError(str(error)) from error
    return spawner(source / ".venv/bin/program-executor")
