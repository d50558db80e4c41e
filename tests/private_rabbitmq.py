"""A RabbitMQ node of the tests' own, from the installed Debian packages."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from debian import why_not_installed
from private_postgres import free_port

PACKAGES = Path("/usr/lib/rabbitmq/bin")  # not /usr/sbin: its wrapper insists on its own user

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 60

NODE = "test@localhost"


class NoRabbitError(Exception):
    """No RabbitMQ is to be had; the message says what was missing."""


class PrivateRabbit:
    """A node with its own folder, ports and epmd, so that it may be stopped, killed and wiped.

    `settings` are those of the Erlang application `rabbit`, such as {"consumer_timeout": 10_000}.
    """

    def __init__(self, folder: Path, settings: dict[str, int]) -> None:
        """Write the node's files; `start` runs it."""
        self.port = free_port()
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        cookie = folder / ".erlang.cookie"
        cookie.write_text("programexecutortests")
        cookie.chmod(0o400)
        # not rabbitmq.conf, whose schema does not know them all: channel_tick_interval, for one
        terms = ", ".join(f"{{{name}, {value}}}" for name, value in settings.items())
        (folder / "advanced.config").write_text(f"[{{rabbit, [{terms}]}}].\n")
        (folder / "rabbitmq.conf").write_text("")
        (folder / "enabled_plugins").write_text("[].\n")
        self._environment = self._make_environment()

    @property
    def url(self) -> str:
        """The URL of its first virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it is ready; one that runs is left as it is.

        Raises:
            NoRabbitError: it ended, or is not ready in time; the message ends with its log.
        """
        if self._process is not None:
            return
        if self._epmd is None:
            self._epmd = self._launch("epmd", "-address", "127.0.0.1")
        process = self._process = self._launch(str(PACKAGES / "rabbitmq-server"))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                msg = f"a private node did not start: {self._log.read_text()[-500:]}"
                raise NoRabbitError(msg)
            time.sleep(0.1)
        # the process that we launched is a shell: this one is the node
        self._pid = int(re.sub(r"\D", "", self.control("eval", "os:getpid().")))

    def stop(self) -> None:
        """Shut it down in order; `start` brings it back with its data."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with SIGKILL; `start` brings it back with what was on the disk."""
        self._signal(signal.SIGKILL)

    def wipe(self) -> None:
        """Remove its data; it must not run."""
        assert self._process is None
        shutil.rmtree(self._data)

    def close(self) -> None:
        """Stop it for good, with its epmd."""
        self.stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_TIMEOUT_S)

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl` against it and return what it says."""
        name = self._environment["RABBITMQ_NODENAME"]
        command = [str(PACKAGES / "rabbitmqctl"), "--quiet", "-n", name, *words]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S + COMMAND_TIMEOUT_S,
            env=self._environment,
        )
        return done.stdout.strip()

    def _is_up(self) -> bool:
        try:
            # it fails at once while the node cannot be reached
            self.control("await_startup", "--timeout", str(START_TIMEOUT_S))
        except subprocess.SubprocessError:
            return False
        return True

    def _make_environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    def _launch(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it when they end
            )

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        pid, self._pid = self._pid, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
            else:
                os.killpg(process.pid, signal.SIGKILL)  # it never told its own pid
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)


@contextmanager
def private_rabbitmq(**settings: int) -> Iterator[PrivateRabbit]:
    """Start a RabbitMQ of our own, installing it when we are root; stop it after.

    Raises:
        NoRabbitError: it is not installed and cannot be, or does not start.
    """
    require_installed()
    folder = Path(tempfile.mkdtemp(prefix="program-executor-rabbitmq-"))
    try:
        node = PrivateRabbit(folder, settings)
        try:
            node.start()
            yield node
        finally:
            node.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_installed() -> bool:
    return (PACKAGES / "rabbitmq-server").exists() and shutil.which("epmd") is not None


def require_installed() -> None:
    """Install RabbitMQ, if it is not there and we may.

    Raises:
        NoRabbitError: it is not there.
    """
    if _is_installed():
        return
    why_not = why_not_installed("rabbitmq-server")
    if not _is_installed():
        msg = f"no broker answers, and {PACKAGES} has no rabbitmq-server: {why_not}"
        raise NoRabbitError(msg)
