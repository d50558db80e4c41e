"""Suspects: a worker that dies when it puts off a suspect must not make that one look worse."""

import uuid

import pytest

from asking import all_finished, attempts, select, submit_many
from deployments import console as console
from deployments import deployment as deployment
from deployments import shared_rabbitmq as shared_rabbitmq
from journal import Journal
from processes import Deployment

LONG = {"seconds": 30}


async def orphan_all(deployment: Deployment) -> None:
    """Have all programs look as if a worker had died that held them."""
    await select(
        deployment,
        "UPDATE {programs} SET lease = $1, claimed_by = 'dead', woken_at = NULL,"
        " due_at = clock_timestamp() - interval '2 seconds'",
        uuid.uuid4().hex[:16],
    )


@pytest.mark.xfail(
    strict=True,
    reason="rule R11: it is claimed, and then released; who dies in between has lost it once more",
)
async def test_suspect_that_was_never_begun_by_a_dead_worker_lost_no_lease_by_its_death(
    deployment: Deployment,
) -> None:
    """Rule R11; three such deaths error an innocent program with `worker_lost`."""
    deployment.settings |= {"lease_s": 5.0}
    service = await deployment.serve(unknown_jobs="accept")
    await submit_many(service, [{"jobs": ["tick"], "program_data": LONG}] * 2)
    await orphan_all(deployment)
    dying = await deployment.work(crash_at="suspect.claimed")
    await dying.died()
    begun = {entry.run_id for entry in Journal(deployment.journal).begins()}
    assert len(begun) <= 1
    await select(deployment, "UPDATE {programs} SET program_data = '{{\"seconds\": 0.1}}'")
    await deployment.work()
    await all_finished(deployment)
    lost = [each for each in await attempts(deployment) if each["outcome"] == "lost"]
    assert [each["worker"] for each in lost if each["run_id"] not in begun] == ["dead"] * (
        2 - len(begun)
    )
