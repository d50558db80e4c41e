"""What is in the wheel, and what it says of itself."""

import re
import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from importlib.metadata import version
from pathlib import Path

import pytest

from installing import ROOT, Built, uv
from program_service.telemetry import VERSION

FOLDERS = ("service/program_service", "workers/program_workers", "client/program_executor")
METADATA = BytesParser()


def test_wheel_has_every_file_of_the_packages_and_nothing_else(built: Built) -> None:
    """Templates, style sheet, script, migrations, demo, py.typed: whatever is there."""
    expected = {
        str(file.relative_to((ROOT / folder).parent))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    names = zipfile.ZipFile(built.wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"program_service/dashboard/static/live.js", "program_executor/py.typed"} <= expected


def test_wheel_that_is_built_from_the_sources_is_that_of_the_sdist(
    built: Built, tmp_path: Path
) -> None:
    uv("build", "--quiet", "--wheel", "--out-dir", tmp_path)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_licence_and_changes_are_told(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        (licence,) = [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
        assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    names = names_in(built.sdist)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names


def test_sdist_has_what_the_wheel_is_made_of_and_nothing_of_the_repository_besides(
    built: Built,
) -> None:
    tops = {name.partition("/")[0] for name in names_in(built.sdist)}
    files = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert tops == {"service", "workers", "client", *files}


def names_in(sdist: Path) -> set[str]:
    """Return the files of an sdist, without the folder that they stand in."""
    with tarfile.open(sdist) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def test_description_leads_to_nothing_that_pypi_does_not_have(built: Built) -> None:
    """Pages and pictures are of the repository: their links are plain words there."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith("/METADATA")]
        metadata = METADATA.parsebytes(wheel.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = str(metadata.get_payload())
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "# Program Executor" in description
    assert "program-executor dev shop.jobs" in description


COPIES = {
    "the lock file": ("uv.lock", r'name = "program-executor"\nversion = "(.+?)"'),
    "the image's label": ("Dockerfile", r'image\.version="(.+?)"'),
    "the chart": ("helm/program-executor/Chart.yaml", r"(?m)^version: (.+)$"),
    "the chart's image": ("helm/program-executor/Chart.yaml", r'(?m)^appVersion: "(.+)"$'),
    "the API's description": ("openapi/program-executor.json", r'"version": "(.+?)"'),
}
"""Files that repeat the version, and where it stands in them."""


@pytest.mark.parametrize("what", COPIES)
def test_copy_of_the_version_is_that_of_the_project(what: str) -> None:
    name, pattern = COPIES[what]
    found = re.search(pattern, (ROOT / name).read_text())
    assert found
    assert found[1] == _of_the_project()


def test_version_that_runs_is_read_from_what_is_installed() -> None:
    """It is in build_info, in the User-Agent of calls, in `--version` and in the log."""
    assert VERSION == version("program-executor") == _of_the_project()


def _of_the_project() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])
