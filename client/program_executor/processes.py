"""Processes: what the commands that run a server have in common."""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from pydantic import SecretStr

from program_executor.configuring import place, warn_of_unknown_variables
from program_executor.ending import Ending, log_uncaught, log_uncaught_of
from program_executor.errors import UsageError
from program_service.api.auth import Keyring, is_loopback
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.urls import located_url, require_file
from program_service.logs import STANDARD_ERROR
from program_service.redaction import Redaction
from program_service.settings import PREFIX, Settings
from program_service.telemetry import Metrics, configure_logging
from program_service.tracing.switch import end_traces
from program_service.wakeups.rabbitmq.broker import RabbitBroker

R = TypeVar("R")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def require_keys(settings: Settings) -> None:
    """Refuse to listen to other machines without API keys, unless that is wanted.

    Raises:
        UsageError: the address is not of this machine alone, and no key is configured.
    """
    try:
        keyring = Keyring.parse(settings.api_keys)
    except ValueError as error:
        raise UsageError(str(error)) from error
    is_open = keyring.is_empty and not is_loopback(settings.host)
    if is_open and not settings.allow_unauthenticated:
        msg = (
            f"without API keys the service listens on loopback only, not on {settings.host!r}: make"
            f" a key with `program-executor keys new NAME --setting` and set {PREFIX}API_KEYS; or,"
            " if everybody who can connect may do everything, set"
            f" {PREFIX}ALLOW_UNAUTHENTICATED=true"
        )
        raise UsageError(msg)


def set_up_logs(settings: Settings) -> None:
    """Log as the settings say, to what standard error is now, also what nobody waits for."""
    STANDARD_ERROR.keep()
    configure_logging(
        level=settings.log_level,
        is_json=settings.log_format == "json",
        has_trace_ids=settings.traces,
        redaction=Redaction(settings.redact),
    )
    log_uncaught()
    warn_of_unknown_variables()


def located(settings: Settings) -> Settings:
    """Return settings that mean the same files in whatever folder the process is later."""
    url = located_url(settings.database_url.get_secret_value())
    return settings.model_copy(update={"database_url": SecretStr(url)})


def connect_broker(settings: Settings, metrics: Metrics) -> RabbitBroker:
    """Make the broker that the settings name; nothing is connected yet.

    Raises:
        UsageError: they name none.
    """
    if settings.amqp_url is None:
        msg = (
            f"set {PREFIX}AMQP_URL to a RabbitMQ, as in amqp://user:password@host/;"
            " without one, `program-executor dev` runs everything in one process"
        )
        raise UsageError(msg)
    url = settings.amqp_url.get_secret_value()
    try:
        return RabbitBroker(url, queue_name=settings.queue_name, metrics=metrics)
    except ValueError as error:
        msg = f"{place('amqp_url')}: {error}"
        raise UsageError(msg) from error


def connect_database(settings: Settings) -> Database:
    """Make the database that the settings name; nothing is connected yet.

    Raises:
        UsageError: it is not supported, or its file cannot be one.
    """
    url = settings.database_url.get_secret_value()
    try:
        require_file(url)
        return Database.connect(
            url,
            table_name=settings.table_name,
            pool_size=settings.database_pool_size,
        )
    except ValueError as error:
        msg = f"{place('database_url')}: {error}"
        raise UsageError(msg) from error


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server, so that a taken port is told before anything starts.

    Raises:
        UsageError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, ValueError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        is_taken = getattr(error, "errno", None) == errno.EADDRINUSE
        hint = "choose another with --port" if is_taken else "correct HOST, WORKER_HOST or --port"
        msg = f"cannot listen on {host}:{port}: {why}; {hint}"
        raise UsageError(msg) from error
    listener.listen(2048)
    listener.setblocking(False)  # noqa: FBT003 - the name says it
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def collect_seldom() -> None:
    """Have Python look for cyclic garbage more seldom, and never in what was loaded until now.

    By default it walks through everything that hundreds of running programs hold, every few
    batches, and finds next to nothing: 25 % of a busy worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@contextmanager
def stop_on_signals(
    stop: Callable[[], object], ending: Ending | None = None
) -> Generator[Callable[[], None]]:
    """Call `stop` on SIGINT and SIGTERM, which are why the process ends.

    What is yielded installs the handlers again: a job may have installed others.
    """
    loop = asyncio.get_running_loop()

    def hear(number: signal.Signals) -> None:
        if ending is not None:
            ending.decide(number.name)
        stop()

    def listen() -> None:
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, hear, number)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    listen()
    _keep_signals_from_forks()
    try:
        yield listen
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # it was installed by Python
                signal.signal(number, handler)


@cache
def _keep_signals_from_forks() -> None:
    """Let processes that jobs fork end by their signals, and not have us told of them.

    They inherit the pipe by which our event loop learns of signals: a `Process.terminate()` of
    multiprocessing, in a job, would stop the worker. A signal that comes at once waits until then.
    """
    masks = threading.local()

    def hold() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def forget() -> None:
        signal.set_wakeup_fd(-1)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        let_through()

    os.register_at_fork(before=hold, after_in_parent=let_through, after_in_child=forget)


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in an event loop, uvloop's where there is one."""

    async def main_of_loop() -> R:
        log_uncaught_of(asyncio.get_running_loop())
        return await main

    try:
        if sys.platform == "win32":
            return asyncio.run(main_of_loop())
        import uvloop  # noqa: PLC0415 - not on Windows

        return uvloop.run(main_of_loop())
    finally:
        end_traces()
