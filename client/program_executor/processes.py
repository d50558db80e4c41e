"""Processes: what the commands that run a server have in common."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp

from program_executor.errors import UsageError
from program_service.api.auth import Keyring, is_loopback
from program_service.bookkeeping.database import Database
from program_service.settings import PREFIX, Settings
from program_service.telemetry import Metrics
from program_service.tracing.switch import end_traces
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from program_workers.library import JobLibrary

R = TypeVar("R")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: we stop it when the worker has stopped."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


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
            f" a key with `program-executor keys new` and set {PREFIX}API_KEYS; or, if everybody"
            f" who can connect may do everything, set {PREFIX}ALLOW_UNAUTHENTICATED=true"
        )
        raise UsageError(msg)


def load_library(settings: Settings) -> JobLibrary:
    """Import the jobs that the settings name, also from the folder that the command was called in.

    Raises:
        LibraryError: the jobs cannot be used.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    return JobLibrary.of_modules(settings.jobs)


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
        msg = f"{PREFIX}AMQP_URL: {error}"
        raise UsageError(msg) from error


def connect_database(settings: Settings) -> Database:
    """Make the database that the settings name; nothing is connected yet.

    Raises:
        UsageError: it is not supported.
    """
    try:
        return Database.connect(
            settings.database_url.get_secret_value(),
            table_name=settings.table_name,
            pool_size=settings.database_pool_size,
        )
    except ValueError as error:
        msg = f"{PREFIX}DATABASE_URL: {error}"
        raise UsageError(msg) from error


def server(app: ASGIApp, *, keep_lifespan: bool = True) -> Server:
    """Make a server for an application; it is given its socket when it serves."""
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on" if keep_lifespan else "off",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )


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
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
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
def stop_on_signals(stop: Callable[[], object]) -> Generator[None]:
    """Call `stop` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in an event loop, uvloop's where there is one."""
    try:
        if sys.platform == "win32":
            return asyncio.run(main)
        import uvloop  # noqa: PLC0415 - not on Windows

        return uvloop.run(main)
    finally:
        end_traces()
