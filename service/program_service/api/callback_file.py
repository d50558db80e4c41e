"""Callback file: callback jobs from a TOML file, registered when the service starts.

[jobs.send_invoice]
url = "https://billing.example/jobs/invoice"
secret = "whsec_…"
timeout_s = 60
"""

from pathlib import Path

from pydantic import ValidationError

from program_service.api.endpoints import register
from program_service.api.schemas import CallbackJobRequest
from program_service.api.services import Services
from program_service.bookkeeping.errors import BookkeepingError, DatabaseUnavailable
from program_service.logs import log
from program_service.names import require_job_name
from program_service.telemetry import Event
from program_service.toml_files import BadFile, read_toml
from program_service.webhooks.errors import BadWebhookSetting


class BadCallbackFile(BadWebhookSetting):
    """The file of callback jobs cannot be used."""


def read_file(path: Path) -> dict[str, CallbackJobRequest]:
    """Return {job name: endpoint}.

    Raises:
        BadCallbackFile: there is no such file, or something in it is wrong; the message says what.
    """
    try:
        content = read_toml(path)
    except BadFile as error:
        msg = f"CALLBACK_JOBS: {error}"
        raise BadCallbackFile(msg) from error
    jobs = content.get("jobs")
    if not isinstance(jobs, dict) or set(content) != {"jobs"}:
        msg = f"{path}: write each job as a table [jobs.NAME], and nothing else"
        raise BadCallbackFile(msg)
    found = {}
    for name, fields in jobs.items():
        try:
            require_job_name(name)
            found[name] = CallbackJobRequest.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            msg = f"{path}, [jobs.{name}] {field}: {first['msg'].removeprefix('Value error, ')}"
            raise BadCallbackFile(msg) from error
        except ValueError as error:
            msg = f"{path}, [jobs.{name}]: {error}"
            raise BadCallbackFile(msg) from error
        if found[name].secret is None:
            msg = f"{path}, [jobs.{name}] secret: it is needed here; nobody would see one of ours"
            raise BadCallbackFile(msg)
    return found


async def register_file(services: Services, jobs: dict[str, CallbackJobRequest]) -> None:
    """Register what the file says.

    Raises:
        DatabaseUnavailable: the database does not answer; it can all be registered again.
    """
    for name, body in jobs.items():
        try:
            await register(services, name, body)
        except DatabaseUnavailable:
            raise
        except BookkeepingError as error:
            log.warning(Event.JOB_REFUSED, job=name, error_message=str(error))
