"""Big lists: what a list takes does not depend on how big the programs are that it lists."""

from typing import Any

import pytest

from builders import JOBS, a_program, submitted_all
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger import reading
from program_service.bookkeeping.ledger.pages import MAX_PAGE_BYTES
from serving import Json, json_of, serving

MIB = 1_048_576
PROGRAMS = 30


class Watched:
    """Notes how much data rows bring from the database."""

    def __init__(self) -> None:
        """Begin without any."""
        self.rows = 0
        self.data_bytes = 0
        self._read = reading._program

    def program(self, row: Any) -> Any:
        """Read a program as always."""
        self.rows += 1
        program = self._read(row)
        self.data_bytes += len(str(program.program_data))
        return program


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watch what programs are read."""
    watched = Watched()
    monkeypatch.setattr(reading, "_program", watched.program)
    return watched


async def test_compressible_programs_of_a_mebibyte_are_listed_without_their_data(
    database: Database, watched: Watched
) -> None:
    data = {"text": "x" * (MIB - 100)}
    for _ in range(PROGRAMS):
        await submitted_all(database, [a_program(program_data=data)])
    async with serving(database, jobs=JOBS) as service:
        for path in ("/programs?limit=200", "/ui/programs", "/"):
            answer = await service.client.get(path)
            assert answer.status_code == 200
            assert len(answer.content) < 100_000
        assert watched.data_bytes <= 2 * watched.rows  # of `{}`
        page = json_of(await service.client.get("/programs?limit=200"))
        assert len(page["programs"]) == PROGRAMS
        assert not any({"program_data", "job_data"} & each.keys() for each in page["programs"])
        assert await with_data(service) == [data] * PROGRAMS


async def with_data(service: Any) -> list[Json]:
    """Walk through the list with data, and return those of each program."""
    found, path = list[Json](), "/programs?limit=200&include=data"
    while path:
        answer = await service.client.get(path)
        assert answer.status_code == 200, answer.text
        assert len(answer.content) <= 2 * MAX_PAGE_BYTES
        found += [each["program_data"] for each in json_of(answer)["programs"]]
        link = answer.headers.get("link", "")
        path = link.removeprefix("<").removesuffix('>; rel="next"')
        assert not path or "include=data" in path
    return found
