"""Configuring: each mistake is one line that says where it is, and what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from program_executor.configuring import load_settings, place, read_settings, unknown_variables
from program_executor.errors import UsageError
from program_service.settings import CONFIG_VARIABLE, PREFIX, Settings

SECRET = "whsec_" + "A" * 44
PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin without any setting of whoever runs the tests, in an empty folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def complaint() -> Callable[..., str]:
    """Return what is said of wrong settings, which is one line without secrets."""

    def said(**given: object) -> str:
        with pytest.raises(UsageError) as caught:
            load_settings(**given)
        text = str(caught.value)
        assert "\n" not in text
        assert PASSWORD not in text
        assert int(caught.value.code) == 2
        return text

    return said


VARIABLES = [
    ("PORT", "http", "valid integer, unable to parse string as an integer, not 'http'"),
    ("PORT", "65536", "less than or equal to 65535, not '65536'"),
    ("PORT", "tcp://10.0.0.1:8080", "valid integer"),
    ("LEASE_S", "inf", "finite number"),
    ("LEASE_S", "nan", "finite number"),
    ("LEASE_S", "1e9", "less than or equal to 86400"),
    ("GRACE_S", "-1", "greater than or equal to 0"),
    ("MAX_WAIT_S", "inf", "finite number"),
    ("WORKER_BEAT_S", "1e300", "less than or equal to 3600"),
    ("THREADS", "99999999999", "less than or equal to 10000"),
    ("DATABASE_POOL_SIZE", "2", "greater than or equal to 3"),
    ("RETENTION_DAYS", "never", "valid number"),
    ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR', not 'LOUD'"),
    ("QUEUE_NAME", "größe", "'größe': use 1 to 100 letters without accents"),
    ("QUEUES", "default,größe", "'größe' cannot be a queue's name"),
    ("TABLE_NAME", "my programs", "lower-case letters"),
    ("SERVICE_URL", "shop.example", "'shop.example': use http://host or https://host"),
    ("TABLE_NAME", "order", "'order' is a word that the database keeps for itself; use another"),
    ("TABLE_NAME", "sqlite_mine", "'sqlite_mine' is a word that the database keeps"),
    ("HOST", "caf\udce9", "it holds a NUL, or is not UTF-8"),
    ("DATABASE_URL", f"postgresql://a:{PASSWORD}\udce9@b/c", "it holds a NUL, or is not UTF-8"),
    ("API_KEYS", f"shop=fly:{PASSWORD}", "the API key entry 'shop' is not of the form"),
    ("CALLBACK_ALLOW", "http://a/", "neither a host such as billing or"),
    ("NOTIFY_SECRET", PASSWORD, "a secret is whsec_ and the base64 of 24 to 64"),
    ("AMQP_URL", f"http://a:{PASSWORD}@b/", "it must begin with amqp:// or amqps://"),
    ("DATABASE_URL", f"oracle://a:{PASSWORD}@b/c", "oracle://… is not supported; use postgresql"),
    ("DATABASE_URL", f"a:{PASSWORD}", "it is no URL; use postgresql://…, mysql://… or"),
    ("CALLBACK_JOBS", "nothing.toml", "nothing.toml: it cannot be read: No such file"),
    ("CONFIG", "nothing.toml", "'nothing.toml', which is no file"),
]


@pytest.mark.parametrize(("name", "value", "words"), VARIABLES)
def test_wrong_variable_is_named_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch,
    complaint: Callable[..., str],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    text = complaint()
    assert text.startswith(f"{PREFIX}{name}")
    assert words in text


FILES = [
    (b"port = = 1\n", "shop.toml, line 1: invalid value: it is not TOML"),
    (b"port = 1\n\nhost = 'a\n", "shop.toml, line 3: "),
    (b"port = 1\nport = 2\n", "shop.toml, line 2: cannot overwrite a value"),
    (b"host = '\xff'\n", "shop.toml, line 1: it is not UTF-8"),
    (b"# x\nprot = 1\n", "shop.toml, line 2, prot: there is no such setting; did you mean port?"),
    (b"[server]\nport = 1\n", "shop.toml, line 1, server: there is no such setting"),
    (b"QUEU_NAME = 'a'\n", "QUEU_NAME: there is no such setting; did you mean queue_name?"),
    (b"port = 1\nlease_s = 'x'\n", "shop.toml, line 2, lease_s: Input should be a valid number"),
    (b"port = true\n", "shop.toml, line 1, port: true is neither a number nor a text"),
    (b"lease_s = nan\n", "shop.toml, line 1, lease_s: Input should be a finite number"),
    (b"log_level = 5\n", "shop.toml, line 1, log_level: Input should be 'DEBUG', 'INFO'"),
    (b"queues = ['a', 1]\n", "line 1, queues.1: Input should be a valid string, not 1"),
    (b"jobs = 5\n", "shop.toml, line 1, jobs: Input should be a valid list, not 5"),
    (b"callback_allow = [5]\n", "callback_allow: Input should be a valid string, not [5]"),
    (b"callback_allow = ['http://a/']\n", "shop.toml, line 1, callback_allow: 'http://a/', which"),
    (
        b"database_url = 'hunter2'\n",
        "line 1, database_url: it is no URL; use postgresql",
    ),
    (b"api_keys = ['hunter2']\n", "shop.toml, line 1, api_keys: the API key entry"),
    (b"lease_s = 2\nworker_beat_s = 5\n", "line 2, worker_beat_s: 5 is more than LEASE_S, 2"),
]


@pytest.mark.parametrize(("content", "words"), FILES, ids=[repr(each) for each, _ in FILES])
def test_wrong_file_is_named_with_line_and_key(
    monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    Path("shop.toml").write_bytes(content)
    monkeypatch.setenv(CONFIG_VARIABLE, "shop.toml")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_may_begin_with_a_byte_order_mark_and_have_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [f"a=read:{'1' * 64}", f"b=read:{'2' * 64}"]
    Path("shop.toml").write_bytes(
        b'\xef\xbb\xbfcallback_allow = ["billing", "10.0.0.0/8"]\nqueues = ["a", "b"]\n'
        + f"api_keys = {keys}\n".encode()
    )
    monkeypatch.setenv(CONFIG_VARIABLE, "shop.toml")
    settings = load_settings()
    assert settings.callback_allow == "billing,10.0.0.0/8"
    assert (settings.queues, settings.api_keys) == (["a", "b"], " ".join(keys))


def test_option_that_is_wrong_is_named_and_not_the_variable(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[..., str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "8080")
    assert complaint(port=70_000).startswith("--port: ")


def test_all_that_is_wrong_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[..., str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}API_KEYS", "shop")
    monkeypatch.setenv(f"{PREFIX}CALLBACK_ALLOW", "a b/c")
    assert all(f"{PREFIX}{name}: " in complaint() for name in ("API_KEYS", "CALLBACK_ALLOW"))


def test_callback_job_that_may_not_be_called_is_named(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[..., str]
) -> None:
    text = f'[jobs.charge]\nurl = "http://10.0.0.1/"\nsecret = "{SECRET}"\n'
    Path("jobs.toml").write_text(text)
    monkeypatch.setenv(f"{PREFIX}CALLBACK_JOBS", "jobs.toml")
    assert "jobs.toml, [jobs.charge] url: forbidden address: 10.0.0.1" in complaint()
    monkeypatch.setenv(f"{PREFIX}CALLBACK_ALLOW", "10.0.0.0/8")
    assert load_settings().callback_jobs == "jobs.toml"
    for change, words in (
        ("url", "[jobs.charge] url: Field required"),
        ("[jobs.charge]", "[jobs...]: '..' cannot be a job's name"),
        ("[jobs", "write each job as a table [jobs.NAME]"),
    ):
        changed = {"url": "urls", "[jobs.charge]": '[jobs.".."]', "[jobs": "[job"}[change]
        Path("jobs.toml").write_text(text.replace(change, changed, 1))
        assert words in complaint()


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("PROGRAM_EXECUTOR_QUEU_NAME", "a", "PROGRAM_EXECUTOR_QUEUE_NAME"),
        ("PROGRAM_EXECUTOR_AMPQ_URL", "a", "PROGRAM_EXECUTOR_AMQP_URL"),
        ("PROGRAM_EXECUTOR_PROT", "1", "PROGRAM_EXECUTOR_PORT"),
        ("PROGRAM_EXECUTOR_WORKERS_PORT", "1", "PROGRAM_EXECUTOR_WORKER_PORT"),
        ("PROGRAM_EXECUTOR_CALLBACKS_ALLOW", "a", "PROGRAM_EXECUTOR_CALLBACK_ALLOW"),
        ("program_executor_databse_url", "a", "PROGRAM_EXECUTOR_DATABASE_URL"),
        ("PROGRAM_EXECUTER_LEASE_S", "5", "PROGRAM_EXECUTOR_LEASE_S"),
        ("PROGRAM_EXECUTOR_XYZZY", "5", None),
    ],
)
def test_misspelled_variable_is_found_with_the_likely_name(
    name: str, value: str, meant: str | None
) -> None:
    assert list(unknown_variables({name: value, "PATH": "/bin"})) == [(name, meant)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROGRAM_EXECUTOR_PORT", "8080"),
        ("program_executor_port", "8080"),
        ("PROGRAM_EXECUTOR_CONFIG", "a"),
        ("PROGRAM_EXECUTOR_TEST_AMQP_URL", "a"),
        ("PROGRAM_EXECUTOR_API_SERVICE_HOST", "10.0.0.1"),
        ("PROGRAM_EXECUTOR_API_SERVICE_PORT_HTTP", "80"),
        ("PROGRAM_EXECUTOR_API_PORT", "tcp://10.0.0.1:80"),
        ("PROGRAM_EXECUTOR_API_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("EXECUTOR_NUMBER", "3"),
    ],
)
def test_other_variables_are_let_be(name: str, value: str) -> None:
    """Jenkins sets some, and Kubernetes sets many in pods beside a service of our name."""
    assert list(unknown_variables({name: value})) == []


@pytest.mark.parametrize(
    ("scheme", "name", "is_good"),
    [
        ("postgresql", "user", False),
        ("mysql", "user", True),
        ("mysql", "key", False),
        ("postgresql", "key", True),
        ("postgresql", "programs", True),
        ("mysql", "programs", True),
    ],
)
def test_words_of_sql_are_no_names_of_tables(scheme: str, name: str, *, is_good: bool) -> None:
    given = {"database_url": f"{scheme}://a@b/c", "table_name": name}
    if is_good:
        assert load_settings(**given).table_name == name
        return
    with pytest.raises(UsageError, match=rf"TABLE_NAME: '{name}' is a word that the database"):
        load_settings(**given)


def test_place_of_a_setting_that_is_nowhere_is_its_variable() -> None:
    assert place("lease_s") == "PROGRAM_EXECUTOR_LEASE_S"
    assert read_settings(port=None).port == 8_080
