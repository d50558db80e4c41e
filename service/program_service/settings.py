"""Settings: every knob, described once, its unit in its name.

Read from the environment (prefix `PROGRAM_EXECUTOR_`), then from the TOML file that
`PROGRAM_EXECUTOR_CONFIG` names. `docs/settings.md` is generated from this module.
"""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from program_service.names import (
    is_unicode,
    require_queue_name,
    require_queue_prefix,
    require_worker_name,
)
from program_service.toml_files import BadFile, read_toml

PREFIX = "PROGRAM_EXECUTOR_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"


class UnknownJobs(StrEnum):
    """What happens to a submitted program that names a job nobody ever registered."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    PRETTY = "pretty"


def _words(value: Any) -> Any:
    """Split a list that the environment gives as `a, b`."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def _joined(separator: str) -> BeforeValidator:
    """Take a list, as TOML has them, for the text that the environment gives."""

    def join(value: Any) -> Any:
        is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return separator.join(value) if is_list else value

    return BeforeValidator(join)


def _in_capitals(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


MAX_TABLE_NAME = 40
SERVICE_URL = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?")


def _table_name(name: str) -> str:
    """Refuse names that would need quoting, or that leave no room for the derived names."""
    if not (
        name.isascii()
        and name.isidentifier()
        and name == name.lower()
        and len(name) <= MAX_TABLE_NAME
    ):
        msg = f"{name!r}: use at most {MAX_TABLE_NAME} lower-case letters, digits and underscores"
        raise ValueError(msg)
    return name


def _queues(names: list[str]) -> list[str]:
    """Require queues that can be there, each once."""
    if not names:
        msg = "name at least one queue, such as default"
        raise ValueError(msg)
    return list(dict.fromkeys(map(require_queue_name, names)))


def _service_url(url: str) -> str:
    """Refuse what no link can begin with."""
    if url and not SERVICE_URL.fullmatch(url):
        msg = f"{url!r}: use http://host or https://host, with a path if there is one, and no query"
        raise ValueError(msg)
    return url


WordList = Annotated[list[str], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """The settings of the service and of the workers."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False
    )

    database_url: SecretStr = Field(
        SecretStr("sqlite:///program-executor-data/programs.db"),
        description="The bookkeeping database: `postgresql://…`, `mysql://…` or `sqlite:///path`.",
    )
    amqp_url: SecretStr | None = Field(
        None,
        description=(
            "RabbitMQ, as `amqp://user:password@host/vhost`; for a cluster the URLs of its nodes,"
            " separated by commas, tried in turn. Needed by serve and work."
        ),
    )
    table_name: Annotated[str, AfterValidator(_table_name)] = Field(
        "programs", description="The program table; all other table names derive from it."
    )
    queue_name: Annotated[str, AfterValidator(require_queue_prefix)] = Field(
        "program-executor",
        description="The first part of every queue's name: `<QUEUE_NAME>.<queue>`.",
    )
    migrate_on_start: bool = Field(
        default=True, description="Whether the service brings the tables up to date when it starts."
    )
    database_pool_size: int = Field(
        10,
        ge=3,
        le=1_000,
        description=(
            "Database connections that one process keeps; requests leave two of them to submits and"
            " background loops."
        ),
    )

    host: str = Field("127.0.0.1", description="The address that the API listens on.")
    port: int = Field(8080, ge=0, le=65535, description="The port of the API; 0 takes a free one.")
    api_keys: Annotated[str, _joined(" ")] = Field(
        "",
        description=(
            "The first API keys, as `name=scope+scope:sha256hex`, separated by spaces;"
            " `program-executor keys new NAME --setting` makes them. All others are better kept in"
            " the table: `keys new` without `--setting`. Without any here, the API listens on"
            " loopback only."
        ),
    )
    allow_unauthenticated: bool = Field(
        default=False,
        description=(
            "Whether the API may, without any API key, listen on other addresses than loopback and"
            " answer to other names than this machine's: everybody who can connect may then do"
            " everything."
        ),
    )
    failed_tries_per_minute: int = Field(
        30,
        ge=0,
        le=1_000_000,
        description=(
            "How often an address may come with a wrong key, token or sign-in, before it is told to"
            " wait; 0 for no limit. Right keys are always let through."
        ),
    )
    rate_limit: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="How many requests each API key may make in a window; no limit by default.",
    )
    rate_limit_window_s: int = Field(
        60,
        ge=1,
        le=86_400,
        description="How long that window is, in whole seconds.",
    )
    session_s: float = Field(
        43_200.0,
        ge=60,
        le=31_536_000,
        description="How long a browser stays signed in to the dashboard, whatever it does.",
    )
    session_idle_s: float = Field(
        3_600.0,
        ge=60,
        le=31_536_000,
        description="How long it stays signed in without a request.",
    )
    audit_days: float = Field(
        365.0,
        gt=0,
        le=36_500,
        description="How long the audit trail is kept, also of programs that were deleted.",
    )
    redact: WordList = Field(
        default_factory=list,
        description=(
            "Fields of program data and job data, at any depth and in any case, whose values are"
            " shown and logged as `***`: `card, password`. Set it for the service and its workers."
        ),
    )
    unknown_jobs: UnknownJobs = Field(
        UnknownJobs.REFUSE,
        description="`refuse` or `accept` programs that name a job nobody ever registered.",
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=1_073_741_824, description="The longest request body."
    )
    max_job_data_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=1_073_741_824,
        description=(
            "How long the job data of a program may become, as JSON. Set it for the service and its"
            " workers. Job data that are longer already may stay and shrink."
        ),
    )
    max_head_bytes: int = Field(
        65_536, ge=1024, le=1_048_576, description="The longest request line and headers."
    )
    max_head_s: float = Field(
        10.0,
        gt=0,
        le=3_600,
        description="How long a client may take to send request line and headers.",
    )
    max_body_s: float = Field(
        60.0, gt=0, le=86_400, description="How long a client may take to send a body."
    )
    max_connections: int = Field(
        900,
        ge=10,
        le=1_000_000,
        description=(
            "Connections at a time to the API, and to a worker's port. Beyond, the one that has"
            " waited longest for its client is closed; if all are being answered, the new one is."
        ),
    )
    max_wait_s: float = Field(
        60.0,
        ge=0,
        le=3_600,
        description="The longest that `Prefer: wait` holds a request.",
    )

    jobs: WordList = Field(
        default_factory=list,
        description="Modules or packages with jobs, separated by commas; of a package all modules.",
    )
    queues: Annotated[WordList, AfterValidator(_queues)] = Field(
        default_factory=lambda: ["default"],
        description="The queues that a worker serves, separated by commas.",
    )
    concurrency: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Programs that one worker process runs at a time.",
    )
    threads: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Plain (not async) jobs that run at a time.",
    )
    worker_name: Annotated[str, AfterValidator(require_worker_name)] = Field(
        "",
        description="The name of this worker; by default made of host name and process id.",
    )
    worker_host: str = Field(
        "127.0.0.1", description="The address of the worker's own /livez, /readyz and /metrics."
    )
    worker_port: int = Field(8081, ge=0, le=65535, description="The port of the same.")
    service_url: Annotated[str, AfterValidator(_service_url)] = Field(
        "",
        description=(
            "Where endpoints reach the service: the links in their calls begin with it; by default"
            " `http://127.0.0.1:PORT`."
        ),
    )
    callback_allow: Annotated[str, _joined(",")] = Field(
        "",
        description=(
            "Hosts and networks, separated by commas, that endpoints may have besides public"
            " addresses over https: `*.internal.example, 10.0.0.0/8`."
        ),
    )
    notify_secret: SecretStr | None = Field(
        None,
        description=(
            "Signs what is posted to the `notify` address of programs; `whsec_` and base64."
        ),
    )
    callback_jobs: str = Field(
        "",
        description="A TOML file of callback jobs that the service registers when it starts.",
    )
    lease_s: float = Field(
        30.0,
        ge=1.5,
        le=86_400,
        description="How long a claim holds without renewal: a dead worker's programs wait for it.",
    )
    grace_s: float = Field(
        25.0,
        ge=0,
        le=604_800,
        description="How long running jobs may go on after SIGTERM, before release.",
    )

    sweep_interval_s: float = Field(
        1.0,
        gt=0,
        le=3_600,
        description="How often due programs that nobody was woken for are looked for.",
    )
    worker_beat_s: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="How often a worker says that it lives; three missed make it gone.",
    )
    wake_again_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="When a wake-up that brought no claim is suspected to be lost.",
    )

    retention_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description=(
            "How long programs are kept after their end; then they are deleted, with their attempts"
            " and idempotency keys. By default for ever: nobody can bring back what was deleted"
            " unasked."
        ),
    )
    rollup_days: float = Field(
        7.0,
        gt=0,
        le=36_500,
        description=(
            "How long the counts of each minute are kept, which the dashboard's figures are from."
        ),
    )

    log_level: Annotated[LogLevel, BeforeValidator(_in_capitals)] = Field(
        LogLevel.INFO, description="`DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    log_format: LogFormat = Field(
        LogFormat.JSON, description="`json`, one object a line, or `pretty` for terminals."
    )
    attempt_log_lines: int = Field(
        50,
        ge=0,
        le=10_000,
        description="How many lines that a job logs are kept with its attempt, the last; or 0.",
    )
    attempt_log_bytes: int = Field(
        8192,
        ge=0,
        le=65_536,
        description="How long they may be in all, as JSON; or 0.",
    )
    attempt_log_level: Annotated[LogLevel, BeforeValidator(_in_capitals)] = Field(
        LogLevel.INFO,
        description="From which level on they are kept; what `LOG_LEVEL` leaves out never is.",
    )
    traces: bool = Field(
        default=False,
        description=(
            "Whether spans are exported by OpenTelemetry, which its own `OTEL_…` variables set up;"
            " needs `pip install 'program-executor[otel]'`."
        ),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `port = true`, which Python takes for 1, and texts that cannot be passed on."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and kind is not bool:
            msg = f"{str(value).lower()} is neither a number nor a text"
            raise ValueError(msg)
        if isinstance(value, str) and ("\0" in value or not is_unicode(value)):
            msg = "it holds a NUL, or is not UTF-8"  # the value may be a secret
            raise ValueError(msg)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the TOML file.

        Raises:
            BadFile: the file cannot be read.
        """
        del dotenv_settings, file_secret_settings
        path = os.environ.get(CONFIG_VARIABLE)
        if path and not Path(path).is_file():
            msg = f"{CONFIG_VARIABLE} names {path!r}, which is no file"
            raise BadFile(msg)
        file = (InitSettingsSource(settings_cls, read_toml(Path(path))),) if path else ()
        return (init_settings, env_settings, *file)
