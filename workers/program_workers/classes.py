"""Classes: jobs in the ancestor's form, a `name`, `create(program_data)` and `execute(…)`.

A class becomes a job whose function makes an object and executes it, so that it runs as every job
does: in the event loop where `execute` is async, in a thread where it is plain.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Protocol

from program_service.bookkeeping.lifecycle import Json
from program_service.bookkeeping.retry import Retry
from program_workers.context import JobContext
from program_workers.thread_context import ThreadJobContext

MARK = "message"
"""What `execute` calls its first parameter in a class that is surely meant as a job."""

TERMS: dict[str, tuple[type, ...]] = {
    "timeout_s": (int, float, type(None)),
    "retry": (Retry,),
    "queue": (str,),
}
"""The terms that a class may carry as attributes, and what they must be."""


@dataclass(frozen=True, slots=True, eq=False)
class Message(Mapping[str, Any]):
    """What `execute` of a class job is told of its program, by attribute and by key."""

    run_id: str
    jobs: list[str]
    """The names of the remaining jobs, this one first."""
    program_data: Json
    step: int
    attempt: int
    context: Any = field(repr=False)
    """The whole context, by attribute only: a `JobContext`, in a plain job a `ThreadJobContext`."""

    @classmethod
    def of(cls, ctx: JobContext | ThreadJobContext) -> "Message":
        """Tell what a context shows."""
        remaining = list(ctx.jobs[ctx.step :])
        return cls(ctx.run_id, remaining, ctx.program_data, ctx.step, ctx.attempt, context=ctx)

    def __getitem__(self, key: str) -> Any:
        """Return a part by its name."""
        if key not in _TOLD:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        """Walk through the names of the parts."""
        return iter(_TOLD)

    def __len__(self) -> int:
        """Count the parts."""
        return len(_TOLD)


_TOLD = ("run_id", "jobs", "program_data", "step", "attempt")


@dataclass(frozen=True, slots=True)
class InThread:
    """What a job answers in the event loop to go on in a thread, with a `ThreadJobContext`."""

    function: Callable[[ThreadJobContext], Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """The function of a job that a class describes; two of one class are equal."""

    kind: type[Any]

    @property
    def __wrapped__(self) -> type[Any]:
        """The class, where `inspect.unwrap` looks for it."""
        return self.kind

    @property
    def ends_in_thread(self) -> bool:
        """Whether `execute` is plain, and so runs in a thread wherever `create` does."""
        return not inspect.iscoroutinefunction(self.kind.execute)


class _LoopForm(_Form):
    """Begin in the event loop: `create` or `execute` is async."""

    __slots__ = ()

    async def __call__(self, ctx: JobContext) -> Any:
        """Make an object, and execute it here or have it executed in a thread."""
        made = self.kind.create(ctx.program_data)
        if inspect.isawaitable(made):
            made = await made
        if inspect.iscoroutinefunction(getattr(made, "execute", None)):
            return await _execute(made, ctx)
        return InThread(partial(_execute, made))


class _ThreadForm(_Form):
    """Run in a thread: neither is async."""

    __slots__ = ()

    def __call__(self, ctx: ThreadJobContext) -> Any:
        """Make an object and execute it."""
        made = self.kind.create(ctx.program_data)
        return _once_made(made) if inspect.isawaitable(made) else _execute(made, ctx)


async def _once_made(making: Awaitable[Any]) -> InThread:
    """Await what a plain `create` around an async one returned, in the event loop."""
    return InThread(partial(_execute, await making))


def _execute(made: Any, ctx: JobContext | ThreadJobContext) -> Any:
    if not callable(getattr(made, "execute", None)):
        message = f"create of job {ctx.job!r} returned {type(made).__name__}, which has no execute"
        raise TypeError(message)
    return made.execute(Message.of(ctx), ctx.job_data)


def form_of(kind: type[Any]) -> Callable[..., Any]:
    """Return the function of the job that a class describes."""
    is_async = any(map(inspect.iscoroutinefunction, (kind.create, kind.execute)))
    return _LoopForm(kind) if is_async else _ThreadForm(kind)


def terms_of(kind: type[Any]) -> dict[str, Any]:
    """Return the terms that a class carries as attributes."""
    return {term: getattr(kind, term) for term in TERMS if hasattr(kind, term)}


def flaw_of(kind: type[Any]) -> str | None:
    """Say why a class cannot be a job, or return None."""
    for method in ("create", "execute"):
        if not callable(getattr(kind, method, None)):
            return f"it has no {method}"
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name:
        return f'its name is {name!r}, and must be a text of the class, as in name = "send_mail"'
    if not takes(kind.create, 1):
        return "its create must be a classmethod or a staticmethod that takes program_data alone"
    if not takes(kind.execute, 2 + _has_self(kind)):
        return "its execute must take message and job_data"
    for term, value in terms_of(kind).items():
        if not isinstance(value, TERMS[term]):
            kinds = " or ".join(each.__name__ for each in TERMS[term])
            return f"its {term} is {value!r}, and must be {kinds}"
    return None


def job_classes(module: ModuleType) -> Iterator[type[Any]]:
    """Find the classes of a module that are jobs, or are meant as jobs and have a flaw.

    They are defined in it, or listed in its `__all__`.
    """
    exported = getattr(module, "__all__", ())
    for name, value in list(vars(module).items()):
        if not isinstance(value, type):
            continue
        is_its_own = value.__module__ == module.__name__ or name in exported
        if is_its_own and not _is_set_aside(value) and (not flaw_of(value) or _is_meant(value)):
            yield value


def _is_set_aside(kind: type[Any]) -> bool:
    """Tell a class that says itself that it is no job: private, abstract, or a protocol."""
    return kind.__name__.startswith("_") or inspect.isabstract(kind) or Protocol in kind.__bases__


def _is_meant(kind: type[Any]) -> bool:
    """Tell a class with a flaw that cannot be an innocent one, nor the base of others."""
    execute = getattr(kind, "execute", None)
    has_another_part = hasattr(kind, "create") or hasattr(kind, "name")
    if not callable(execute) or not has_another_part or kind.__subclasses__():
        return False
    signature = _signature(execute)
    parameters = list(signature.parameters) if signature else []
    return [name.strip("_") for name in parameters[_has_self(kind) :][:1]] == [MARK]


def _has_self(kind: type[Any]) -> bool:
    """Tell whether `execute`, as the class has it, takes an object first."""
    return inspect.isfunction(inspect.getattr_static(kind, "execute"))


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        # as it is called: a decorator may give its function more than it takes itself
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some callables cannot say
        return None


def takes(function: Callable[..., Any], count: int) -> bool:
    """Say whether so many arguments can be given, as far as the function can say."""
    signature = _signature(function)
    try:
        return signature is None or bool(signature.bind(*range(count)))
    except TypeError:
        return False
