"""Submit in: a program exists exactly if the transaction that it was submitted in commits."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import nan

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from program_executor import JobContext, job, submit_in, submit_in_async
from program_service.bookkeeping.errors import ProgramNotFound
from program_service.bookkeeping.lifecycle import Status
from servers import on_servers
from stage import Stage

pytestmark = on_servers


@job(queue="mail")
async def mail(ctx: JobContext) -> dict[str, object]:
    """Say what it was told."""
    return {"told": ctx.program_data["to"], "more": await ctx.job_data.get()}


@pytest.fixture
async def session(stage: Stage) -> AsyncIterator[AsyncSession]:
    """Open a session of an application; a worker knows its job."""
    await stage.hire(mail, queues=["default", "mail"])
    engine = stage.database.beside(idle_timeout_s=60).engine
    async with AsyncSession(engine) as opened:
        yield opened
    await engine.dispose()


def table_of(stage: Stage) -> str:
    """Return the name of the program table."""
    return str(stage.database.tables.programs.name)


async def test_program_runs_when_the_transaction_is_committed(
    stage: Stage, session: AsyncSession
) -> None:
    run_id = await submit_in_async(
        session,
        ["mail", "mail"],
        table_name=table_of(stage),
        program_data={"to": "ann"},
        job_data={"mail": {"template": "welcome"}},
        labels={"team": "eu"},
    )
    with pytest.raises(ProgramNotFound):
        await stage.program(run_id)
    await session.commit()
    program = await stage.finished(run_id)
    assert program.job_data["mail"]["told"] == "ann"
    assert program.job_data["mail"]["more"]["template"] == "welcome"
    assert (program.labels, program.queue, program.step) == ({"team": "eu"}, "mail", 2)


async def test_program_never_was_when_the_transaction_is_rolled_back(
    stage: Stage, session: AsyncSession
) -> None:
    run_id = await submit_in_async(
        session, ["mail"], table_name=table_of(stage), program_data={"to": "ann"}
    )
    await session.rollback()
    with pytest.raises(ProgramNotFound):
        await stage.program(run_id)


async def test_blocking_sessions_and_connections_submit_too(
    stage: Stage, session: AsyncSession
) -> None:
    def in_session(blocking: Session) -> str:
        return submit_in(blocking, ["mail"], table_name=table_of(stage), program_data={"to": "bo"})

    def in_connection(blocking: sa.Connection) -> str:
        return submit_in(blocking, ["mail"], table_name=table_of(stage), program_data={"to": "cy"})

    connection: AsyncConnection = await session.connection()
    run_ids = [await session.run_sync(in_session), await connection.run_sync(in_connection)]
    run_ids.append(
        await submit_in_async(
            connection, ["mail"], table_name=table_of(stage), program_data={"to": "di"}
        )
    )
    await session.commit()
    told = [(await stage.finished(run_id)).job_data["mail"]["told"] for run_id in run_ids]
    assert told == ["bo", "cy", "di"]


async def test_start_may_be_later(stage: Stage, session: AsyncSession) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    run_id = await submit_in_async(session, ["mail"], table_name=table_of(stage), start_at=tomorrow)
    await session.commit()
    program = await stage.program(run_id)
    assert program.status is Status.SCHEDULED
    assert program.due_at == tomorrow


@pytest.mark.parametrize(
    ("jobs", "fields", "words"),
    [
        (["mial"], {}, "no worker ever registered 'mial'"),
        ([], {}, "at least 1 item"),
        (["mail"], {"program_data": {"at": {1, 2}}}, "program_data: at is a set; store a list"),
        (["mail"], {"program_data": {"x": [{"y": nan}]}}, r"program_data: x\[0\].y is NaN"),
        (["mail"], {"program_data": []}, "program_data must be a dict, not list"),
        (["mail"], {"job_data": {"mail": {"id": 2**63}}}, "job_data: mail.id is an integer beyond"),
        (["mail"], {"labels": {"team": "a\0"}}, "labels: team holds the character NUL"),
        (["mail"], {"job_data": {"other": {}}}, "not among the jobs"),
        (["mail"], {"start_at": datetime(2026, 1, 1)}, "timezone"),  # noqa: DTZ001
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_written(
    stage: Stage, session: AsyncSession, jobs: list[str], fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        await submit_in_async(session, jobs, table_name=table_of(stage), **fields)
