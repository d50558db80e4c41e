"""Node tools: npm packages for tests, installed once into a folder of the checkout, or skipped."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "tests" / "openapi" / "node" / "package.json"
CACHE = ROOT / ".cache"

INSTALL_TIMEOUT_S = 300


def node_tools() -> Path:
    """Return a folder with `node_modules`; skip the test, by name, where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm")
    digest = hashlib.sha256(PACKAGES.read_bytes()).hexdigest()[:12]
    folder, done = CACHE / f"node-{digest}", CACHE / f"node-{digest}" / "installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # tests run in parallel
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.copy(PACKAGES, folder)
            words = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
            run(words, cwd=folder, within_s=INSTALL_TIMEOUT_S)
            done.touch()
    return folder


def run(
    words: list[str], *, cwd: Path, within_s: float = 120, may_exit: tuple[int, ...] = (0,)
) -> str:
    """Run a program that must exit as expected, and return what it printed."""
    ended = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, timeout=within_s, check=False
    )
    assert ended.returncode in may_exit, f"{words[0]}: {ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return ended.stdout
