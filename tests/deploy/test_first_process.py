"""The first process of a container: the kernel keeps signals from it that it does not wait for."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patience import eventually

STARTS = Path("imports")
JOBS = f"import pathlib, time; pathlib.Path({str(STARTS)!r}).touch(); time.sleep(60)"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker that is the first process among its own, and imports its jobs for long."""
    (tmp_path / "long_import.py").write_text(JOBS)
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *as_root, "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.call([*unshare, "true"]) != 0:
        pytest.skip("needs `unshare --pid`")
    program = str(Path(sys.executable).with_name("program-executor"))
    servers = {"DATABASE_URL": "postgresql://127.0.0.1:9/", "AMQP_URL": "amqp://127.0.0.1:9/"}
    environment = {f"PROGRAM_EXECUTOR_{name}": url for name, url in servers.items()}
    process = subprocess.Popen(
        [*unshare, program, "work", "long_import"], cwd=tmp_path, env=os.environ | environment
    )
    yield process
    process.kill()
    process.wait()


async def test_worker_that_is_told_to_stop_while_it_imports_its_jobs_ends(
    worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    async def imports() -> bool:
        return (tmp_path / STARTS).exists()

    await eventually(imports, within_s=30)
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert worker.wait(timeout=10) == 128 + signal.SIGTERM
