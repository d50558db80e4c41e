"""compose.yaml: a whole deployment for development, in the order in which it must start."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import OF_UVICORN
from program_service.api.auth import Keyring, Scope
from program_service.settings import PREFIX, Settings

OURS = ("migrate", "serve", "worker")
STOP_MARGIN_S = 15


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


def test_one_service_builds_the_image_that_the_others_run(services: dict[str, Any]) -> None:
    """Compose builds at the same time; who comes second may find that the image already exists."""
    assert len({services[name]["image"] for name in OURS}) == 1
    assert [name for name in services if "build" in services[name]] == ["migrate"]
    assert {services[name]["pull_policy"] for name in OURS} == {"never"}, "no registry has it"


def test_nothing_starts_before_what_it_needs(services: dict[str, Any]) -> None:
    needs = {name: set(services[name].get("depends_on", {})) for name in services}
    assert needs["migrate"] == {"postgres"}
    assert needs["serve"] == needs["worker"] == {"postgres", "rabbitmq", "migrate"}
    assert needs["prometheus"] == {"serve", "worker"}
    assert needs["grafana"] == {"prometheus"}
    conditions = {
        dependency["condition"]
        for service in services.values()
        for dependency in service.get("depends_on", {}).values()
    }
    assert conditions == {"service_healthy", "service_completed_successfully"}


def test_only_pages_are_published_and_on_loopback_alone(services: dict[str, Any]) -> None:
    published = {
        name: port
        for name, service in services.items()
        for port in service.get("ports", [])
        if port["host_ip"] == "127.0.0.1"
    }
    assert sum(len(service.get("ports", [])) for service in services.values()) == 3
    assert {name: port["published"] for name, port in published.items()} == {
        "serve": "8080",
        "prometheus": "9090",
        "grafana": "3000",
    }
    assert published["serve"]["target"] == Settings.model_fields["port"].default


def test_data_outlive_their_containers(services: dict[str, Any]) -> None:
    for name in sorted(set(services) - set(OURS)):
        volumes = [each for each in services[name]["volumes"] if each["type"] == "volume"]
        assert len(volumes) == 1, name


def test_every_foreign_image_has_a_version(services: dict[str, Any]) -> None:
    for name in sorted(set(services) - set(OURS)):
        _, _, tag = services[name]["image"].partition(":")
        assert re.match(r"v?\d+\.\d+", tag), name


def test_what_is_mounted_from_here_is_there_and_read_only(
    repository: Path, services: dict[str, Any]
) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert volume["read_only"] is True
                assert Path(volume["source"]).is_relative_to(repository)
                assert Path(volume["source"]).exists()


def test_two_workers_run(services: dict[str, Any]) -> None:
    assert services["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_settings_are_those_that_exist_and_are_accepted(
    name: str, services: dict[str, Any], settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    environment = services[name]["environment"]
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert set(environment) - OF_UVICORN <= known
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
