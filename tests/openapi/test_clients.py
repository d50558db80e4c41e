"""Clients: those that are generated from the document do the main job, against a real service."""

import asyncio
import fcntl
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded import dev
from node_tools import CACHE, node_tools, run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "openapi" / "program-executor.json"

GENERATOR = "openapi-python-client==0.29.1"
INSTALL_TIMEOUT_S = 300

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # the generators may be installed first


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Return where the jobs of the shop are served."""
    options = ("shop.jobs", "--port", "0", "--data", str(tmp_path))
    async with dev(*options, folder=ROOT / "examples") as running:
        yield await running.address()


async def test_generated_typescript_client_does_the_main_job(address: str, tmp_path: Path) -> None:
    folder = node_tools()
    work = tmp_path / "client"
    work.mkdir()
    (work / "node_modules").symlink_to(folder / "node_modules")
    for name in ("package.json", "main.ts", "tsconfig.json"):
        shutil.copy(HERE / "node" / name, work)
    bin_ = "node_modules/.bin/"
    run([f"{bin_}openapi-typescript", str(DOCUMENT), "--output", "api.d.ts"], cwd=work)
    run([f"{bin_}tsc"], cwd=work)
    # the event loop reads what the service says meanwhile
    said = await asyncio.to_thread(run, ["node", "main.js", address, str(tmp_path)], cwd=work)
    assert "typescript: fine" in said


async def test_generated_python_client_does_the_main_job(address: str, tmp_path: Path) -> None:
    bin_ = _generator() / "bin"
    words = ["generate", "--path", str(DOCUMENT), "--meta", "none", "--fail-on-warning"]
    package = tmp_path / "program_executor_client"
    ours = f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}"  # it formats with our ruff
    generator = ["env", ours, str(bin_ / "openapi-python-client"), *words]
    run([*generator, "--output-path", str(package)], cwd=tmp_path)
    shutil.copy(HERE / "generated_client.py", tmp_path)
    main = [str(bin_ / "python"), "generated_client.py", address, str(tmp_path)]
    said = await asyncio.to_thread(run, main, cwd=tmp_path)
    assert "python: fine" in said


def _generator() -> Path:
    """Return an environment of the generator's own: it wants other versions than we do."""
    folder = CACHE / GENERATOR.replace("==", "-")
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "generator.lock").open("w") as lock:  # tests run in parallel
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            run([sys.executable, "-m", "venv", "--clear", str(folder)], cwd=ROOT)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", GENERATOR]
            run(pip, cwd=ROOT, within_s=INSTALL_TIMEOUT_S)
            (folder / "installed").touch()
    return folder
