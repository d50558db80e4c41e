"""Library: how functions become jobs, and where a worker finds them."""

import asyncio
import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from program_executor import Job, JobContext, JobLibrary, Retry, ThreadJobContext, job
from program_workers.errors import LibraryError
from program_workers.library import Hook, on_error, on_finish, on_retry

Write = Callable[..., None]

HEAD = "from program_executor import job, on_finish\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write throw-away modules that can be imported for the time of a test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write_files(**texts: str) -> None:
        for name, text in texts.items():
            file = tmp_path / (name.replace("__in__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(HEAD + text)
        importlib.invalidate_caches()

    yield write_files
    for name in set(sys.modules) - before:
        del sys.modules[name]


def a_job(name: str) -> str:
    """Return the text of a job."""
    return f"@job({name!r})\ndef {name}(ctx): ...\n"


async def plain(_ctx: JobContext) -> dict[str, int]:
    """Stand for a function of some user."""
    return {"a": 1}


def test_decorator_without_arguments_takes_the_functions_name() -> None:
    made = job(plain)
    assert isinstance(made, Job)
    assert (made.name, made.queue, made.timeout_s, made.retry) == (
        "plain",
        "default",
        None,
        Retry(),
    )
    assert job()(plain).name == "plain"
    assert job(queue="mail")(plain).name == "plain"


def test_decorator_takes_name_and_terms() -> None:
    retry = Retry(max_attempts=3)
    made = job("send_invoice", timeout_s=60, retry=retry, queue="mail")(plain)
    assert made.name == "send_invoice"
    assert (made.timeout_s, made.retry, made.queue) == (60, retry, "mail")


async def test_job_is_called_like_its_function() -> None:
    context: Any = None
    assert await job("other name")(plain)(context) == {"a": 1}


def test_job_knows_whether_it_runs_in_the_loop_or_in_a_thread() -> None:
    @job
    def in_a_thread(_ctx: ThreadJobContext) -> None: ...

    assert job(plain).is_async
    assert not in_a_thread.is_async


def test_job_may_be_an_object_that_is_called() -> None:
    class Charge:
        """A class in a worker, which the design names beside functions."""

        def __init__(self, currency: str) -> None:
            self.currency = currency

        async def __call__(self, _ctx: JobContext) -> dict[str, str]:
            return {"currency": self.currency}

    made = job("charge")(Charge("EUR"))
    assert made.name == "charge"
    assert made.is_async
    assert "Charge" in made.place


def test_decorated_job_is_what_its_outermost_function_is() -> None:
    def sync(_ctx: ThreadJobContext) -> None: ...

    @functools.wraps(sync)
    async def in_the_loop(ctx: JobContext) -> None:
        await asyncio.to_thread(sync, cast("Any", ctx))

    assert job(in_the_loop).is_async
    assert job("partial")(functools.partial(plain)).is_async


def test_job_gets_another_name_and_other_terms() -> None:
    made = job("mail", queue="mail", timeout_s=5)(plain)
    other = made.named("mail_again", timeout_s=10)
    assert (other.name, other.queue, other.timeout_s) == ("mail_again", "mail", 10)
    assert (made.name, made.timeout_s) == ("mail", 5)
    assert other.function is made.function


@pytest.mark.parametrize("name", ["", "x" * 256, "tab\there", "nul\0", "line\nbreak"])
def test_name_that_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(LibraryError, match="printable"):
        Job(name, plain)
    with pytest.raises(LibraryError, match="cannot be a queue's name"):
        job("good", queue=name)(plain)


@pytest.mark.parametrize("timeout_s", [0, -1, math.inf, math.nan])
def test_timeout_that_cannot_be_meant_is_refused(timeout_s: float) -> None:
    with pytest.raises(LibraryError, match="above 0"):
        job("mail", timeout_s=timeout_s)(plain)


def test_every_module_of_a_package_is_imported(write: Write) -> None:
    write(
        shop__in____init__=a_job("root"),
        shop__in__orders=a_job("orders"),
        shop__in__mail__in____init__="",
        shop__in__mail__in__invoices=a_job("invoices"),
        shop__in__no_jobs="x = 1\n",
    )
    assert sorted(JobLibrary.of_modules(["shop"])) == ["invoices", "orders", "root"]


def test_module_of_a_package_is_imported_alone_when_it_is_named(write: Write) -> None:
    write(shop__in____init__="", shop__in__orders=a_job("orders"), shop__in__mail=a_job("mail"))
    assert sorted(JobLibrary.of_modules(["shop.mail"])) == ["mail"]
    assert sorted(JobLibrary.of_modules(["shop.mail", "shop.orders"])) == ["mail", "orders"]


def test_two_jobs_of_one_name_are_an_error_that_names_both(write: Write) -> None:
    write(
        shop__in____init__="",
        shop__in__a=a_job("charge"),
        shop__in__b="@job('charge')\ndef pay(ctx): ...\n",
    )
    with pytest.raises(LibraryError) as caught:
        JobLibrary.of_modules(["shop"])
    message = str(caught.value)
    assert "'charge'" in message
    assert "shop.a:charge (" in message
    assert "a.py, line 2)" in message
    assert "shop.b:pay (" in message
    assert "named(" in message  # what would be right


def test_same_job_in_two_modules_is_one(write: Write) -> None:
    write(
        shop__in____init__="",
        shop__in__a=a_job("charge"),
        shop__in__b="from shop.a import charge\nalias = charge\n",
    )
    library = JobLibrary.of_modules(["shop", "shop.a", "shop.b"])
    assert list(library) == ["charge"]


def test_job_may_be_registered_under_two_names(write: Write) -> None:
    write(shop=a_job("charge") + "charge_again = charge.named('charge again')\n")
    assert sorted(JobLibrary.of_modules(["shop"])) == ["charge", "charge again"]


def test_hooks_are_collected_once(write: Write) -> None:
    write(
        shop__in____init__="",
        shop__in__a="@on_finish\ndef told(event): ...\n",
        shop__in__b="from shop.a import told\n",
    )
    (hook,) = JobLibrary.of_modules(["shop", "shop.b"]).hooks
    assert (hook.moment, hook.function.__name__) == ("finish", "told")


def test_hooks_have_their_moments() -> None:
    assert on_retry(plain) == Hook("retry", plain)
    assert on_error(plain) == Hook("error", plain)
    assert on_finish(plain) == Hook("finish", plain)


@pytest.mark.parametrize(
    "name", ["no_such_module", "no_such_module.jobs", "shop.no_such_part", ".jobs", "shop/a.py"]
)
def test_module_that_is_not_there_is_told_with_what_to_do(write: Write, name: str) -> None:
    write(shop__in____init__="")
    with pytest.raises(LibraryError) as caught:
        JobLibrary.of_modules([name])
    assert repr(name) in str(caught.value)
    assert "PYTHONPATH" in str(caught.value)


NO_FUNCTION = "class Odd:\n    def __call__(self, ctx): ...\n\njob()(Odd())\n"

MISTAKES = [
    ("1 / 0\n", 2, "ZeroDivisionError: division by zero"),
    ("def f(:\n", 2, "SyntaxError: invalid syntax"),
    ("import not_installed_anywhere\n", 2, "No module named 'not_installed_anywhere'"),
    ("import json\n\njson.loads('x')\n", 4, "JSONDecodeError: Expecting value"),
    ("import sys\nsys.exit('bye')\n", 3, "it ends the process: sys.exit('bye')"),
    ("raise SystemExit\n", 2, "it ends the process: sys.exit(None)"),
    ("raise ValueError('two\\nlines')\n", 2, "ValueError: two lines"),
    ("raise BaseExceptionGroup('two', [KeyError(1)])\n", 2, "ExceptionGroup: two"),
    ("@job('a', retry=3)\ndef a(ctx): ...\n", 2, "retry is 3; it must be a policy, such as"),
    ("@job(retry=0)\ndef a(ctx): ...\n", 2, "job 'a': retry is 0; it must be a policy"),
    ("\n@job(timeout_s='5')\ndef a(ctx): ...\n", 3, "timeout_s is '5'; it must be a number"),
    ("@job(timeout_s=float('nan'))\ndef a(ctx): ...\n", 2, "timeout_s is nan; it must be"),
    ("@job(timeout_s=True)\ndef a(ctx): ...\n", 2, "timeout_s is True; it must be"),
    ("@job(timeout_s=10**400)\ndef a(ctx): ...\n", 2, "it must be a number of seconds"),
    ("@job(max_concurrency=0)\ndef a(ctx): ...\n", 2, "@job has no max_concurrency; it has"),
    ("@job(queue='größe')\ndef a(ctx): ...\n", 2, "'größe' cannot be a queue's name: use 1 to"),
    ("@job(queue='a(b)')\ndef a(ctx): ...\n", 2, "'a(b)' cannot be a queue's name: use"),
    ("@job(queue=None)\ndef a(ctx): ...\n", 2, "None cannot be a queue's name: use"),
    ("@job(5)\ndef a(ctx): ...\n", 2, "5 cannot be a job's name: use 1 to 255"),
    ("@job('x' * 256)\ndef a(ctx): ...\n", 2, "(256 characters) cannot be a job's name"),
    ("@job('..')\ndef a(ctx): ...\n", 2, "'..' cannot be a job's name: in the path"),
    ("@job\ndef a(): ...\n", 2, "its function must take the context, as in def charge(ctx)"),
    (NO_FUNCTION, 5, "Odd has no name of its own; give it one, as in"),
    ("from program_executor import Retry\nRetry(max_attempts='3')\n", 3, "is '3'; it is a whole"),
    ("from program_executor import Retry\nRetry(jitter=[])\n", 3, 'jitter is []; it is "full" or'),
    ("from program_executor import Retry\nRetry(max_s=10**30)\n", 3, "max_s is 1000000000"),
    ("class A:\n    pass\n\njob(A)\n", 5, "shop:A is a class"),
]


@pytest.mark.parametrize(("text", "line", "words"), MISTAKES, ids=lambda value: repr(value)[:50])
def test_mistake_in_a_module_is_told_with_its_file_and_line(
    write: Write, text: str, line: int, words: str
) -> None:
    """In one line, which is all that a worker says before it ends."""
    write(shop=text)
    with pytest.raises(LibraryError) as caught:
        JobLibrary.of_modules(["shop"])
    message = str(caught.value)
    assert "\n" not in message
    assert f"shop.py, line {line}: " in message
    assert words in message


def test_line_that_is_named_is_the_users_own(write: Write) -> None:
    write(
        shop__in____init__="",
        shop__in__prices="def read():\n    return int('free')\n",
        shop__in__jobs="from shop.prices import read\nread()\n",
    )
    with pytest.raises(LibraryError, match=r"prices\.py, line 3: ValueError: invalid literal"):
        JobLibrary.of_modules(["shop"])


def test_module_without_jobs_is_a_mistake_where_it_is_named(write: Write) -> None:
    write(
        shop__in____init__="",
        shop__in__none="x = 1\n",
        shop__in__jobs=a_job("ship"),
        hooks="@on_finish\ndef told(event): ...\n",
    )
    assert sorted(JobLibrary.of_modules(["shop", "hooks"])) == ["ship"]
    with pytest.raises(LibraryError, match=r"there is no job in 'shop\.none', which JOBS names"):
        JobLibrary.of_modules(["shop.jobs", "shop.none"])


def test_decorator_of_another_library_may_change_what_a_function_takes() -> None:
    def with_prices(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(ctx: Any) -> Any:
            return function(ctx, {"mug": 7})

        return call

    @job
    @with_prices
    def sell(_ctx: ThreadJobContext, prices: dict[str, int]) -> dict[str, int]:
        return prices

    assert sell(None) == {"mug": 7}


def test_library_is_a_mapping_of_jobs() -> None:
    made = job("mail")(plain)
    library = JobLibrary([made, made])
    assert (len(library), list(library), library["mail"]) == (1, ["mail"], made)
    assert "mail" in library
    assert "other" not in library
