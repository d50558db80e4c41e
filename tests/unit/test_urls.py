"""Urls: as people have them."""

import pytest

from program_service.bookkeeping.urls import driver_url


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_urls_are_taken_as_people_have_them(name: str) -> None:
    url = driver_url(f"{name}://user:p%40ss@db.example:6432/shop?sslmode=require")
    assert (url.drivername, url.host, url.port) == ("postgresql+asyncpg", "db.example", 6432)
    assert (url.password, url.database) == ("p@ss", "shop")
    assert dict(url.query) == {"dsn": "postgresql://?sslmode=require"}


def test_urls_that_were_taken_are_taken_again() -> None:
    """As for connections beside those of an engine."""
    once = driver_url("postgres://db/shop?sslmode=verify-full&sslrootcert=/etc/ca&ssl=require")
    assert driver_url(once.render_as_string(hide_password=False)) == once


def test_options_that_the_driver_does_not_have_are_refused_by_name() -> None:
    """Hosted databases say them: `?sslmode=require&channel_binding=require`."""
    with pytest.raises(ValueError, match=r"does not understand \?channel_binding="):
        driver_url("postgresql://db/shop?sslmode=require&channel_binding=require")
    assert dict(driver_url("mysql://db/shop?charset=utf8mb4").query) == {"charset": "utf8mb4"}


@pytest.mark.parametrize("url", ["oracle://db/shop", "oracle://db", "programs.db", ""])
def test_urls_of_other_databases_are_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        driver_url(url)
