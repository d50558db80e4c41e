"""The table of the Node library `@emartech/program-executor`, as it makes and fills it."""

import json
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from program_service.bookkeeping.database import Database
from tables import drop_all

# what knex makes of the library's `createTable`
SCHEMAS = {
    "postgresql": """
        CREATE TABLE {name} (
            id serial PRIMARY KEY,
            run_id varchar(255) NOT NULL,
            jobs jsonb NOT NULL,
            step integer,
            finished_at timestamptz,
            errored_at timestamptz,
            error_message varchar(255),
            step_retry_count integer DEFAULT '0',
            job_data jsonb DEFAULT '{{}}',
            program_data jsonb DEFAULT '{{}}',
            created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
        )
    """,
    "mysql": """
        CREATE TABLE {name} (
            id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
            run_id varchar(255) NOT NULL,
            jobs json NOT NULL,
            step int,
            finished_at timestamp NULL,
            errored_at timestamp NULL,
            error_message varchar(255),
            step_retry_count int DEFAULT '0',
            job_data json DEFAULT '{{}}',
            program_data json DEFAULT '{{}}',
            created_at datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
            updated_at datetime NOT NULL DEFAULT CURRENT_TIMESTAMP
        ) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_general_ci
    """,
}
INDEX = "CREATE INDEX {name}_run_id_index ON {name} (run_id)"

JOBS = ["reserve", "charge", "ship"]
NOON = "2025-11-03 12:00:00"


@asynccontextmanager
async def node_table(url: str) -> AsyncGenerator[Database]:
    """Make an empty table of the Node library, and drop it afterwards."""
    database = Database.connect(url, table_name=f"adopted_{uuid.uuid4().hex[:8]}")
    async with database.engine.begin() as connection:
        for statement in (SCHEMAS[connection.dialect.name], INDEX):
            await connection.exec_driver_sql(statement.format(name=database.tables.programs.name))
    try:
        yield database
    finally:
        await drop_all(database)
        await database.close()


async def insert(database: Database, *rows: dict[str, Any]) -> None:
    """Write rows as the library does: at the start, and after this or that step."""
    async with database.engine.begin() as connection:
        for row in rows:
            values = {
                name: json.dumps(value) if isinstance(value, list | dict) else value
                for name, value in ({"jobs": JOBS, "step": 0} | row).items()
            }
            name = database.tables.programs.name
            places = ", ".join(map(_place(connection.dialect.name), values))
            await connection.execute(
                sa.text(f"INSERT INTO {name} ({', '.join(values)}) VALUES ({places})"), values
            )


def _place(dialect: str) -> Callable[[str], str]:
    """Return how the value of a column is named; asyncpg wants to know that it is a text."""

    def named(column: str) -> str:
        if dialect == "mysql" or column in {"step", "step_retry_count"}:
            return f":{column}"
        kind = "timestamptz" if column.endswith("_at") else "jsonb"
        is_text = column in {"run_id", "error_message"}
        return f":{column}" if is_text else f"CAST(CAST(:{column} AS text) AS {kind})"

    return named


FILLED: Sequence[dict[str, Any]] = [
    {"run_id": "1762171200000111", "step": 2, "finished_at": NOON, "program_data": {"n": 1}},
    {
        "run_id": "1762171200000222",
        "step": 1,
        "errored_at": NOON,
        "error_message": "x" * 255,
        "step_retry_count": 1,
    },
    {
        "run_id": "1762171200000333",
        "step": 1,
        "program_data": {"customer": "Ευγένιος", "cents": 1_299},
        "job_data": {"reserve": {"seats": [4, 5]}},
    },
    {
        "run_id": "1762171200000444",
        "step": 1,
        "step_retry_count": 3,
        "error_message": "the bank is closed",
        "created_at": NOON,
        "updated_at": NOON,
    },
    {"run_id": "1762171200000555"},
]
