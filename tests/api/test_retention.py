"""Retention: a service deletes what ended longer ago than it is told to keep."""

import pytest
from pydantic import ValidationError

from builders import by_hand, seconds_ago
from patience import eventually
from program_service.bookkeeping.database import Database
from program_service.settings import Settings
from serving import problem_of, serving

DAY_S = 86_400


async def test_service_purges_what_is_too_old_and_counts_it(database: Database) -> None:
    async with serving(database, jobs=["reserve"]) as keeps:
        old, young = [(await keeps.submit("reserve"))["run_id"] for _ in range(2)]
        for run_id, days in ((old, 31), (young, 29)):
            await by_hand(database, run_id, finished_at=seconds_ago(database, days * DAY_S))
        assert (await keeps.get(old))["status"] == "finished"
    async with serving(database, jobs=["reserve"], retention_days=30) as service:

        async def is_counted() -> bool:
            metrics = (await service.client.get("/metrics")).text
            return "program_executor_programs_purged_total 1.0" in metrics.splitlines()

        await eventually(is_counted)
        problem_of(await service.client.get(f"/programs/{old}"), 404, "program_not_found")
        assert (await service.get(young))["status"] == "finished"


@pytest.mark.parametrize("days", ["0", "-1", "40000", "soon"])
def test_retention_is_a_number_of_days(days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAM_EXECUTOR_RETENTION_DAYS", days)
    with pytest.raises(ValidationError, match="retention_days"):
        Settings()
    monkeypatch.setenv("PROGRAM_EXECUTOR_RETENTION_DAYS", "0.5")
    assert Settings().retention_days == 0.5
