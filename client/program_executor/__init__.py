"""Program Executor: run ordered lists of jobs that finish no matter what breaks.

    from program_executor import job, RetryableError

    @job("charge", timeout_s=30)
    async def charge(ctx):
        ...
        return {"receipt": "…"}

Names are imported when they are first used, so that `import program_executor` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from program_executor.async_client import AsyncClient as AsyncClient
    from program_executor.client import Client as Client
    from program_executor.exchange import ProblemError as ProblemError
    from program_executor.transactional import submit_in as submit_in
    from program_executor.transactional import submit_in_async as submit_in_async
    from program_service.bookkeeping.retry import Retry as Retry
    from program_workers.classes import Message as Message
    from program_workers.context import JobContext as JobContext
    from program_workers.context import JobData as JobData
    from program_workers.errors import IgnorableError as IgnorableError
    from program_workers.errors import JobError as JobError
    from program_workers.errors import RetryableError as RetryableError
    from program_workers.hooks import ProgramEvent as ProgramEvent
    from program_workers.library import Job as Job
    from program_workers.library import JobLibrary as JobLibrary
    from program_workers.library import job as job
    from program_workers.library import job_of as job_of
    from program_workers.library import on_error as on_error
    from program_workers.library import on_finish as on_finish
    from program_workers.library import on_retry as on_retry
    from program_workers.thread_context import ThreadJobContext as ThreadJobContext
    from program_workers.thread_context import ThreadJobData as ThreadJobData

_HOMES = {
    "AsyncClient": "program_executor.async_client",
    "Client": "program_executor.client",
    "ProblemError": "program_executor.exchange",
    "submit_in": "program_executor.transactional",
    "submit_in_async": "program_executor.transactional",
    "Retry": "program_service.bookkeeping.retry",
    "Message": "program_workers.classes",
    "JobContext": "program_workers.context",
    "JobData": "program_workers.context",
    "ThreadJobContext": "program_workers.thread_context",
    "ThreadJobData": "program_workers.thread_context",
    "IgnorableError": "program_workers.errors",
    "JobError": "program_workers.errors",
    "RetryableError": "program_workers.errors",
    "Job": "program_workers.library",
    "JobLibrary": "program_workers.library",
    "job": "program_workers.library",
    "job_of": "program_workers.library",
    "on_error": "program_workers.library",
    "on_finish": "program_workers.library",
    "on_retry": "program_workers.library",
    "ProgramEvent": "program_workers.hooks",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the keys are the names


def __getattr__(name: str) -> Any:
    """Import a name from where it is defined."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
