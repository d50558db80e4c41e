"""The database dies by `kill -9` while programs run: what was done is recorded when it is back."""

import asyncio
from collections import Counter

import pytest

from asking import all_finished, attempts, rows, submit, submit_many
from journal import Journal
from patience import eventually
from private_postgres import PrivatePostgres
from processes import Deployment, Process

DEATHS = 5


async def steps_end(deployment: Deployment, count: int) -> None:
    """Wait until so many steps have ended, by what the jobs wrote down."""

    async def have_ended() -> bool:
        return len(Journal(deployment.journal).ends()) >= count

    await eventually(have_ended, within_s=60)


async def submit_all_the_time(service: Process, accepted: list[str]) -> None:
    """Submit programs one by one; what is refused or lost on the way was not accepted."""
    while True:
        answer = await service.client.post("/programs", json={"jobs": ["tick"]})
        if answer.status_code == 201:
            accepted.append(answer.json()["run_id"])
        else:
            assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
async def test_nothing_is_done_twice_nor_lost_when_the_database_is_killed(
    deployment: Deployment, postgres: PrivatePostgres
) -> None:
    """Invariants 1, 4 and 7, rules R4 and R8: a COMMIT whose answer was lost is tried again."""
    deployment.settings |= {"lease_s": 60, "concurrency": 20}
    service, *_ = await asyncio.gather(deployment.serve(), deployment.work(), deployment.work())
    await submit_many(service, [{"jobs": ["tick"] * 3}] * 200)
    accepted: list[str] = []
    submitting = asyncio.create_task(submit_all_the_time(service, accepted))
    for number in range(DEATHS):
        await steps_end(deployment, 40 * (number + 1))
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
    submitting.cancel()
    await submit(service, "tick")
    await all_finished(deployment, within_s=120)
    journal = Journal(deployment.journal)
    assert set(accepted) <= (await rows(deployment)).keys()
    assert not journal.begun_again()
    assert not journal.out_of_order()
    written = Counter((each["run_id"], each["step"]) for each in await attempts(deployment))
    assert written == Counter(entry.of for entry in journal.ends())
    print(f"\n{DEATHS} deaths; {len(written)} steps, each begun, ended and recorded once")
