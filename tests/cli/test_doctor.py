"""Doctor: it repeats what the database and the broker said, and says what to do."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from yarl import URL

from brokers import some_rabbitmq
from pretending import postgresql_that_says, server_that_says
from private_rabbitmq import NoRabbitError
from program_executor.commands.checkup import Finding, check_up
from program_service.bookkeeping.database import Database
from program_service.settings import Settings
from roles import Role
from servers import on_postgresql, on_servers
from skips import or_skip

PASSWORD = "hunter2"


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """Return the URL of a real broker."""
    with or_skip("RabbitMQ", some_rabbitmq(), NoRabbitError) as url:
        yield url


async def found(what: str, **settings: str) -> Finding:
    """Return what is found of one thing, in which no password is ever shown."""
    findings = await check_up(Settings.model_validate(settings))
    (finding,) = [each for each in findings if each.what == what]
    assert PASSWORD not in finding.text
    assert "\n" not in finding.text
    return finding


def address(url: str, **changes: str | int) -> str:
    """Return a URL of the same server, with some parts changed."""
    return sa.make_url(url).set(**changes).render_as_string(hide_password=False)  # type: ignore[arg-type]


SAID_BY_POSTGRESQL = [
    (
        "28P01",
        'password authentication failed for user "shop"',
        "correct the user and the password",
    ),
    ("28000", 'no pg_hba.conf entry for host "10.0.0.1"', "let this host and user in"),
    ("53300", "sorry, too many clients already", "raise the server's limit (max_connections)"),
    ("57P03", "the database system is starting up", "wait until it has started"),
    ("42501", 'permission denied for database "shop"', "grant the user all privileges"),
]


@pytest.mark.parametrize(("state", "said", "advice"), SAID_BY_POSTGRESQL)
async def test_what_postgresql_says_is_repeated(state: str, said: str, advice: str) -> None:
    async with postgresql_that_says(state, said) as port:
        url = f"postgresql://shop:{PASSWORD}@127.0.0.1:{port}/shop"
        finding = await found("database", database_url=url)
    assert not finding.is_good
    assert finding.text.startswith(f"{said} ({state}): {advice}")


async def test_unknown_names_in_postgresql_are_repeated(postgresql_url: str) -> None:
    nowhere = address(postgresql_url, database="nowhere")
    text = (await found("database", database_url=nowhere)).text
    assert text.startswith('database "nowhere" does not exist (3D000): create the database')
    nobody = address(postgresql_url, username="nobody")
    text = (await found("database", database_url=nobody)).text
    assert text.startswith('role "nobody" does not exist (28000): create the role')


async def test_what_mariadb_says_is_repeated(mariadb_url: str) -> None:
    nowhere = address(mariadb_url, database="nowhere")
    text = (await found("database", database_url=nowhere)).text
    assert text.startswith("Unknown database 'nowhere' (1049): create the database")
    wrong = address(mariadb_url, username="nobody", password=PASSWORD)
    text = (await found("database", database_url=wrong)).text
    assert text.startswith("Access denied for user 'nobody'@")
    assert text.endswith("correct the user and the password in DATABASE_URL")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            f"postgresql://a:{PASSWORD}@127.0.0.1:1/x",
            "Connect call failed ('127.0.0.1', 1): nothing",
        ),
        (f"mysql://a:{PASSWORD}@127.0.0.1:1/x", "(2003): nothing listens there: start it"),
        (f"postgresql://a:{PASSWORD}@no.such.host.invalid/x", "no host has this name"),
        (f"mysql://a:{PASSWORD}@no.such.host.invalid/x", "no host has this name"),
        (f"mysql://a:{PASSWORD}@h/x?ssl_cert=/nope", "?ssl_cert= names '/nope', which cannot be"),
        (f"postgresql://a:{PASSWORD}@h/x?sslmode=on", "?sslmode= is 'on'; it must be one of"),
        (f"postgresql://a:{PASSWORD}@h/x?sslkey=/nope", "?sslkey= needs ?sslcert= beside it"),
        ("sqlite:////no/such/folder/x.db", "there is no folder '/no/such/folder' for its file"),
        (f"sqlite:///{__file__}", "is not a database of SQLite: name another file"),
        ("sqlite:////tmp", "'/tmp' is a folder: name a file in it"),
        ("sqlite:///x.db?mode=ro", "the driver does not understand ?mode="),
    ],
)
async def test_database_that_is_not_to_be_had_is_named_with_what_to_do(
    url: str, words: str
) -> None:
    finding = await found("database", database_url=url)
    assert not finding.is_good
    assert words in finding.text


async def test_other_server_than_a_database_is_noticed() -> None:
    async with server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        finding = await found("database", database_url=f"postgresql://127.0.0.1:{port}/x")
        assert "or is no PostgreSQL: correct host and port" in finding.text
        finding = await found("broker", amqp_url=f"amqp://127.0.0.1:{port}/")
        assert "this may be no RabbitMQ" in finding.text


@on_postgresql
async def test_database_that_takes_no_writes_is_found(database: Database) -> None:
    """As a replica: its tables can be read, and are up to date."""
    url, name = database.engine.url, database.tables.programs.name
    role = Role(database)
    try:
        await (await role.connect()).close()
        await role._run(f"ALTER ROLE {role.name} SET default_transaction_read_only = on")
        theirs = url.set(username=role.name).render_as_string(hide_password=False)
        finding = await found("tables", database_url=theirs, table_name=name)
        assert finding.text.startswith("cannot execute INSERT in a read-only transaction (25006): ")
        assert "name the primary" in finding.text
        await role._run(f"ALTER ROLE {role.name} RESET default_transaction_read_only")
        async with role.lacking("DELETE", database.tables.attempts):
            finding = await found("tables", database_url=theirs, table_name=name)
            assert finding.text.startswith(f"permission denied for table {name}_attempts (42501): ")
            assert "grant the user all privileges" in finding.text
        assert (await found("tables", database_url=theirs, table_name=name)).is_good
    finally:
        await role.drop()


@on_servers
async def test_good_database_is_found_good_and_not_changed(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    name = database.tables.programs.name
    assert (await found("tables", database_url=url, table_name=name)).text == "up to date"


def of_broker(url: str, **changes: str) -> str:
    changed = URL(url)
    if "password" in changes:
        changed = changed.with_password(changes["password"])
    return str(changed.with_path(changes.get("path", changed.path)))


async def test_what_rabbitmq_says_is_repeated(rabbitmq_url: str) -> None:
    text = (await found("broker", amqp_url=of_broker(rabbitmq_url, password=PASSWORD))).text
    assert text.startswith(
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
    )
    assert "correct the user and the password in AMQP_URL" in text
    text = (await found("broker", amqp_url=of_broker(rabbitmq_url, path="/nowhere"))).text
    assert text.startswith("NOT_ALLOWED - vhost nowhere not found: create the virtual host")
    with_tls = rabbitmq_url.replace("amqp://", "amqps://")
    text = (await found("broker", amqp_url=with_tls)).text
    assert "wrong version number" in text
    assert "it does not speak TLS at this port: use amqp://" in text
    finding = await found("broker", amqp_url=rabbitmq_url)
    assert (finding.is_good, finding.text.partition(";")[0]) == (True, "answers")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            f"amqp://a:{PASSWORD}@127.0.0.1:1/",
            "Connect call failed ('127.0.0.1', 1): nothing listens",
        ),
        (f"amqp://a:{PASSWORD}@no.such.host.invalid/", "no host has this name"),
        (
            f"amqps://a:{PASSWORD}@h/?cafile=/nope",
            "?cafile= names '/nope', which cannot be read: No",
        ),
        (f"amqps://a:{PASSWORD}@h/?cafile={__file__}", "which holds no certificate in PEM"),
        (f"amqps://a:{PASSWORD}@h/?certfile={__file__}", "which is no certificate in PEM with its"),
        (f"amqps://a:{PASSWORD}@h/?keyfile=/nope", "?keyfile= needs ?certfile= beside it"),
        (f"amqp://a:{PASSWORD}@h/?cafile=/nope", "?cafile= needs amqps:// instead of amqp://"),
        (f"amqp://a:{PASSWORD}@h/?cacertfile=/x", "there is no ?cacertfile=; there are auth, cad"),
        (f"amqp://a:{PASSWORD}@h:99999/", "Port out of range 0-65535"),
        ("amqp:///", "it names no host"),
    ],
)
async def test_broker_that_is_not_to_be_had_is_named_with_what_to_do(url: str, words: str) -> None:
    finding = await found("broker", amqp_url=url)
    assert not finding.is_good
    assert words in finding.text
