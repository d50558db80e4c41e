"""Contract: what both drivers promise, RabbitMQ and memory."""

from dataclasses import replace

import pytest

from patience import eventually
from program_service.wakeups.broker import Announcement, Broker, Cancelled, Quieted, Wakeup
from wakeups import NOON, a_wakeup, arrived, listening, subscribed, taken, until_deep, wakeups


async def test_confirmed_wakeup_arrives_as_it_was_sent(broker: Broker) -> None:
    sent = Wakeup("mail", ("ö-1", "a b", "x" * 255), NOON, hops=2)
    assert await broker.publish([sent]) == [True]
    async with subscribed(broker, ["mail"], prefetch=1) as subscription:
        assert await taken(subscription, 1) == [sent]


async def test_bundle_of_the_longest_names_arrives_whole(broker: Broker) -> None:
    sent = a_wakeup(*[f"{number:0255}" for number in range(32)])
    assert await broker.publish([sent]) == [True]
    async with subscribed(broker, ["default"], prefetch=1) as subscription:
        assert await taken(subscription, 1) == [sent]


async def test_nothing_is_published_without_wakeups(broker: Broker) -> None:
    assert await broker.publish([]) == []


async def test_wakeups_of_a_queue_arrive_in_their_order(broker: Broker) -> None:
    sent = wakeups(50)
    assert await broker.publish(sent[:20]) == [True] * 20
    assert await broker.publish(sent[20:]) == [True] * 30
    async with subscribed(broker, ["default"], prefetch=10) as subscription:
        assert await taken(subscription, 50) == sent


async def test_wakeups_that_come_later_arrive_too(broker: Broker) -> None:
    async with subscribed(broker, ["default"], prefetch=10) as subscription:
        for sent in wakeups(5):
            await broker.publish([sent])
            assert await taken(subscription, 1) == [sent]


async def test_subscription_receives_from_its_queues_alone(broker: Broker) -> None:
    bank, mail = a_wakeup("b", queue="bank"), a_wakeup("m", queue="mail")
    await broker.publish([a_wakeup("d"), bank, mail])
    async with subscribed(broker, ["bank", "mail"], prefetch=5) as subscription:
        came = await taken(subscription, 2)
    assert sorted(came, key=lambda wakeup: wakeup.queue) == [bank, mail]
    assert await broker.depth("default") == 1


async def test_each_wakeup_goes_to_one_of_the_subscriptions(broker: Broker) -> None:
    async with (
        subscribed(broker, ["default"], prefetch=1) as first,
        subscribed(broker, ["default"], prefetch=1) as second,
    ):
        sent = wakeups(20)
        assert all(await broker.publish(sent))
        came: list[Wakeup] = []
        while len(came) < len(sent):
            for subscription in (first, second):
                # each has its share: one unacknowledged at a time
                came += await taken(subscription, 1) if len(came) < len(sent) else []
    assert sorted(wakeup.run_ids for wakeup in came) == sorted(wakeup.run_ids for wakeup in sent)


async def test_acknowledged_wakeup_is_forgotten(broker: Broker) -> None:
    await broker.publish(wakeups(3))
    async with subscribed(broker, ["default"], prefetch=5) as subscription:
        await taken(subscription, 3)
    await until_deep(broker, "default", 0)
    last = a_wakeup("last")
    await broker.publish([last])
    async with subscribed(broker, ["default"], prefetch=5) as subscription:
        assert await taken(subscription, 1) == [last]


async def test_depth_counts_what_waits_in_a_queue(broker: Broker) -> None:
    assert await broker.depth("default") == 0
    await broker.publish([*wakeups(3), *wakeups(1, queue="mail")])
    await until_deep(broker, "default", 3)
    await until_deep(broker, "mail", 1)


async def test_paused_subscription_leaves_everything_to_others(broker: Broker) -> None:
    sent = wakeups(6)
    await broker.publish(sent)
    async with (
        subscribed(broker, ["default"], prefetch=3) as full,
        subscribed(broker, ["mail"], prefetch=3) as elsewhere,
    ):
        (first,) = await taken(full, 1)
        returned = await full.pause()
        for delivery in returned:
            await broker.publish([delivery.wakeup])
            await delivery.acknowledge()
        assert not await elsewhere.pause()
        async with subscribed(broker, ["default"], prefetch=1) as free:
            rest = await taken(free, 5)
    assert first == sent[0]
    assert sorted(wakeup.run_ids for wakeup in rest) == [wakeup.run_ids for wakeup in sent[1:]]


async def test_resumed_subscription_receives_again(broker: Broker) -> None:
    async with subscribed(broker, ["default", "mail"], prefetch=2) as subscription:
        for number in range(3):
            await subscription.pause()
            sent = a_wakeup(f"p-{number}", queue="mail")
            await broker.publish([sent])
            subscription.resume()
            assert await taken(subscription, 1) == [sent]


async def test_wakeup_that_is_handed_back_keeps_its_time_and_its_hops(broker: Broker) -> None:
    """Rules R6 and R13: by the first, lost wake-ups are found; by the second, they end."""
    sent = a_wakeup("p-1", "p-2", "p-3")
    await broker.publish([sent])
    async with subscribed(broker, ["default"], prefetch=1) as subscription:
        delivery = await arrived(subscription)
        rest = replace(delivery.wakeup, run_ids=("p-3",), hops=delivery.wakeup.hops + 1)
        assert await broker.publish([rest]) == [True]
        await delivery.acknowledge()
        assert await taken(subscription, 1) == [Wakeup("default", ("p-3",), NOON, hops=1)]


@pytest.mark.parametrize("said", [Cancelled("p-ö"), Cancelled("p", "lease-1"), Quieted("wörker-1")])
async def test_announcement_reaches_every_listener(broker: Broker, said: Announcement) -> None:
    heard: list[list[Announcement]] = [[], []]
    async with listening(broker, heard[0].append), listening(broker, heard[1].append):

        async def is_heard() -> bool:
            # those who listen too late miss it, and notice when they renew their lease
            await broker.announce(said)
            return all(heard)

        await eventually(is_heard)
    assert set(heard[0] + heard[1]) == {said}


async def test_announcement_without_a_listener_is_no_error(broker: Broker) -> None:
    async with listening(broker, lambda _announcement: None):
        pass
    await broker.announce(Cancelled("p-1"))
    assert await broker.publish([a_wakeup()]) == [True]
