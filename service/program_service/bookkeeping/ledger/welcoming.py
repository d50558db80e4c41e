"""Welcome: a worker makes itself known, and programs are woken for what no worker knew before.

What is new is found by comparing what the worker knows with what the live workers have announced,
its own row among them. So an announcement that failed is made up for by the next, and one whose
COMMIT answer was lost welcomes nobody twice.
"""

from collections.abc import Mapping

from program_service.bookkeeping.books import Books
from program_service.bookkeeping.ledger.waking import welcome_jobs
from program_service.bookkeeping.ledger.workers import Worker, beat, list_workers


async def announce(
    books: Books, queues: Mapping[str, str], *, worker: Worker, beat_s: float
) -> None:
    """Note that a worker lives; `queues` is {job: queue} of what it has not announced before.

    Programs of these jobs are brought to their queues, and are woken again if no live worker knew
    the job: their wake-ups may have been dropped as nobody's.
    """
    known = await _known_jobs(books, worker, beat_s=beat_s) if queues else set()
    await beat(books, worker)
    if queues:
        await welcome_jobs(books, queues, new=queues.keys() - known)


async def _known_jobs(books: Books, worker: Worker, *, beat_s: float) -> set[str]:
    """Return the jobs that are announced, but for those of a process that had its name before."""
    return {
        job
        for each in await list_workers(books, beat_s=beat_s)
        if each.process == worker.process or each.name != worker.name
        for job in each.jobs
    }
