"""Engines: URLs as people have them."""

import pytest

from program_service.bookkeeping.engines import driver_url


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_urls_are_taken_as_people_have_them(name: str) -> None:
    url = driver_url(f"{name}://user:p%40ss@db.example:6432/shop?sslmode=require")
    assert (url.drivername, url.host, url.port) == ("postgresql+asyncpg", "db.example", 6432)
    assert (url.password, url.database) == ("p@ss", "shop")
    assert dict(url.query) == {"ssl": "require"}


@pytest.mark.parametrize("url", ["oracle://db/shop", "oracle://db", "programs.db", ""])
def test_urls_of_other_databases_are_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        driver_url(url)
