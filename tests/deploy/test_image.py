"""The image, really built and run: not root, on a read-only file system, a program finishes."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from brokers import Console
from containers import CommandFailed, Containers, NoContainersError, private_containers
from deployments import console as console
from deployments import deployed
from deployments import shared_rabbitmq as shared_rabbitmq
from processes import PREFIX, Running
from skips import or_skip

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

IMAGE = "program-executor:test"
WITH_JOBS = "shop-jobs:test"
NEEDED_BY_JOBS = "sortedcontainers"
ORDER = {
    "jobs": ["charge", "pack"],
    "program_data": {"card": "4242", "cents": 1999, "parcels": ["mug"]},
}


@pytest.fixture(scope="module")
def containers(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Build the image, and one with jobs from it by the Dockerfile of docs/deploy.md."""
    base = re.search(r"^FROM (\S+)", (repository / "Dockerfile").read_text(), re.MULTILINE)
    assert base
    with or_skip("containers", private_containers(base[1]), NoContainersError) as containers:
        containers.build(IMAGE, context=repository, file=repository / "Dockerfile")
        page = (repository / "docs" / "deploy.md").read_text()
        (text,) = re.findall(r"^```Dockerfile\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        folder = tmp_path_factory.mktemp("jobs")
        (folder / "Dockerfile").write_text(re.sub(r"^FROM .*", f"FROM {IMAGE}", text))
        (folder / "requirements.txt").write_text(f"{NEEDED_BY_JOBS}\n")
        shutil.copytree(repository / "examples" / "shop", folder / "shop")
        containers.build(WITH_JOBS, context=folder, file=folder / "Dockerfile")
        yield containers


async def test_one_image_migrates_serves_and_works(
    containers: Containers, postgresql_url: str, console: Console, tmp_path: Path
) -> None:
    def launch(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Running:
        port = words[words.index("--port") + 1]
        ports = {"serve": f"{PREFIX}PORT", "work": f"{PREFIX}WORKER_PORT"}
        image = IMAGE if words[0] == "serve" else WITH_JOBS
        return containers.start(image, words, {**environment, ports[words[0]]: port}, log)

    def is_healthy(name: str) -> bool:
        kind, *check = containers.config_of(IMAGE)["Healthcheck"]["Test"]
        assert kind == "CMD-SHELL"
        try:
            containers.podman("exec", name, "/bin/sh", "-c", *check)
        except CommandFailed:
            return False
        return True

    async with deployed(
        tmp_path, postgresql_url, console, launch=launch, migrate_on_start=False
    ) as deployment:
        tables = {f"{PREFIX}TABLE_NAME": deployment.table_name}
        containers.run(IMAGE, "migrate", **tables, **{f"{PREFIX}DATABASE_URL": postgresql_url})
        service = await deployment.serve()
        worker = await deployment.work(modules=["shop.jobs"])
        assert is_healthy(service.name)
        assert is_healthy(worker.name)

        submitted = await service.client.post("/programs", json=ORDER)
        assert submitted.status_code == httpx.codes.CREATED, submitted.text
        ended = await service.client.get(
            submitted.headers["location"], headers={"Prefer": "wait=50"}
        )
        assert ended.json()["status"] == "finished"

        for name in (service.name, worker.name):
            assert containers.podman("exec", name, "id", "-u") == "10001"
            with pytest.raises(CommandFailed, match="Read-only file system"):
                containers.podman("exec", name, "touch", "/jobs/new")
        assert await worker.stop() == 0
        assert await service.stop() == 0


def test_final_layers_have_no_build_tools(containers: Containers) -> None:
    tools = "program-executor uv gcc cc make git"
    found = containers.shell(
        IMAGE, f"for tool in {tools}; do command -v $tool; done; exec ls -A /jobs"
    )
    assert found == "/opt/venv/bin/program-executor"
    assert "build" not in containers.shell(IMAGE, "ls /").split()


def test_jobs_have_the_packages_that_they_need(containers: Containers) -> None:
    assert containers.shell(WITH_JOBS, f"python -c 'import {NEEDED_BY_JOBS}' && id -u") == "10001"
    assert "shop" in containers.shell(WITH_JOBS, "ls /jobs").split()


def test_image_says_its_version_and_how_it_runs(containers: Containers) -> None:
    config = containers.config_of(IMAGE)
    says = "from importlib.metadata import version; print(version('program-executor'))"
    version = containers.shell(IMAGE, f'python -c "{says}"')
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] in {"SIGTERM", "15"}
    licence = "ls /opt/venv/lib/python3*/site-packages/program_executor-*.dist-info/licenses"
    assert containers.shell(IMAGE, licence) == "LICENSE"
