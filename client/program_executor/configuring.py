"""Configuring: read the settings, and say in one line what is wrong, where, and what is right."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from program_executor.errors import UsageError
from program_service.api.auth import Keyring
from program_service.api.callback_file import read_file
from program_service.bookkeeping import urls
from program_service.bookkeeping.table_names import require_table_name
from program_service.logs import log
from program_service.settings import CONFIG_VARIABLE, PREFIX, Settings
from program_service.telemetry import Event
from program_service.toml_files import BadFile, place_of, read_toml
from program_service.wakeups.rabbitmq import link
from program_service.webhooks.errors import Forbidden
from program_service.webhooks.guard import SETTING, Guard
from program_service.webhooks.signing import require_secret

CLOSE, ALIKE = 0.6, 0.85
"""How like a setting a misspelled name must be: behind our prefix, and with a misspelled prefix."""

NO_SETTINGS = ("CONFIG", "URL", "KEY", "PROFILE", "ENDPOINT_SECRET", "CRASH_AT")
"""Variables with our prefix that are read by others than the settings."""

OF_TESTS = f"{PREFIX}TEST_"

OF_KUBERNETES = re.compile(
    r".*_SERVICE_(HOST|PORT(_\w+)?)=.*|.*_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=.*|.*_PORT=\w+://.*"
)
"""What Kubernetes sets in every pod beside a service whose name begins as our prefix does."""

SECRETS = frozenset({"database_url", "amqp_url", "notify_secret", "api_keys"})
"""Settings whose values are not repeated."""


def load_settings(**given: Any) -> Settings:
    """Read the settings, and check that they can be used; options come first.

    Raises:
        UsageError: something in them is wrong.
    """
    settings = read_settings(**given)
    if wrong := list(mistakes(settings)):
        raise UsageError("; ".join(text for _, text in wrong))
    return settings


def read_settings(**given: Any) -> Settings:
    """Read the settings; options of the command line, those that are not None, come first.

    Raises:
        UsageError: one of them is unknown, or not of its type or range.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError(explained(error)) from error
    except BadFile as error:
        raise UsageError(str(error)) from error


def mistakes(settings: Settings) -> Iterator[tuple[str, str]]:
    """Find what each setting by itself does not show, as (setting, what is wrong)."""
    found: Callable[..., object]
    for name, value, found in _readers(settings):
        try:
            found(value)
        except (ValueError, Forbidden) as error:
            words = str(error).removeprefix(f"{SETTING} has ")
            yield name, f"{place(name)}: {words}"
    if "worker_beat_s" in settings.model_fields_set and settings.worker_beat_s > settings.lease_s:
        text = (
            f"{place('worker_beat_s')}: {settings.worker_beat_s:g} is more than LEASE_S,"
            f" {settings.lease_s:g}: a worker must be heard of before its leases expire"
        )
        yield "worker_beat_s", text


def _readers(settings: Settings) -> Sequence[tuple[str, Any, Callable[[Any], object]]]:
    """Return which settings have a form of their own, and what reads each."""
    amqp_url, secret = settings.amqp_url, settings.notify_secret
    optional = (
        ("amqp_url", amqp_url and amqp_url.get_secret_value(), link.require_usable),
        ("notify_secret", secret and secret.get_secret_value(), require_secret),
        ("callback_jobs", settings.callback_jobs and settings, _read_callback_jobs),
    )
    return (
        ("database_url", settings.database_url.get_secret_value(), urls.require_usable),
        ("table_name", settings, _read_table_name),
        ("api_keys", settings.api_keys, Keyring.parse),
        ("callback_allow", settings.callback_allow, Guard.parse),
        *((name, value, read) for name, value, read in optional if value is not None and value),
    )


def _read_table_name(settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    try:
        urls.driver_url(url)
    except ValueError:
        return  # which is a mistake by itself
    require_table_name(settings.table_name, url)


def _read_callback_jobs(settings: Settings) -> None:
    """Read the file of callback jobs, and require that its addresses may be called."""
    path = Path(settings.callback_jobs)
    jobs = read_file(path)
    try:
        guard = Guard.parse(settings.callback_allow)
    except ValueError:
        return  # which is a mistake by itself
    for name, job in jobs.items():
        for field in ("url", "cancel_url"):
            url = getattr(job, field)
            try:
                if url is not None:
                    guard.check_url(url)
            except Forbidden as error:
                msg = f"{path}, [jobs.{name}] {field}: {error}"
                raise ValueError(msg) from error


def explained(error: ValidationError) -> str:
    """Say what is wrong with single settings, in one line."""
    return "; ".join(map(_of_setting, error.errors()))


def _of_setting(found: ErrorDetails) -> str:
    name, *inside = map(str, found["loc"])
    is_scalar = isinstance(found["input"], str | int | float) and not inside
    at = ".".join([place(name, found["input"] if is_scalar else None), *inside])
    if found["type"] == "extra_forbidden":
        meant = _most_like(name)
        hint = f"did you mean {meant}?" if meant else "docs/settings.md lists them"
        return f"{at}: there is no such setting; {hint}"
    words = found["msg"].removeprefix("Value error, ")
    is_told = found["type"] == "value_error" or name in SECRETS
    return f"{at}: {words}" if is_told else f"{at}: {words}, not {found['input']!r:.100}"


def place(name: str, value: Any = None) -> str:
    """Name the place where a setting was made: a variable, or the line of a file."""
    variable = f"{PREFIX}{name.upper()}"
    given = {key.upper(): text for key, text in os.environ.items()}.get(variable)
    path = os.environ.get(CONFIG_VARIABLE)
    if given is not None and value not in {None, given}:
        return f"--{name.removeprefix('worker_')}"
    if given is not None or not path:
        return variable
    try:
        is_there = name in read_toml(Path(path))
    except BadFile:
        is_there = False
    return place_of(Path(path), name) if is_there else variable


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Find variables that were meant to be settings, and the settings that they are most like."""
    known = {f"{PREFIX}{name}" for name in (*map(str.upper, Settings.model_fields), *NO_SETTINGS)}
    for name in sorted(environment):
        capitals = name.upper()
        if capitals in known or capitals.startswith(OF_TESTS):
            continue
        if not capitals.startswith(PREFIX):
            if "EXECUT" in capitals and (close := get_close_matches(capitals, known, 1, ALIKE)):
                yield name, close[0]
        elif not OF_KUBERNETES.fullmatch(f"{name}={environment[name]}"):
            meant = _most_like(capitals.removeprefix(PREFIX))
            yield name, meant and f"{PREFIX}{meant.upper()}"


def _most_like(name: str) -> str | None:
    """Return the setting that a name was probably meant to be."""
    return next(iter(get_close_matches(name.lower(), list(Settings.model_fields), 1, CLOSE)), None)


def warn_of_unknown_variables() -> None:
    """Log each variable that was meant to be a setting, and is none."""
    for name, meant in unknown_variables(os.environ):
        log.warning(Event.SETTING_UNKNOWN, variable=name, did_you_mean=meant)
