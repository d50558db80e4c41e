"""Plans of pages: on a long table no list and no figure reads what it does not need."""

from datetime import UTC, datetime, timedelta

import pytest

from explaining import COUNTS, OPEN_ROWS, ROWS, Explained
from program_service.bookkeeping.ledger.failures import failure_groups, members_of
from program_service.bookkeeping.ledger.figures import counts_by_status, job_figures, throughput
from program_service.bookkeeping.ledger.measuring import pulse
from program_service.bookkeeping.ledger.purging import forget_counts
from program_service.bookkeeping.ledger.reading import Filter, list_programs, list_run_ids
from program_service.bookkeeping.lifecycle import Status

PAGE = 50
A_DAY_AGO = datetime.now(UTC) - timedelta(days=1)
PER_DAY = OPEN_ROWS
"""At most: 2,880 a day, and BRIN looks at pages, not at rows."""

LISTS: dict[str, tuple[Filter, set[str], int]] = {
    "all": (Filter(), {"_pkey"}, PAGE + 1),
    "oldest_first": (Filter(is_oldest_first=True), {"_pkey"}, PAGE + 1),
    "job": (Filter(job="reserve"), {"_pkey"}, PAGE + 1),
    "queue": (Filter(queue="mail"), {"_pkey"}, 100 * (PAGE + 1)),
    "finished": (Filter(status=Status.FINISHED), {"_pkey"}, OPEN_ROWS + 2 * PAGE),
    "errored": (Filter(status=Status.ERRORED), {"_errored"}, 3 * PAGE),
    "cancelled": (Filter(status=Status.CANCELLED), {"_errored"}, 3 * PAGE),
    "pending": (Filter(status=Status.PENDING), {"_pkey", "_due"}, OPEN_ROWS),
    "scheduled": (Filter(status=Status.SCHEDULED), {"_pkey", "_due"}, OPEN_ROWS),
    "running": (Filter(status=Status.RUNNING), {"_pkey", "_due"}, OPEN_ROWS),
    "retrying": (Filter(status=Status.RETRYING), {"_pkey", "_due"}, OPEN_ROWS),
    "waiting": (Filter(status=Status.WAITING), {"_due"}, OPEN_ROWS),
    "open_of_a_job": (Filter(job="reserve", is_in_progress=True), {"_pkey", "_due"}, OPEN_ROWS),
    "open_of_no_job": (Filter(job="nobody's", is_in_progress=True), {"_due"}, OPEN_ROWS),
    "errored_of_a_job": (Filter(job="reserve", status=Status.ERRORED), {"_errored"}, 3 * PAGE),
    "in_progress": (Filter(is_in_progress=True), {"_pkey", "_due"}, OPEN_ROWS),
    "oldest_in_progress": (Filter(is_in_progress=True, is_oldest_first=True), {"_due"}, OPEN_ROWS),
    "oldest_pending": (Filter(status=Status.PENDING, is_oldest_first=True), {"_due"}, OPEN_ROWS),
    "error": (Filter(error="no bank"), {"_troubled", "_pkey"}, OPEN_ROWS),
    "unknown_error": (Filter(error="no such text"), {"_troubled"}, OPEN_ROWS),
    "retried": (Filter(step_retry_count_gte=1), {"_troubled", "_pkey"}, OPEN_ROWS),
    "often_retried": (Filter(step_retry_count_gte=9), {"_troubled"}, OPEN_ROWS),
    "of_a_day": (Filter(created_after=A_DAY_AGO), {"_pkey", "_created"}, PER_DAY),
    "no_job_of_a_day": (
        Filter(job="nobody's", created_after=A_DAY_AGO),
        {"_pkey", "_created"},
        PER_DAY,
    ),
    "error_of_a_day": (
        Filter(error="no such text", created_after=A_DAY_AGO),
        {"_troubled", "_created"},
        PER_DAY,
    ),
    "label": (Filter(labels=[("tenant", "acme")]), {"_labels"}, ROWS // 500),
    "unknown_label": (Filter(labels=[("tenant", "nobody")]), {"_labels"}, 0),
}
"""{what is listed: (filter, indexes that may serve it, rows that are read at most)}"""


@pytest.mark.parametrize("kind", LISTS)
async def test_lists_are_served_by_an_index(explained: Explained, kind: str) -> None:
    database, (wanted, indexes, rows) = explained.database, LISTS[kind]
    scans = await explained.scans(lambda: database.read(list_programs, wanted, limit=PAGE))
    used = {scan.index for scan in scans if scan.index}
    assert used
    assert used <= indexes | {"_pkey"}  # what a page has room for is read by id
    assert not any(scan.kind.startswith("Seq") for scan in scans)
    assert max(scan.rows for scan in scans) <= rows


async def test_figures_read_the_counts_of_their_time_and_no_programs(
    explained: Explained,
) -> None:
    database = explained.database
    day = 24 * 60 * COUNTS
    for work, rows in (
        (lambda: database.read(throughput), 60 * COUNTS),
        (lambda: database.read(job_figures, hours=1), 61 * COUNTS),
        (lambda: database.read(job_figures), day),
    ):
        (scan,) = [scan for scan in await explained.scans(work) if scan.kind != "Bitmap Index Scan"]
        assert scan.table == "_rollups"
        assert not scan.kind.startswith("Seq")
        assert scan.rows <= rows + COUNTS


async def test_overview_reads_what_has_not_ended_and_counts(explained: Explained) -> None:
    scans = await explained.scans(lambda: explained.database.read(counts_by_status))
    assert {scan.index for scan in scans} == {"_due", "_rollups_pkey"}
    of_programs = [scan for scan in scans if not scan.table]
    assert sum(scan.rows for scan in of_programs) <= OPEN_ROWS


async def test_overview_of_a_long_queue_reads_no_more_than_its_limit(
    explained: Explained,
) -> None:
    scans = await explained.scans(lambda: explained.database.read(counts_by_status, limit=PAGE))
    of_programs = [scan for scan in scans if not scan.table]
    assert [(scan.index, scan.rows) for scan in of_programs] == [("_due", PAGE)] * 2


async def test_failures_are_found_among_those_that_errored(explained: Explained) -> None:
    database = explained.database
    for work in (
        lambda: database.read(failure_groups, newest=PAGE),
        lambda: database.read(members_of, "reserve", "no bank", newest=PAGE),
    ):
        scans = await explained.scans(work)
        assert {scan.index for scan in scans} == {"_errored"}
        assert sum(scan.rows for scan in scans) <= 2 * (PAGE + 1)


async def test_old_counts_are_deleted_by_their_minutes(explained: Explained) -> None:
    database = explained.database
    scans = await explained.scans(
        lambda: database.transact(forget_counts, older_than=timedelta(days=6))
    )
    assert {(scan.table, scan.index) for scan in scans} == {("_rollups", "_rollups_pkey")}
    assert max(scan.rows for scan in scans) <= 10 * COUNTS


BULKS = {
    "all_open": Filter(is_in_progress=True),
    "open_of_a_job": Filter(job="reserve", is_in_progress=True),
    "open_of_a_label": Filter(labels=[("tenant", "acme")], is_in_progress=True),
    "errored": Filter(status=Status.ERRORED),
    "errored_of_a_job": Filter(job="reserve", status=Status.ERRORED),
    "cancelled_with_an_error": Filter(error="no bank", status=Status.CANCELLED),
}
"""What is cancelled or resumed at once."""


@pytest.mark.parametrize("kind", BULKS)
async def test_what_is_steered_at_once_is_found_by_an_index(
    explained: Explained, kind: str
) -> None:
    database = explained.database
    scans = await explained.scans(lambda: database.read(list_run_ids, BULKS[kind], limit=10_000))
    assert not any(scan.kind.startswith("Seq") for scan in scans)
    assert max(scan.rows for scan in scans) <= OPEN_ROWS


async def test_pulse_is_felt_without_a_scan_of_programs(explained: Explained) -> None:
    scans = await explained.scans(lambda: explained.database.read(pulse))
    (of_programs,) = [scan for scan in scans if scan.index == "_pkey"]
    assert of_programs.rows == 1
    assert all(scan.rows <= 3 * COUNTS for scan in scans)  # of two minutes
    # the table of workers is empty here, and read whole anywhere
    assert all(scan.rows == 0 for scan in scans if scan.kind.startswith("Seq"))
