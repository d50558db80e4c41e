"""Quotas: so many in a window, for each who comes, in bounded memory."""

from program_service.api.quotas import Quota
from program_service.api.strangers import network_of


def test_quota_is_spent_and_whole_again_after_its_window() -> None:
    quota = Quota(2, 10)
    standings = [quota.spend("a", now) for now in (0, 1, 2.5, 10)]
    assert [each.remaining for each in standings] == [1, 0, 0, 1]
    assert [each.overdrawn for each in standings] == [0, 0, 1, 0]
    assert [each.reset_s for each in standings] == [10, 9, 8, 10]


def test_coming_again_does_not_prolong_the_wait() -> None:
    quota = Quota(1, 10)
    for now in range(10):
        quota.spend("a", now)
    assert quota.spend("a", 10).overdrawn == 0


def test_each_is_counted_alone() -> None:
    quota = Quota(1, 10)
    assert quota.spend("a", 0).overdrawn == 0
    assert quota.spend("b", 0).overdrawn == 0
    assert quota.spend("a", 0).overdrawn == 1


def test_memory_is_bounded_and_the_oldest_window_is_forgotten_first() -> None:
    quota = Quota(1, 10, subjects=2)
    for number in range(1000):
        quota.spend(f"stranger {number}", number / 1000)
    assert len(quota._windows) == 2
    assert quota.spend("stranger 999", 1).overdrawn == 1
    assert quota.spend("stranger 1", 1).overdrawn == 0


def test_window_that_began_anew_is_not_the_oldest() -> None:
    quota = Quota(1, 10, subjects=2)
    quota.spend("a", 0)
    quota.spend("b", 5)
    quota.spend("a", 11)  # anew
    quota.spend("c", 12)  # b has to go
    assert quota.spend("a", 13).overdrawn == 1


def test_addresses_of_one_network_of_ipv6_are_one() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("unknown") == "unknown"
