"""Dramatiq: a pipeline of three messages over RabbitMQ, the last result in Redis, eight threads.

Its progress stands in the message alone.
"""

import os
import sys
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import default_middleware
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

import peer

wanted = [each() for each in default_middleware if each.__name__ != "Prometheus"]
broker = RabbitmqBroker(url=peer.AMQP_URL, confirm_delivery=True, middleware=wanted)
broker.add_middleware(Results(backend=RedisBackend(url=peer.REDIS_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor
def a(x: int) -> int:
    """Do nothing."""
    peer.note("a")
    return x


@dramatiq.actor
def b(x: int) -> int:
    """Do nothing."""
    peer.note("b")
    return x


@dramatiq.actor(store_results=True)
def c(x: int) -> int:
    """Do nothing."""
    peer.note("c")
    return x


def submit() -> dramatiq.pipeline:
    """Submit a program."""
    return dramatiq.pipeline([a.message(1), b.message(), c.message()]).run()


def work(_: int) -> None:
    """Become a worker."""
    command = str(Path(sys.executable).with_name("dramatiq"))
    os.execv(command, [command, "--processes=1", "--threads=8", "dramatiq_pipeline"])


if __name__ == "__main__":
    peer.main(
        submit=lambda programs: peer.submit_by_threads(submit, programs),
        work=work,
        latency=lambda programs: peer.time_each(
            lambda: submit().get_result(block=True, timeout=10_000), programs
        ),
    )
