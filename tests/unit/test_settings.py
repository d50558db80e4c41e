"""Settings: from the environment and from a file, each wrong one named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from program_executor.commands.documents import settings_page
from program_executor.commands.failures import explain
from program_service.settings import CONFIG_VARIABLE, PREFIX, Settings, UnknownJobs

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any setting of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def complaint(error: ValidationError) -> str:
    """Return what the command line says of wrong settings: one line that names each."""
    text = str(explain(error))
    assert text != "None"
    assert "\n" not in text
    return text


def test_defaults_are_those_of_one_machine() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.database_url.get_secret_value().startswith("sqlite:///")
    assert settings.table_name == "programs"
    assert settings.queue_name == "program-executor"
    assert settings.unknown_jobs is UnknownJobs.REFUSE
    assert (settings.jobs, settings.queues) == ([], ["default"])
    assert settings.lease_s == pytest.approx(30)


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAM_EXECUTOR_PORT", "9000")
    monkeypatch.setenv("PROGRAM_EXECUTOR_LEASE_S", "2.5")
    monkeypatch.setenv("PROGRAM_EXECUTOR_MIGRATE_ON_START", "false")
    monkeypatch.setenv("PROGRAM_EXECUTOR_UNKNOWN_JOBS", "accept")
    settings = Settings()
    assert (settings.port, settings.lease_s) == (9_000, 2.5)
    assert settings.migrate_on_start is False
    assert settings.unknown_jobs is UnknownJobs.ACCEPT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shop.jobs", ["shop.jobs"]),
        ("shop.jobs,mail", ["shop.jobs", "mail"]),
        (" shop.jobs , mail ,", ["shop.jobs", "mail"]),
    ],
)
def test_lists_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    monkeypatch.setenv("PROGRAM_EXECUTOR_JOBS", text)
    monkeypatch.setenv("PROGRAM_EXECUTOR_QUEUES", text)
    settings = Settings()
    assert (settings.jobs, settings.queues) == (words, words)


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAM_EXECUTOR_PORT", "9000")
    assert Settings(port=9_001).port == 9_001


def test_file_is_read_and_the_environment_comes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "executor.toml"
    file.write_text('port = 9002\nlease_s = 5\njobs = ["shop.jobs", "mail"]\nqueues = "a, b"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("PROGRAM_EXECUTOR_PORT", "9000")
    settings = Settings()
    assert (settings.port, settings.lease_s) == (9_000, 5)
    assert (settings.jobs, settings.queues) == (["shop.jobs", "mail"], ["a", "b"])


def test_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who names a file means it: its settings must not be left out in silence."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "missing.toml"))
    with pytest.raises(Exception, match=r"missing\.toml"):
        Settings()


def test_unknown_key_of_the_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "executor.toml"
    file.write_text("prot = 9002\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert complaint(caught.value) == (
        f"{file}, line 1, prot: there is no such setting; did you mean port?"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("LEASE_S", "0.5"),
        ("LEASE_S", "soon"),
        ("CONCURRENCY", "0"),
        ("THREADS", "-1"),
        ("TABLE_NAME", "my programs"),
        ("TABLE_NAME", "Programs"),
        ("TABLE_NAME", "x" * 41),
        ("TABLE_NAME", "1st"),
        ("UNKNOWN_JOBS", "maybe"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("MIGRATE_ON_START", "sometimes"),
        ("MAX_BODY_BYTES", "10"),
        ("QUEUE_NAME", ""),
        ("SWEEP_INTERVAL_S", "0"),
    ],
)
def test_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert complaint(caught.value).startswith(f"{PREFIX}{name}: ")


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAM_EXECUTOR_PORT", "http")
    monkeypatch.setenv("PROGRAM_EXECUTOR_LEASE_S", "soon")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "PROGRAM_EXECUTOR_PORT" in complaint(caught.value)
    assert "PROGRAM_EXECUTOR_LEASE_S" in complaint(caught.value)


def test_addresses_do_not_show_their_passwords() -> None:
    secret = "postgresql://shop:hunter2@db/programs"
    assert "hunter2" not in repr(Settings.model_validate({"database_url": secret}))
    assert "hunter2" not in repr(Settings.model_validate({"amqp_url": secret}))


def test_settings_do_not_change_while_they_are_used() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 9_000  # type: ignore[misc]


def test_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page(), "run `make generate`"


def test_page_describes_every_setting() -> None:
    page = settings_page()
    for name, field in Settings.model_fields.items():
        assert f"| `{PREFIX}{name.upper()}` |" in page
        assert field.description
        assert field.description in page
