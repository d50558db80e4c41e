"""A RabbitMQ cluster of the tests' own: three nodes on loopback, each of which may be killed."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from private_postgres import free_port
from private_rabbitmq import COMMAND_TIMEOUT_S, STOP_TIMEOUT_S, PrivateRabbit, require_installed

NAMES = ("one", "two", "three")


class ClusterNode(PrivateRabbit):
    """A node under a name of its own, which the others find by an epmd that all of them share."""

    def __init__(self, folder: Path, name: str, epmd: "SharedEpmd") -> None:
        """Write the node's files; `start` runs it, and `join` makes it one of the cluster."""
        folder.mkdir()
        self.name = f"{name}@localhost"
        self._epmd_port = epmd.port
        super().__init__(folder, {})
        self._epmd = epmd.process

    def join(self, other: "ClusterNode") -> None:
        """Become a node of the other's cluster."""
        self.control("stop_app")
        self.control("join_cluster", other.name)
        self.control("start_app")

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def _make_environment(self) -> dict[str, str]:
        return super()._make_environment() | {
            "RABBITMQ_NODENAME": self.name,
            "ERL_EPMD_PORT": str(self._epmd_port),
        }


class SharedEpmd:
    """Erlang's directory of the nodes on this machine."""

    def __init__(self) -> None:
        """Run it on a port of its own."""
        self.port = free_port()
        self.process = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self.port)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, which stop it when they end
        )

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)


class PrivateCluster:
    """Three nodes."""

    def __init__(self, nodes: list[ClusterNode]) -> None:
        """Take nodes that are not running yet."""
        self.nodes = nodes

    @property
    def url(self) -> str:
        """The URLs of all nodes, as AMQP_URL takes them."""
        return ",".join(node.url for node in self.nodes)

    def form(self) -> None:
        """Start all nodes and make them one cluster."""
        self.start()
        first, *others = self.nodes
        for node in others:
            node.join(first)

    def start(self) -> None:
        """Start what does not run, all at once: a node may wait for another."""
        _at_once(ClusterNode.start, self.nodes)

    def kill(self, *nodes: ClusterNode) -> None:
        """Kill these nodes at once, or all."""
        _at_once(ClusterNode.kill, nodes or self.nodes)

    def leader_of(self, queue: str) -> ClusterNode | None:
        """Return the running node that leads a quorum queue, if the cluster knows of one."""
        asked = next(node for node in self.nodes if node.is_running)
        timeout = ("--timeout", str(COMMAND_TIMEOUT_S))
        told = asked.control("list_queues", "--no-table-headers", *timeout, "name", "leader")
        lines = [line.split() for line in told.splitlines()]  # a plain queue has no leader
        found = (node for node in self.nodes if [queue, node.name] in lines)
        return next((node for node in found if node.is_running), None)


@contextmanager
def private_cluster() -> Iterator[PrivateCluster]:
    """Start a cluster of our own, installing RabbitMQ when we are root; end it after.

    Raises:
        NoRabbitError: it is not installed and cannot be, or does not start.
    """
    require_installed()
    folder = Path(tempfile.mkdtemp(prefix="program-executor-cluster-"))
    epmd = SharedEpmd()
    try:
        cluster = PrivateCluster([ClusterNode(folder / name, name, epmd) for name in NAMES])
        try:
            cluster.form()
            yield cluster
        finally:
            cluster.kill()
    finally:
        epmd.close()
        shutil.rmtree(folder, ignore_errors=True)


def _at_once(do: Callable[[ClusterNode], None], nodes: Iterable[ClusterNode]) -> None:
    with ThreadPoolExecutor(len(NAMES)) as threads:
        list(threads.map(do, nodes))
