"""Debian: install a server's package for the tests, where we are root and apt-get is there."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

INSTALL_TIMEOUT_S = 300

LOCK = Path(tempfile.gettempdir()) / "program-executor-tests-apt.lock"
"""Held while a package is installed: apt-get runs once at a time, and tests run in parallel."""


def why_not_installed(package: str) -> str | None:
    """Install a package; return None, or in one line why it could not be."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"install {package}, or run as root where there is apt-get"
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _why_not_installed(package)


def _why_not_installed(package: str) -> str | None:
    print(f"Installing Debian's {package} for the tests ...", flush=True)
    deadline = time.monotonic() + INSTALL_TIMEOUT_S
    for words in ("update -q", f"install -y -q --no-install-recommends {package}"):
        try:
            done = subprocess.run(
                ["apt-get", *words.split()],
                check=False,
                capture_output=True,
                text=True,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                timeout=max(1.0, deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired:
            return f"apt-get took over {INSTALL_TIMEOUT_S} s"
        if done.returncode != 0:
            return f"apt-get {words} failed: {done.stderr[-300:]}"
    return None
