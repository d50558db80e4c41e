"""The wheel as users have it: in an environment of its own, without the repository."""

import os
import re
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from embedded import Dev, dev
from installing import ROOT, Built, User, install, uv

STATIC = ROOT / "service/program_service/dashboard/static"


def locked(folder: Path) -> Path:
    """Return a list of the dependencies of the lock file."""
    file = folder / "locked.txt"
    file.write_text(uv("export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes"))
    return file


@pytest.fixture(scope="module")
def user(built: Built, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Install the wheel with what the lock file names."""
    folder = tmp_path_factory.mktemp("user")
    return install(built.wheel, folder, constraints=locked(folder), python=sys.executable)


def dev_of(user: User, *options: str) -> AbstractAsyncContextManager[Dev]:
    """Start `program-executor dev` as this user."""
    return dev(
        *("--port", "0", *options),
        command=user.command,
        folder=user.folder,
        environment=user.environment,
    )


async def play_demo(user: User) -> None:
    """Run the demo to its end, in a folder without anything."""
    async with dev_of(user, "--demo", "--exit") as running:
        code, output, errors = await running.ended()
    assert (code, errors) == (0, "")
    assert "imported rows: 5000" in output


async def test_demo_runs_to_its_end(user: User) -> None:
    await play_demo(user)


async def test_dashboard_is_served_with_all_its_files(user: User) -> None:
    async with (
        dev_of(user) as running,
        httpx.AsyncClient(base_url=await running.address()) as client,
    ):
        page = (await client.get("/")).text
        links = set(re.findall(r'(?:href|src)="([^"]*/static/[^"]+)"', page))
        served = {Path(link.partition("?")[0]).name: await client.get(link) for link in links}
    assert served.keys() == {file.name for file in STATIC.iterdir()}
    for name, answer in served.items():
        assert answer.status_code == 200, name
        assert answer.content == (STATIC / name).read_bytes()


def test_version_is_told(user: User) -> None:
    said = subprocess.run(
        [user.command, "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=user.folder,
        env=user.environment,
        timeout=60,
    )
    assert user.command.parent.parent.name == "venv"
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", said.stdout)
    assert f'version = "{said.stdout.strip()}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_demo_runs_with_the_oldest_dependencies_that_are_allowed(
    built: Built, tmp_path: Path
) -> None:
    """What pyproject.toml says of them is true."""
    oldest = tmp_path / "oldest.txt"
    words = ("--resolution", "lowest-direct", "--quiet", "--python", sys.executable)
    oldest.write_text(uv("pip", "compile", "pyproject.toml", *words))
    user = install(built.wheel, tmp_path, constraints=oldest, python=sys.executable)
    await play_demo(user)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("python", ["3.12", "3.13", "3.14"])
async def test_demo_runs_on_other_versions_of_python(
    built: Built, tmp_path: Path, python: str
) -> None:
    found = python_of(python)
    if found is None:
        pytest.skip(f"no Python {python} on this machine")
    user = install(built.wheel, tmp_path, constraints=locked(tmp_path), python=found)
    await play_demo(user)


def python_of(version: str) -> str | None:
    """Return an interpreter: one that uv finds, or one of pyenv's that is not chosen."""
    try:
        return uv("python", "find", "--no-project", version).strip()
    except RuntimeError:
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        return next(map(str, root.glob(f"versions/{version}.*/bin/python{version}")), None)
