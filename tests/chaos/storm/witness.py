"""Witness: a trigger of ours that writes down every committed change of a program's row.

It is installed in plain SQL beside the product's tables and knows nothing but their columns.
Changes of one row are in order, because their transactions wait for one another.
"""

import json
from datetime import MAXYEAR
from typing import Any

from asking import Row, rows, select
from chaos.storm.facts import Attempt, State
from processes import Deployment

INSTALL = """
CREATE TABLE {programs}_seen (
    id bigserial, at timestamptz, tx bigint, run_id text, step int, resumes int, lease text,
    holder text, due_at timestamptz, is_finished bool, is_errored bool, is_cancelled bool,
    retries int, losses int, data text
);
CREATE FUNCTION {programs}_see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.version, OLD.due_at, OLD.lease)
        IS NOT DISTINCT FROM (NEW.version, NEW.due_at, NEW.lease)
        AND (OLD.step, OLD.finished_at, OLD.errored_at, OLD.job_data::text)
        IS NOT DISTINCT FROM (NEW.step, NEW.finished_at, NEW.errored_at, NEW.job_data::text)
    THEN RETURN NULL;
    END IF;
    INSERT INTO {programs}_seen (at, tx, run_id, step, resumes, lease, holder, due_at, is_finished,
        is_errored, is_cancelled, retries, losses, data)
    VALUES (clock_timestamp(), txid_current(), NEW.run_id, NEW.step, NEW.resumes, NEW.lease,
        NEW.claimed_by, NEW.due_at, NEW.finished_at IS NOT NULL, NEW.errored_at IS NOT NULL,
        NEW.cancelled_at IS NOT NULL, NEW.step_retry_count, NEW.lease_losses,
        md5(NEW.job_data::text));
    RETURN NULL;
END $$;
CREATE TRIGGER {programs}_see AFTER INSERT OR UPDATE ON {programs}
    FOR EACH ROW EXECUTE FUNCTION {programs}_see();
"""


async def read_states(deployment: Deployment, *, epoch: float) -> list[State]:
    """Read what the trigger saw; `epoch` is the wall clock's reading at the monotonic 0."""
    seen = await select(deployment, "SELECT * FROM {programs}_seen ORDER BY id")

    def moment(value: Any) -> float | None:
        if value is None:
            return None
        # as asyncpg gives infinity and its negative
        return value.timestamp() - epoch if 1 < value.year < MAXYEAR else float("-inf")

    return [
        State(
            run_id=row["run_id"],
            at=row["at"].timestamp() - epoch,
            transaction=row["tx"],
            step=row["step"],
            resumes=row["resumes"],
            lease=row["lease"],
            holder=row["holder"],
            due_at=moment(row["due_at"]),
            is_finished=row["is_finished"],
            is_errored=row["is_errored"],
            is_cancelled=row["is_cancelled"],
            retries=row["retries"],
            losses=row["losses"],
            data=row["data"],
        )
        for row in seen
    ]


async def read_rows(deployment: Deployment) -> dict[str, Row]:
    """Read {run_id: row}, with its JSON read."""
    found = await rows(deployment)
    return {
        run_id: row | {name: json.loads(row[name]) for name in ("jobs", "program_data", "job_data")}
        for run_id, row in found.items()
    }


async def read_attempts(deployment: Deployment) -> list[Attempt]:
    """Read the attempts; `xmin` is PostgreSQL's own note of who wrote a row."""
    query = "SELECT run_id, step, lease, worker, outcome, xmin::text::bigint AS tx FROM {attempts}"
    written = await select(deployment, query)
    return [
        Attempt(row["run_id"], row["step"], row["lease"], row["worker"], row["outcome"], row["tx"])
        for row in written
    ]
