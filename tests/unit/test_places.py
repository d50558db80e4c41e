"""Places: what one host or one key may hold, and who finds a place beside it."""

import pytest

from program_service.webhooks.places import (
    LONGEST_WAIT_S,
    MOST,
    MOST_OF_HOST,
    MOST_RETRIES,
    SHORTEST_WAIT_S,
    Party,
    Places,
    Wish,
)


def filled(places: Places, wishes: list[Wish]) -> int:
    """Take places until one is refused, and return how many there were."""
    for number, wish in enumerate(wishes):
        if places.free == 0 or places.full(wish) is not None:
            return number
        places.take(wish)
    return len(wishes)


def of_hosts(key: str | None, *, is_retry: bool = False) -> list[Wish]:
    """Wish for a thousand places, each for another host."""
    return [Wish(f"host-{key}-{number}", key, is_retry) for number in range(1_000)]


def test_one_host_leaves_places_for_others() -> None:
    places = Places()
    wish = Wish("slow.example", "shop")
    assert filled(places, [wish] * MOST) == MOST_OF_HOST
    assert places.full(wish) == ("host", "slow.example")
    assert places.full(Wish("good.example", "shop")) is None


@pytest.mark.parametrize("key", ["shop", None])
def test_one_key_leaves_places_for_others(key: str | None) -> None:
    places = Places()
    assert filled(places, of_hosts(key)) == 429
    assert places.full(Wish("good.example", "mail")) is None


def test_a_new_key_finds_a_place_beside_greedy_ones() -> None:
    places = Places()
    taken = [filled(places, of_hosts(f"key-{number}")) for number in range(4)]
    assert taken == [429, 61, 9, 1]


def test_keys_that_want_places_at_the_same_time_get_as_many() -> None:
    places = Places()
    for wishes in zip(of_hosts("first"), of_hosts("second"), strict=True):
        for wish in wishes:
            if places.full(wish) is None:
                places.take(wish)
    assert places.held["key", "first"] == places.held["key", "second"] == 231


def test_what_failed_before_leaves_half_of_the_places() -> None:
    places = Places()
    taken = sum(filled(places, of_hosts(f"key-{n}", is_retry=True)) for n in range(5))
    assert taken == MOST_RETRIES
    assert places.full(Wish("new.example", "shop", is_retry=True)) == ("retries", None)
    assert places.full(Wish("new.example", "shop")) is None


def test_place_that_is_given_back_is_free() -> None:
    places = Places()
    wish = Wish("slow.example", "shop", is_retry=True)
    for _ in range(3):
        assert filled(places, [wish] * MOST) == MOST_OF_HOST
        for _ in range(MOST_OF_HOST):
            places.give_back(wish)
    assert places.free == MOST
    assert not +places.held


def test_draft_takes_no_place() -> None:
    places = Places()
    filled(places.draft(), of_hosts("shop"))
    assert places.free == MOST


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def full(clock: Clock) -> tuple[Places, Wish, Party]:
    """Return places of which one host holds its whole share."""
    places, wish = Places(clock), Wish("slow.example", "shop")
    filled(places, [wish] * MOST)
    party = places.full(wish)
    assert party is not None
    return places, wish, party


def test_those_who_wait_come_one_after_the_other_as_fast_as_places_become_free() -> None:
    clock = Clock()
    places, wish, party = full(clock)
    assert places.wait_s(party) == SHORTEST_WAIT_S
    for _ in range(2_000):
        clock.now += 0.1
        places.give_back(wish)
        places.take(wish)
        places.wait_s(party)
    waits = [places.wait_s(party) for _ in range(10_000)]
    assert waits == sorted(waits)
    assert waits[1_000] - waits[0] == pytest.approx(1_000 * 0.1, rel=0.1)
    assert waits[-1] == LONGEST_WAIT_S


def test_host_that_gives_no_place_back_is_expected_to_keep_them_longer() -> None:
    clock = Clock()
    places, _, party = full(clock)
    places.wait_s(party)
    clock.now += 4.0
    waits = [places.wait_s(party) for _ in range(100)]
    assert waits[-1] == pytest.approx(100 * 4.0 / MOST_OF_HOST, rel=0.1)
    clock.now += 3_600.0
    assert places.wait_s(party) == SHORTEST_WAIT_S  # nobody has waited for an hour


def test_lines_that_are_over_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("program_service.webhooks.places.MOST_LINES", 10)
    clock = Clock()
    places = Places(clock)
    for number in range(100):
        clock.now += 10.0
        places.wait_s(("host", f"host-{number}"))
    assert len(places.lines) <= 10
