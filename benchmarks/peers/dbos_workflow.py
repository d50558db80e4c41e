"""DBOS Transact: a workflow of three steps, enqueued by another process, on PostgreSQL."""

import os
import signal
import threading

from dbos import DBOS, DBOSClient

import peer

QUEUE = "programs"
OPTIONS = {"workflow_name": "program", "queue_name": QUEUE}
WORKERS, POLL_S = 64, 0.02


@DBOS.step()
async def a() -> None:
    """Do nothing."""
    peer.note("a")


@DBOS.step()
async def b() -> None:
    """Do nothing."""
    peer.note("b")


@DBOS.step()
async def c() -> None:
    """Do nothing."""
    peer.note("c")


@DBOS.workflow(name="program")
async def program(x: int) -> int:
    """Do nothing three times."""
    await a()
    await b()
    await c()
    return x


def launch() -> None:
    """Make the tables, and start; the queue is known from then on."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": peer.DATABASE_URL,
            "log_level": "ERROR",
            "run_admin_server": False,
            "application_version": "1",
            "executor_id": str(os.getpid()),
            "sys_db_pool_size": 20,
        }
    )
    DBOS.launch()


def work(_: int) -> None:
    """Work until SIGTERM."""
    launch()
    DBOS.register_queue(QUEUE, worker_concurrency=WORKERS, polling_interval_sec=POLL_S)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Event().wait()


def prepare(_: int) -> None:
    """Make the tables."""
    launch()
    DBOS.destroy()


def client() -> DBOSClient:
    """Make what enqueues."""
    return DBOSClient(system_database_url=peer.DATABASE_URL)


def submit(programs: int) -> None:
    """Submit programs."""
    ours = client()
    peer.submit_by_threads(lambda: ours.enqueue(OPTIONS, 1), programs)


def latency(programs: int) -> None:
    """Run one program after the other."""
    ours = client()
    peer.time_each(
        lambda: ours.enqueue(OPTIONS, 1).get_result(polling_interval_sec=0.001), programs
    )


if __name__ == "__main__":
    peer.main(prepare=prepare, submit=submit, work=work, latency=latency)
