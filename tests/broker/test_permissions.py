"""Permissions: a user who may do what docs/operate.md says, and nothing else, is enough."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brokers import Console
from patience import eventually, in_own_task
from private_rabbitmq import PrivateRabbit
from program_service.telemetry import Metrics
from program_service.wakeups.broker import Announcement, Cancelled
from program_service.wakeups.rabbitmq.broker import RabbitBroker
from wakeups import a_driver, a_wakeup, comes_through, listening, subscribed

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
COMMAND = re.compile(r"rabbitmqctl set_permissions .*? '(.+)' '(.+)' '(.+)'")


@pytest.fixture
async def allowed(private_node: PrivateRabbit, metrics: Metrics) -> AsyncIterator[RabbitBroker]:
    """Return the driver as a user with the permissions of the page."""
    found = COMMAND.search(PAGE.read_text())
    assert found
    private_node.control("add_user", "allowed", "secret")
    private_node.control("set_permissions", "allowed", *found.groups())
    url = private_node.url.replace("guest:guest", "allowed:secret")
    async with in_own_task(a_driver(url, "program-executor", metrics)) as broker:
        yield broker
    private_node.control("delete_user", "allowed")


async def test_user_of_the_page_may_do_all_that_is_needed(
    allowed: RabbitBroker, private_node: PrivateRabbit
) -> None:
    console = Console(private_node.url, "program-executor")
    async with subscribed(allowed, ["default"], prefetch=1) as subscription:
        await comes_through(allowed, subscription, a_wakeup("sent"))
        await console.send("default", b"no wake-up")

        async def is_dead() -> bool:
            return await console.depth("dead-letters") == 1

        await eventually(is_dead)
        await comes_through(allowed, subscription, a_wakeup("after"))
    assert await allowed.depth("default") == 0


async def test_user_of_the_page_hears_what_all_are_told(allowed: RabbitBroker) -> None:
    heard: list[Announcement] = []
    async with listening(allowed, heard.append):

        async def is_heard() -> bool:
            await allowed.announce(Cancelled("p-1"))
            return bool(heard)

        await eventually(is_heard)
