"""Starting: the examples as real processes, their packages installed into a copy."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from debian import why_not_installed
from endpoints.playing import SECRET
from patience import LOOK_EVERY_S, PATIENCE_S
from private_postgres import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORK_ERRORS = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
)
BUILD_WITHIN_S = 110
PACKAGES = {"php": "php-cli"}
"""Those of Debian. Its Go is older than the example's, which runs where there is a newer one."""


def tool(name: str) -> str:
    """Return where a command is, installed if it can be, or skip."""
    why_not = None
    if shutil.which(name) is None and name in PACKAGES:
        why_not = why_not_installed(PACKAGES[name])
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}" + (f": {why_not}" if why_not else ""))
    return found


def installed(example: str | Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy an example, or another folder, and install its packages; skip without a network."""
    npm = tool("npm")
    folder = tmp_path_factory.mktemp("npm") / "example"
    ignore = shutil.ignore_patterns("node_modules")
    shutil.copytree(EXAMPLES / example, folder, ignore=ignore)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=BUILD_WITHIN_S
    )
    if any(error in ran.stderr for error in NETWORK_ERRORS):
        pytest.skip("no network: npm ci found no registry")
    assert ran.returncode == 0, ran.stderr
    return folder


@contextmanager
def running(command: list[str], *, folder: Path, port: int = 0, **variables: str) -> Iterator[str]:
    """Run an endpoint until the end of the block; yield where it answers."""
    port = port or free_port()
    environment = os.environ | {"SECRET": SECRET, "PORT": str(port)} | variables
    log = folder / "endpoint.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,  # Ctrl-C is for the tests, which stop it when they end
        )
    try:
        until = time.monotonic() + PATIENCE_S
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, f"it does not listen: {log.read_text()}"
            time.sleep(LOOK_EVERY_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
