"""Library: the jobs that a worker knows, and where it found them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import ModuleType
from typing import Any, Self, TypeAlias, overload

from program_service.bookkeeping.lifecycle import DEFAULT_QUEUE
from program_service.bookkeeping.retry import Retry
from program_workers.classes import flaw_of, form_of, job_classes, terms_of
from program_workers.errors import LibraryError
from program_workers.flaws import flaw_of_function, flaw_of_names, flaw_of_terms
from program_workers.modules import import_all, line_of

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A job: a function with a name and the terms that it runs under.

    Calling it calls the function, so that it can be tested as one.
    """

    name: str
    function: Function
    timeout_s: float | None = None
    retry: Retry = field(default_factory=Retry)
    queue: str = DEFAULT_QUEUE

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            LibraryError: a name or a term is not what it must be, or there is no function.
        """
        if flaw := _flaw_of(self):
            raise LibraryError(flaw)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether the function runs in the event loop; a plain one runs in a thread."""
        call = getattr(self.function, "__call__", None)  # noqa: B004 - an object may be called
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    @property
    def needs_thread(self) -> bool:
        """Whether the function, or the last part of it, runs in a thread."""
        return not self.is_async or getattr(self.function, "ends_in_thread", False)

    @property
    def place(self) -> str:
        """Where the function stands, for messages."""
        function = inspect.unwrap(self.function)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return f"{function.__module__}:{name}"

    @property
    def written(self) -> str:
        """Where the function was written, with the file and the line where they are known."""
        function = inspect.unwrap(self.function)
        line = line_of(getattr(function, "execute", function))
        return f"{self.place} ({line})" if line else self.place

    def named(self, name: str, **changes: Any) -> Self:
        """Return the same job under another name, and other terms."""
        return replace(self, name=name, **changes)

    def is_same(self, other: "Job") -> bool:
        """Tell whether both are one function, or one class, under the same name and terms."""
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(self))


@overload
def job(name: Function, /) -> Job: ...
@overload
def job(
    name: str | None = None,
    /,
    *,
    timeout_s: float | None = None,
    retry: Retry | None = None,
    queue: str = DEFAULT_QUEUE,
) -> Callable[[Function], Job]: ...
def job(
    name: str | Function | None = None,
    /,
    *,
    timeout_s: float | None = None,
    retry: Retry | None = None,
    queue: str = DEFAULT_QUEUE,
    **others: object,
) -> Job | Callable[[Function], Job]:
    """Make a function a job: `@job`, or `@job("send_invoice", timeout_s=60, queue="mail")`.

    The function takes a context and may return a dict, which is merged into the job data. An async
    one runs in the event loop, a plain one in a thread.

    Raises:
        LibraryError: an argument is not what it must be.
    """
    if others:
        msg = f"@job has no {', '.join(others)}; it has timeout_s, retry and queue"
        raise LibraryError(msg)

    def decorate(function: Function) -> Job:
        return Job(
            name=_name_of(function) if name is None or callable(name) else name,
            function=function,
            timeout_s=timeout_s,
            retry=Retry() if retry is None else retry,
            queue=queue,
        )

    return decorate(name) if callable(name) else decorate


def _name_of(function: Function) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        msg = f'{type(function).__name__} has no name of its own; give it one, as in @job("charge")'
        raise LibraryError(msg)
    return name


def _flaw_of(job: Job) -> str | None:
    """Say what is wrong with a job, and what would be right; None if nothing is."""
    function = job.function
    if isinstance(function, type):
        return (
            f"{job.place} is a class: with a name, create and execute it is found as it is,"
            f" and job_of({function.__name__}) returns its job"
        )
    flaw = (
        flaw_of_names(job.name, job.queue)
        or flaw_of_function(function)
        or flaw_of_terms(job.timeout_s, job.retry)
    )
    return flaw and f"job {job.name!r:.300}: {flaw}"


