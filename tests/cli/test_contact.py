"""Contact: who is refused at the first start ends; who must wait, waits."""

import asyncio
import json
import socket

import pytest

from commanding import Shell
from pretending import postgresql_that_says
from program_executor import contact
from program_executor.contact import Contact
from program_executor.errors import UsageError
from program_service.bookkeeping.database import Database
from program_service.wakeups.rabbitmq.driver.errors import ConnectionLost, NotAdmitted

WRONG = ("28P01", 'password authentication failed for user "shop"')


class Broker:
    """A broker that does what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reached = 0

    async def reach(self) -> None:
        self.reached += 1
        if self.error is not None:
            raise self.error


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "AGAIN_S", 0.02)


def a_database(port: int) -> Database:
    return Database.connect(f"postgresql://shop:hunter2@127.0.0.1:{port}/shop")


async def test_wrong_password_ends_the_start_with_the_words_of_the_server() -> None:
    async with postgresql_that_says(*WRONG) as port:
        with pytest.raises(UsageError) as caught:
            await Contact(a_database(port), Broker()).begin()
    assert str(caught.value).startswith(
        'PROGRAM_EXECUTOR_DATABASE_URL: password authentication failed for user "shop" (28P01): '
    )
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [("53300", "sorry, too many clients already"), ("57P03", "starting up")]
)
async def test_server_that_may_answer_later_is_waited_for(said: tuple[str, str]) -> None:
    async with postgresql_that_says(*said) as port:
        await Contact(a_database(port), Broker(ConnectionLost("refused"))).begin()
    await Contact(a_database(a_free_port()), Broker()).begin()


async def test_server_that_refuses_when_it_has_come_up_ends_the_process() -> None:
    stopped, port = asyncio.Event(), a_free_port()
    waiting = Contact(a_database(port), Broker())
    await waiting.begin()

    async def run() -> None:
        async with waiting.kept_up(stopped.set), postgresql_that_says(*WRONG, port=port):
            await asyncio.wait_for(stopped.wait(), 20)

    with pytest.raises(UsageError, match="password authentication failed"):
        await run()


async def test_refusal_of_the_broker_ends_the_start() -> None:
    database = Database.connect("sqlite://")
    refused = Broker(NotAdmitted("NOT_ALLOWED - vhost shop not found", 530))
    with pytest.raises(UsageError, match=r"AMQP_URL: NOT_ALLOWED - vhost shop not found: create"):
        await Contact(database, refused).begin()
    await database.close()


async def test_servers_that_were_reached_once_are_never_asked_again() -> None:
    database, broker = Database.connect("sqlite://"), Broker()
    met = Contact(database, broker)
    await met.begin()
    broker.error = NotAdmitted("ACCESS_REFUSED", 403)
    async with met.kept_up(pytest.fail):
        await asyncio.sleep(0.1)
    assert broker.reached == 1
    await database.close()


@pytest.mark.parametrize("command", ["serve", "work", "migrate"])
async def test_command_that_is_refused_ends_with_one_line(bare_shell: Shell, command: str) -> None:
    async with postgresql_that_says(*WRONG) as port:
        url = f"postgresql://shop:hunter2@127.0.0.1:{port}/shop"
        shell = bare_shell.exporting(database_url=url, amqp_url="amqp://127.0.0.1:9/")
        options = () if command == "migrate" else ("--port", "0")
        ran = await shell.run(command, *options)
    (line,) = ran.errors.splitlines()
    said = line.removeprefix("error: ") if command == "migrate" else json.loads(line)["reason"]
    assert ran.code == 2
    assert said.startswith("PROGRAM_EXECUTOR_DATABASE_URL: password authentication failed")
    assert "hunter2" not in ran.errors
