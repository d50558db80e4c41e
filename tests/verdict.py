"""Verdict: whether the rows and the journal of a deployment tell the same, permitted story."""

from collections import Counter

from asking import Row, attempts, rows
from journal import Journal, Step
from processes import Deployment

MAX_LOSSES = 3
STEPS = 3


class Verdict:
    """The rows and the journal of a deployment whose programs have all ended."""

    def __init__(self, journal: Journal, rows: dict[str, Row], attempts: list[Row]) -> None:
        """Take what is to be judged."""
        self.journal = journal
        self.rows = rows
        self.deaths = journal.deaths()
        self.lost = Counter[Step](
            (each["run_id"], each["step"]) for each in attempts if each["outcome"] == "lost"
        )

    @property
    def worker_lost(self) -> dict[Step, Row]:
        """The programs that ended because their workers died, by the step they ended at."""
        return {
            (run_id, row["step"]): row
            for run_id, row in self.rows.items()
            if row["errored_at"] is not None
        }

    @property
    def unseen(self) -> Counter[Step]:
        """Claims that died before their job had written a line: leases lost, but no deaths."""
        return self.lost - self.deaths

    def require_order(self) -> None:
        """No step out of order, and begun again only where a kill explains it."""
        assert self.journal.out_of_order() == []
        assert self.journal.unexplained() == []

    def require_ends(self) -> None:
        """Every program ended: by its last step's end, or by three deaths of one step."""
        for run_id, row in self.rows.items():
            ended = {entry.step for entry in self.journal.ends(run_id)}
            if row["finished_at"] is not None:
                assert ended == set(range(STEPS)), run_id
                assert row["errored_at"] is None
            else:
                assert row["errored_at"] is not None, run_id
                assert row["error_message"].startswith("worker_lost"), row["error_message"]

    def require_worker_lost_exactly(self) -> None:
        """`worker_lost` where one step died three times, and nowhere else."""
        died_thrice = {step for step, count in self.deaths.items() if count >= MAX_LOSSES}
        # a claim whose worker died before the job's first line is a lost lease that no file shows
        seen = {
            step for step in self.worker_lost if self.deaths[step] + self.unseen[step] == MAX_LOSSES
        }
        assert seen == set(self.worker_lost)
        assert died_thrice <= seen
        assert {step for step in seen if not self.unseen[step]} == died_thrice - set(self.unseen)

    def summary(self) -> str:
        """Say the numbers."""
        again = self.journal.begun_again()
        return (
            f"{len(self.rows)} programs, {len(self.journal.begins())} begins, {len(again)} steps"
            f" begun again, {sum(self.deaths.values())} deaths of {len(self.deaths)} steps,"
            f" {sum(self.unseen.values())} claims that died before they began,"
            f" {len(self.worker_lost)} programs lost their workers three times"
        )


async def verdict_on(deployment: Deployment) -> Verdict:
    """Read what is to be judged."""
    journal = Journal(deployment.journal)
    return Verdict(journal, await rows(deployment), await attempts(deployment))
