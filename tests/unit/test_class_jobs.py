"""Class jobs: which classes are jobs, what they are told, and how exceptions are marked."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any, cast

import pytest

from program_executor import (
    IgnorableError,
    JobContext,
    JobLibrary,
    Message,
    Retry,
    RetryableError,
    job,
    job_of,
)
from program_service.bookkeeping.lifecycle import Claimed, Fail, RetryLater
from program_workers.context import Step
from program_workers.errors import LibraryError
from program_workers.judgement import judge
from program_workers.lease import Held

NAME = "name = 'sendMail'\n"
CREATE = "@classmethod\ndef create(cls, program_data): return cls()\n"
EXECUTE = "async def execute(self, message, job_data): ...\n"
QUERY = "def execute(self, query, limit): ...\n"


def a_class(*parts: str, head: str = "class SendMail:") -> str:
    """Return the text of a class."""
    return f"{head}\n{indent(''.join(parts) or 'pass', '    ')}\n"


def a_module(text: str, name: str = "shop") -> ModuleType:
    """Return a module of this text."""
    module = ModuleType(name)
    exec(text, vars(module))
    return module


def library_of(*modules: ModuleType) -> JobLibrary:
    """Return what a worker finds in modules."""
    library = JobLibrary()
    for module in modules:
        library.add_module(module)
    return library


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that modules are imported from for the time of a test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


class SendMail:
    """A job in the class form."""

    name = "sendMail"
    timeout_s = 60
    retry = Retry(max_attempts=3)
    queue = "mail"

    @classmethod
    def create(cls, _program_data: dict[str, Any]) -> Any:
        return cls()

    async def execute(self, message: Message, _job_data: Any) -> dict[str, int]:
        return {"step": message.step}


class SendLetter(SendMail):
    """A job whose `execute` is plain."""

    name = "sendLetter"
    queue = "default"

    def execute(self, message: Message, _job_data: Any) -> Any:
        return {"step": message.step}


class SendLater(SendLetter):
    """A job whose `create` alone is async."""

    @classmethod
    async def create(cls, _program_data: dict[str, Any]) -> Any:
        return cls()


# which classes are jobs


def test_class_with_name_create_and_execute_is_found() -> None:
    library = library_of(a_module(a_class(NAME, CREATE, EXECUTE)))
    assert list(library) == ["sendMail"]
    assert library["sendMail"].place == "shop:SendMail"


@pytest.mark.parametrize(
    "create",
    [
        CREATE,
        "@classmethod\nasync def create(cls, program_data): ...\n",
        "@staticmethod\ndef create(program_data): ...\n",
        "@staticmethod\nasync def create(program_data): ...\n",
        "@staticmethod\ndef create(data, mailer=None): ...\n",
        "create = dict\n",
    ],
)
@pytest.mark.parametrize(
    "execute",
    [
        EXECUTE,
        "def execute(self, *args): ...\n",
        "def execute(self, a, b, *, c=None): ...\n",
        "@staticmethod\ndef execute(message, job_data): ...\n",
    ],
)
def test_methods_may_have_any_form_that_can_be_called(create: str, execute: str) -> None:
    assert list(library_of(a_module(a_class(NAME, create, execute)))) == ["sendMail"]


def test_class_carries_its_terms() -> None:
    made = job_of(SendMail)
    assert (made.name, made.queue) == ("sendMail", "mail")
    assert (made.timeout_s, made.retry) == (60, Retry(max_attempts=3))


def test_class_without_terms_has_those_of_a_function() -> None:
    bare = a_module(a_class(NAME, CREATE, EXECUTE)).SendMail
    made = job_of(bare)
    assert (made.timeout_s, made.retry, made.queue) == (None, Retry(), "default")


def test_class_runs_in_the_loop_if_anything_of_it_is_async() -> None:
    assert job_of(SendMail).is_async
    assert not job_of(SendLetter).is_async
    assert job_of(SendLater).is_async


def test_imported_class_is_a_job_of_the_module_that_defines_it() -> None:
    module = a_module("")
    module.__dict__["SendMail"] = SendMail
    assert not library_of(module)


def test_class_is_re_exported_by_all_or_by_its_job() -> None:
    module = a_module("__all__ = ['SendMail']\n")
    module.__dict__["SendMail"] = SendMail
    assert list(library_of(module)) == ["sendMail"]
    module = a_module("")
    module.__dict__["send_mail"] = job_of(SendMail)
    assert list(library_of(module)) == ["sendMail"]


def test_class_that_is_found_twice_is_one_job() -> None:
    module = a_module(a_class(NAME, CREATE, EXECUTE) + "alias = SendMail\n")
    module.__dict__["send_mail"] = job_of(module.SendMail)
    assert list(library_of(module, module)) == ["sendMail"]


def test_class_gets_another_name_and_other_terms() -> None:
    module = a_module(a_class(NAME, CREATE, EXECUTE))
    module.__dict__["again"] = job_of(module.SendMail).named("send_mail", queue="slow")
    library = library_of(module)
    assert sorted(library) == ["sendMail", "send_mail"]
    assert (library["sendMail"].queue, library["send_mail"].queue) == ("default", "slow")


def test_two_classes_of_one_name_are_an_error_that_names_both() -> None:
    text = a_class(NAME, CREATE, EXECUTE)
    with pytest.raises(LibraryError) as caught:
        library_of(a_module(text, "shop"), a_module(text, "mall"))
    assert "shop:SendMail" in str(caught.value)
    assert "mall:SendMail" in str(caught.value)


def test_job_of_a_job_is_itself() -> None:
    made = job_of(SendMail)
    assert job_of(made) is made
    assert list(JobLibrary([SendMail, made])) == ["sendMail"]


def test_decorator_refuses_a_class_and_says_what_to_do() -> None:
    for decorate in (job, job("sendMail")):
        with pytest.raises(LibraryError, match=r"job_of\(SendMail\)"):
            cast("Any", decorate)(SendMail)


# classes that nearly fit


@pytest.mark.parametrize(
    ("parts", "flaw"),
    [
        ((NAME, EXECUTE), "has no create"),
        ((NAME, EXECUTE, "create = None\n"), "has no create"),
        ((CREATE, EXECUTE), "its name is None"),
        ((CREATE, EXECUTE, "name = ''\n"), "its name is ''"),
        ((CREATE, EXECUTE, "name = 42\n"), "its name is 42"),
        ((CREATE, EXECUTE, "@property\ndef name(self): return 'sendMail'\n"), "text of the class"),
        ((CREATE, EXECUTE, "@staticmethod\ndef name(): return 'x'\n"), "text of the class"),
        ((CREATE, EXECUTE, "name = 'x' * 256\n"), "printable characters"),
        ((NAME, EXECUTE, "def create(self, program_data): ...\n"), "classmethod or a staticmethod"),
        ((NAME, EXECUTE, "@classmethod\ndef create(cls): ...\n"), "takes program_data"),
        ((NAME, CREATE, "def execute(self, message): ...\n"), "message and job_data"),
        ((NAME, CREATE, "def execute(self, _message, a, b): ...\n"), "message and job_data"),
        ((NAME, CREATE, "@staticmethod\ndef execute(message): ...\n"), "message and job_data"),
        ((NAME, CREATE, EXECUTE, "retry = 3\n"), "its retry is 3, and must be Retry"),
        ((NAME, CREATE, EXECUTE, "timeout_s = '60'\n"), "its timeout_s is '60'"),
        ((NAME, CREATE, EXECUTE, "timeout_s = 0\n"), "above 0"),
        ((NAME, CREATE, EXECUTE, "queue = None\n"), "its queue is None, and must be str"),
    ],
)
def test_class_that_is_meant_as_a_job_and_cannot_be_one_is_refused(
    parts: tuple[str, ...], flaw: str
) -> None:
    with pytest.raises(LibraryError) as caught:
        library_of(a_module(a_class(*parts)))
    assert flaw in str(caught.value)


def test_refusal_names_the_class() -> None:
    with pytest.raises(LibraryError, match="shop:SendMail cannot be a job: it has no create"):
        library_of(a_module(a_class(NAME, EXECUTE)))


@pytest.mark.parametrize(
    "text",
    [
        a_class(),
        a_class(EXECUTE),  # of a mixin
        a_class(NAME, QUERY),
        a_class(CREATE, QUERY),
        a_class(NAME, CREATE, "def execute(self): ...\n"),
        a_class(NAME, CREATE, "execute = None\n"),
        a_class(NAME, CREATE, QUERY, "queue = object()\n"),
        a_class(NAME, CREATE, "def execute(): ...\n"),
        "from collections.abc import Mapping\nSendMail = dict[str, int]\n",
    ],
)
def test_innocent_class_is_let_alone(text: str) -> None:
    assert not library_of(a_module(text))


@pytest.mark.parametrize(
    "text",
    [
        a_class(NAME, CREATE, EXECUTE, head="class _SendMail:"),
        a_class(NAME, EXECUTE, head="class _SendMail:"),
        "from typing import Protocol\n" + a_class(CREATE, EXECUTE, head="class A(Protocol):"),
        "from abc import ABC, abstractmethod\n"
        + a_class(NAME, CREATE, "@abstractmethod\n", EXECUTE, head="class A(ABC):"),
    ],
)
def test_private_and_abstract_classes_are_no_jobs(text: str) -> None:
    assert not library_of(a_module(text))


def test_base_of_jobs_needs_not_be_one_wherever_they_stand(folder: Path) -> None:
    package = folder / "class_shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text(a_class(CREATE, EXECUTE, "name: str\n", head="class Base:"))
    head = "class SendMail(Base):"
    text = "from class_shop.base import Base\n" + a_class(NAME, head=head)
    (package / "mail.py").write_text(text)
    assert list(JobLibrary.of_modules(["class_shop"])) == ["sendMail"]
    assert list(JobLibrary.of_modules(["class_shop.mail", "class_shop"])) == ["sendMail"]


@pytest.mark.parametrize("kind", [dict, JobContext])
def test_class_that_is_given_by_hand_must_be_a_job(kind: type[Any]) -> None:
    with pytest.raises(LibraryError, match="cannot be a job: it has no create"):
        job_of(kind)
    with pytest.raises(LibraryError, match="cannot be a job: it has no create"):
        JobLibrary([kind])


# what execute is told


@pytest.fixture
async def message() -> Message:
    """Return the message of the second of three jobs, in its third try."""
    program = Claimed(
        id=1,
        run_id="run-1",
        lease="lease-1",
        jobs=["reserve", "charge", "ship"],
        step=1,
        step_retry_count=2,
        lease_losses=0,
        program_data={"customer": 42},
        job_data={},
        created_at=datetime.now(UTC),
        claimed_at=datetime.now(UTC),
        version=1,
    )
    nothing = cast("Any", None)  # it is told, and does nothing
    return Message.of(JobContext(Step(program, Held(program, deadline=0.0), nothing, nothing)))


TOLD = {
    "run_id": "run-1",
    "jobs": ["charge", "ship"],
    "program_data": {"customer": 42},
    "step": 1,
    "attempt": 3,
}


def test_message_tells_by_attribute_and_by_key(message: Message) -> None:
    for key, value in TOLD.items():
        assert getattr(message, key) == value
        assert message[key] == value
    assert dict(message) == TOLD
    assert {**message, "more": 1} == TOLD | {"more": 1}


def test_message_has_no_other_keys(message: Message) -> None:
    assert len(message) == len(TOLD)
    assert "context" not in message
    assert message.get("lease") is None
    with pytest.raises(KeyError, match="runId"):
        message["runId"]


def test_message_leads_to_the_whole_context(message: Message) -> None:
    assert message.context.job == "charge"
    assert message.context.idempotency_key == "run-1-1"


def test_message_cannot_be_changed(message: Message) -> None:
    with pytest.raises(AttributeError):
        cast("Any", message).step = 2


# how exceptions are marked


@dataclass(frozen=True)
class FrozenError(Exception):
    """An exception that refuses ordinary assignments."""

    card: str


@pytest.mark.parametrize("error", [ValueError("busy"), SystemExit("busy"), FrozenError("busy")])
def test_decorated_error_is_returned_and_retried(error: BaseException) -> None:
    assert RetryableError.decorate(error) is error
    assert isinstance(judge(error), RetryLater)


@pytest.mark.parametrize("error", [ValueError("gone"), SystemExit("gone"), FrozenError("gone")])
def test_decorated_error_is_returned_and_ignored(error: BaseException) -> None:
    assert IgnorableError.decorate(error) is error
    outcome = judge(error)
    assert isinstance(outcome, Fail)
    assert outcome.is_ignorable


def test_decorating_one_error_leaves_others_of_its_class_alone() -> None:
    RetryableError.decorate(ValueError())
    assert isinstance(judge(ValueError()), Fail)


def test_retryable_wins_over_ignorable() -> None:
    error = IgnorableError.decorate(RetryableError.decorate(ValueError()))
    assert isinstance(judge(error), RetryLater)
