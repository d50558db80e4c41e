"""Celery: a chain of three tasks over RabbitMQ, results in Redis, eight threads."""

import os
import sys
from pathlib import Path

from celery import Celery, chain

import peer

app = Celery("celery_chain", broker=peer.AMQP_URL, backend=peer.REDIS_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_delivery_mode="persistent",
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=peer.CLIENTS,
    worker_prefetch_multiplier=16,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="step")
def step(letter: str) -> str:
    """Do nothing; the next step has the next letter."""
    peer.note(letter)
    return chr(ord(letter) + 1)


def submit() -> object:
    """Submit a program."""
    return chain(step.s("a"), step.s(), step.s()).apply_async()


def work(_: int) -> None:
    """Become a worker."""
    options = ["--pool=threads", "--concurrency=8", "--loglevel=ERROR", "--without-gossip"]
    celery = Path(sys.executable).with_name("celery")
    os.execv(celery, [str(celery), "-A", "celery_chain", "worker", *options, "--without-mingle"])


if __name__ == "__main__":
    peer.main(
        submit=lambda programs: peer.submit_by_threads(submit, programs),
        work=work,
        latency=lambda programs: peer.time_each(lambda: submit().get(), programs),
    )