def job_of(given: Job | type[Any]) -> Job:
    """Return the job that a class describes: `job_of(SendMail).named("another name")`.

    The class has a text `name`, `create(program_data)` and `execute(message, job_data)`, both async
    or plain; and, if it likes, `timeout_s`, `retry` and `queue`. A job is returned as it is.

    Raises:
        LibraryError: the class cannot be a job.
    """
    if isinstance(given, Job):
        return given
    flaw = flaw_of(given)
    if flaw:
        msg = f"{given.__module__}:{given.__qualname__} cannot be a job: {flaw}"
        raise LibraryError(msg)
    return Job(given.name, form_of(given), **terms_of(given))


@dataclass(frozen=True, slots=True)
class Hook:
    """A function that a worker calls when a step is retried, or a program errors or finishes."""

    moment: str
    function: Function


def on_retry(function: Function) -> Hook:
    """Have a function called with a `ProgramEvent` after a step was put off for a retry."""
    return Hook("retry", function)


def on_error(function: Function) -> Hook:
    """Have a function called with a `ProgramEvent` after a program errored for good."""
    return Hook("error", function)


def on_finish(function: Function) -> Hook:
    """Have a function called with a `ProgramEvent` after a program finished."""
    return Hook("finish", function)


class JobLibrary(Mapping[str, Job]):
    """The jobs of a worker by name, and its hooks."""

    def __init__(self, jobs: Iterable[Job | type[Any]] = (), hooks: Iterable[Hook] = ()) -> None:
        """Take jobs.

        Raises:
            LibraryError: two jobs have one name, or a class cannot be a job.
        """
        self._jobs: dict[str, Job] = {}
        self.hooks: list[Hook] = list(hooks)
        for each in jobs:
            self.add(each)

    @classmethod
    def of_modules(cls, names: Sequence[str]) -> Self:
        """Import modules, every module of a package, and take the jobs and hooks in them.

        Raises:
            LibraryError: a module cannot be imported or has no jobs, two jobs have one name, or a
                class cannot be the job that it is meant as.
        """
        library = cls()
        # all are imported first: only then is it known of which classes others derive
        found = {name: import_all(name) for name in names}
        for name, modules in found.items():
            for module in modules:
                library.add_module(module)
            if not any(map(_has_some, modules)):
                msg = (
                    f"there is no job in {name!r}, which JOBS names: decorate its functions with"
                    " @job, or do not name it"
                )
                raise LibraryError(msg)
        return library

    def add_module(self, module: ModuleType) -> None:
        """Take every job and hook that a module holds, and the classes in it that are jobs.

        Raises:
            LibraryError: two jobs have one name, or a class cannot be the job it is meant as.
        """
        for value in vars(module).values():
            if isinstance(value, Job):
                self.add(value)
            elif isinstance(value, Hook) and value not in self.hooks:
                self.hooks.append(value)
        for kind in job_classes(module):
            self.add(kind)

    def add(self, given: Job | type[Any]) -> None:
        """Take a job, also as a class; taking the same one again changes nothing.

        Raises:
            LibraryError: another job has its name, or the class cannot be a job.
        """
        new = job_of(given)
        old = self._jobs.setdefault(new.name, new)
        if not old.is_same(new):
            msg = (
                f"two jobs are named {new.name!r}: {old.written} and {new.written};"
                f' rename one, or register it as job.named("another name")'
            )
            raise LibraryError(msg)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs by their names, as a dict, for those who look them up for each step."""
        return self._jobs

    def __getitem__(self, name: str) -> Job:
        """Return the job of this name."""
        return self._jobs[name]

    def __iter__(self) -> Iterator[str]:
        """Walk through the names."""
        return iter(self._jobs)

    def __len__(self) -> int:
        """Count the jobs."""
        return len(self._jobs)


def _has_some(module: ModuleType) -> bool:
    """Say whether a module has jobs or hooks."""
    return any(isinstance(value, Job | Hook) for value in vars(module).values()) or any(
        job_classes(module)
    )
