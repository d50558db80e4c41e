"""AMQP URLs: one, or those of a cluster's nodes."""

import pytest

from program_service.wakeups.rabbitmq.link import addresses


def test_one_url_is_taken_as_it_is() -> None:
    assert addresses("amqp://user:p%40ss@host:5673/shop") == ["amqp://user:p%40ss@host:5673/shop"]


def test_urls_of_several_nodes_are_separated_by_commas() -> None:
    text = "amqp://a:1/, amqps://b:2/ ,\namqp://c/"
    assert addresses(text) == ["amqp://a:1/", "amqps://b:2/", "amqp://c/"]


def test_comma_in_a_password_separates_nothing() -> None:
    assert addresses("amqp://user:one,two@a/,amqp://user:one,two@b/") == [
        "amqp://user:one,two@a/",
        "amqp://user:one,two@b/",
    ]


@pytest.mark.parametrize("text", ["", "host:5672", "http://host/", "a,amqp://b/", " "])
def test_what_is_no_url_of_rabbitmq_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must begin with amqp://"):
        addresses(text)
