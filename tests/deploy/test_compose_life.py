"""compose.yaml lives: its first program finishes, Prometheus sees all, Grafana shows it."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from program_executor import Job
from program_executor.testing import ProgramRunner
from program_service.api.schemas import ProgramRequest
from program_service.settings import PREFIX, Settings

Services = dict[str, Any]


def words_of_the_curl(repository: Path) -> list[str]:
    """Return the words of the curl in the file's head."""
    text = (repository / "compose.yaml").read_text()
    (line,) = re.findall(r"^#   (curl .*)$", text, re.MULTILINE)
    return shlex.split(line)


def read(path: Path) -> Any:
    yaml: Any = pytest.importorskip("yaml", reason="needs the PyPI package PyYAML")
    return yaml.safe_load(path.read_text())


def mounts_of(service: Any) -> dict[str, Path]:
    """Return {folder or file in the container: where it is here}."""
    return {
        volume["target"]: Path(volume["source"])
        for volume in service["volumes"]
        if volume["type"] == "bind"
    }


def test_program_of_the_curl_finishes_with_the_jobs_that_are_mounted(
    repository: Path,
    services: Services,
    program_runner: ProgramRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = words_of_the_curl(repository)
    assert words[-1] == "http://127.0.0.1:8080/programs"
    request = ProgramRequest.model_validate_json(words[words.index("-d") + 1])
    worker = services["worker"]
    monkeypatch.syspath_prepend(str(mounts_of(worker)["/jobs"]))
    module = worker["environment"][f"{PREFIX}JOBS"]
    import_module(module)
    known = {
        each.name: each for each in vars(sys.modules[module]).values() if isinstance(each, Job)
    }
    run = program_runner.run(
        [known[name] for name in request.jobs],
        program_data=request.program_data,
        others=[known["ship"]],
    )
    assert run.status == "finished"
    assert [child.jobs for child in run.started] == [["ship"]]


def test_prometheus_scrapes_all_that_run_by_the_committed_configuration(
    repository: Path, services: Services
) -> None:
    folder = mounts_of(services["prometheus"])["/etc/prometheus"]
    assert folder == repository / "deploy" / "prometheus", "promtool checks it in tests/observed"
    scrapes = read(folder / "prometheus.yml")["scrape_configs"]
    found = {
        name: scrape["port"]
        for each in scrapes
        for scrape in each["dns_sd_configs"]
        for name in scrape["names"]
    }
    defaults = Settings.model_fields
    assert found == {"serve": defaults["port"].default, "worker": defaults["worker_port"].default}


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_prometheus_reaches_what_it_scrapes(
    name: str, services: Services, settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    settings = settings_of(services[name]["environment"])
    assert (settings.host if name == "serve" else settings.worker_host) == "0.0.0.0"


def test_grafana_shows_our_dashboard_from_the_prometheus_beside_it(
    repository: Path, services: Services
) -> None:
    mounts = mounts_of(services["grafana"])
    provisioning = "/etc/grafana/provisioning"
    (sources,) = mounts[f"{provisioning}/datasources"].iterdir()
    (source,) = read(sources)["datasources"]
    assert source["isDefault"] is True, "the dashboard takes the default one"
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert (source["type"], port) == ("prometheus", "9090")
    assert services[host]["image"].startswith("prom/prometheus:")
    (providers,) = mounts[f"{provisioning}/dashboards"].iterdir()
    (provider,) = read(providers)["providers"]
    environment = services["grafana"]["environment"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert mounts[home] == repository / "deploy" / "grafana" / "program-executor.json"
    (chosen,) = [
        each
        for each in json.loads(mounts[home].read_text())["templating"]["list"]
        if each["type"] == "datasource"
    ]
    assert chosen["query"] == source["type"]
