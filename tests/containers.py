"""Containers: build images with Debian's buildah and run them with its podman.

No registry is asked: what stands in FROM is made here, from Debian's packages. It has Debian's
Python instead of the named one; all else of the Dockerfile is done as it is written.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debian import why_not_installed
from processes import PREFIX, Running

PACKAGES = ("buildah", "podman", "runc", "mmdebstrap")
PYTHON = "python3,python3-pip,ca-certificates"
HOOKS = (
    'ln -sf python3 "$1/usr/bin/python"',
    'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',  # pip installs, as in the real image
)
BASE = Path(tempfile.gettempdir()) / "program-executor-tests-python.tar"
"""Kept from run to run: making it takes a minute or two."""

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
HANDED_ON = ("SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
"""Variables of this machine that say how PyPI is reached."""

BUILD_TIMEOUT_S = 600
COMMAND_TIMEOUT_S = 120
UNPRIVILEGED = (
    *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
    # lower than any machine's, as a container that is not privileged may not raise them
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)


class NoContainersError(Exception):
    """No container can be built or run here; the message says what was missing."""


class CommandFailed(Exception):
    """A command in or about containers failed; the message is what it said last."""


class Containers:
    """Images and containers in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Choose how layers are stored."""
        storage = [f"--root={folder}/images", f"--runroot={folder}/run"]
        self._folder = folder
        self._storage = [*storage, "--storage-driver=overlay"]
        try:
            self.buildah("from", "scratch")
        except CommandFailed:  # not on top of another overlay: whole copies instead
            self._storage = [*storage, "--storage-driver=vfs"]

    def buildah(self, *words: str | Path, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a command of buildah and return what it says."""
        return _run("buildah", *self._storage, *words, timeout_s=timeout_s)

    def podman(self, *words: str | Path) -> str:
        """Run a command of podman and return what it says."""
        return _run(*self._podman, *words, timeout_s=COMMAND_TIMEOUT_S)

    @property
    def _podman(self) -> list[str]:
        return ["podman", *self._storage, "--cgroup-manager=cgroupfs", "--events-backend=file"]

    def make_base(self, name: str, *, files: Path) -> None:
        """Make an image of a tar."""
        container = self.buildah("from", "scratch")
        self.buildah("add", "-q", container, files, "/")
        if Path(CERTIFICATES).exists():
            self.buildah("add", "-q", container, CERTIFICATES, CERTIFICATES)
        for variable in HANDED_ON:
            if variable in os.environ:
                self.buildah("config", "--env", f"{variable}={os.environ[variable]}", container)
        self.buildah("commit", "-q", container, name)

    def build(self, name: str, *, context: Path, file: Path) -> None:
        """Build an image as `docker build` would."""
        how = ["--isolation=chroot", "--network=host", "--pull-never", "--format=docker"]
        self.buildah(
            "build", *how, "--tag", name, "--file", file, context, timeout_s=BUILD_TIMEOUT_S
        )

    def config_of(self, image: str) -> dict[str, Any]:
        """Return what an image says of itself."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type=image", image))
        config: dict[str, Any] = found["Docker"]["config"]
        return config

    def run(self, image: str, *words: str, **settings: str) -> str:
        """Run a command of an image, not privileged, to its end; return what it prints."""
        return _run(*self._run_words(image, settings), *words, timeout_s=COMMAND_TIMEOUT_S)

    def shell(self, image: str, script: str) -> str:
        """Run a script in an image; return what it prints."""
        words = self._run_words(image, {}, "--entrypoint=/bin/sh")
        return _run(*words, "-c", script, timeout_s=COMMAND_TIMEOUT_S)

    def start(
        self, image: str, words: Sequence[str], settings: Mapping[str, str], log: Path
    ) -> Running:
        """Start a container, not privileged, with the name of its log."""
        command = self._run_words(image, settings, f"--name={log.stem}")
        with log.open("wb") as output:
            return subprocess.Popen(
                [*command, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def close(self) -> None:
        """End all containers, and let go of the folder."""
        self.podman("rm", "--all", "--force", "--time=0")
        for layers in self._folder.glob("images/*"):
            if layers.is_mount():
                _run("umount", layers, timeout_s=COMMAND_TIMEOUT_S)

    def _run_words(self, image: str, settings: Mapping[str, str], *more: str) -> list[str]:
        # without systemd no timer runs health checks: tests do
        how = ["run", "--rm", "--runtime=runc", "--network=host", "--no-healthcheck", *UNPRIVILEGED]
        environment = [
            f"--env={name}={value}" for name, value in settings.items() if name.startswith(PREFIX)
        ]
        return [*self._podman, *how, *environment, *more, image]


@contextmanager
def private_containers(base: str) -> Iterator[Containers]:
    """Have containers with a stand-in for a base image, installing what is needed when we are root.

    Raises:
        NoContainersError: something is missing, or this machine lets nobody run containers.
    """
    _require_installed()
    files = _base_files()
    folder = Path(tempfile.mkdtemp(prefix="program-executor-containers-"))
    try:
        containers = Containers(folder)
        try:
            _require_working(containers, base, files)
            yield containers
        finally:
            containers.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_working(containers: Containers, base: str, files: Path) -> None:
    try:
        containers.make_base(base, files=files)
        containers.run(base, "true")
    except CommandFailed as error:
        msg = f"no container runs here: {error}"
        raise NoContainersError(msg) from error


def _require_installed() -> None:
    if os.geteuid() != 0:
        msg = "run as root"
        raise NoContainersError(msg)
    if not all(map(shutil.which, PACKAGES)):
        why_not = why_not_installed(" ".join(PACKAGES))
        if why_not is not None:
            raise NoContainersError(why_not)


def _base_files() -> Path:
    """Return a tar of Debian with Python, made when it is not there."""
    if BASE.exists():
        return BASE
    new = BASE.with_suffix(f".{os.getpid()}.tar")
    hooks = [f"--customize-hook={hook}" for hook in HOOKS]
    print("Making a stand-in for the base image from Debian's packages ...", flush=True)
    try:
        _run(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PYTHON}", *hooks),
            *("bookworm", new),
            timeout_s=BUILD_TIMEOUT_S,
        )
    except CommandFailed as error:
        new.unlink(missing_ok=True)
        msg = f"no base image: {error}"
        raise NoContainersError(msg) from error
    return new.replace(BASE)


def _run(*words: str | Path, timeout_s: float) -> str:
    """Run a command and return what it prints.

    Raises:
        CommandFailed: it failed.
    """
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=timeout_s, cwd="/"
    )
    if done.returncode != 0:
        msg = f"{words[0]} failed: {(done.stderr or done.stdout).strip()[-1500:]}"
        raise CommandFailed(msg)
    return done.stdout.strip()
