"""Room: which jobs a worker has room for, who holds it, and who waits in which order."""

from collections.abc import Sequence

import pytest

from program_executor import Job as LibraryJob
from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.ledger.registry import CALLBACK, Endpoint, Job
from program_service.wakeups.broker import MAX_HOPS, Wakeup
from program_service.webhooks.breaker import FAILURES_TO_OPEN
from program_workers.catalogue import Catalogue
from program_workers.library import JobLibrary
from program_workers.line import LONGEST, Line
from program_workers.room import Room
from rooms import MOMENT, a_program

THREADS = 2


@job
def plain(_ctx: ThreadJobContext) -> None:
    """Need a thread."""


@job
async def light(_ctx: JobContext) -> None:
    """Need nothing."""


def an_endpoint(name: str, limit: int | None = None, *, host: str = "shop.example") -> Job:
    """Return an endpoint."""
    endpoint = Endpoint(f"https://{host}/{name}", [], "", limit)
    return Job(name, CALLBACK, "default", None, {}, endpoint=endpoint)


ENDPOINTS = [
    an_endpoint("pay", 1),
    an_endpoint("mail"),
    an_endpoint("far", host="far.example"),
]


@pytest.fixture
def room() -> Room:
    """Return the room of a worker with two threads, and with jobs of each kind."""
    return a_room()


def a_room(*jobs: LibraryJob, endpoints: Sequence[Job] = ENDPOINTS) -> Room:
    """Return the room of a worker."""
    catalogue = Catalogue(JobLibrary([plain, light, *jobs]))
    catalogue.update(endpoints)
    return Room(catalogue, threads=THREADS)


def admitted(room: Room, *jobs: str) -> list[bool]:
    """Claim programs at these jobs in one batch, and say which were admitted."""
    with room.offering(len(jobs)) as offer:
        if not offer.jobs:
            return [True] * len(jobs)
        answers = iter(offer.admit([each for each in jobs if each in offer.jobs]))
        return [next(answers) if each in offer.jobs else each in offer.open_jobs for each in jobs]


def broken(room: Room, *, host: str = "", name: str = "") -> None:
    """Let a host, or a job, fail until it is left alone."""
    for _ in range(FAILURES_TO_OPEN):
        if host:
            room.hosts.failed(host, "it is away", by="before")
        else:
            room.jobs.failed(name, "it answered 500", by="before")


def test_batch_is_admitted_as_far_as_there_are_places(room: Room) -> None:
    assert admitted(room, "plain", "light", "plain", "plain") == [True, True, True, False]
    assert admitted(room, "pay", "mail", "pay") == [True, True, False]


def test_batch_that_no_limit_can_touch_runs_the_statement_of_always() -> None:
    with a_room(endpoints=[an_endpoint("mail")]).offering(THREADS) as offer:
        assert offer.jobs == []


def test_program_holds_its_places_until_it_leaves(room: Room) -> None:
    first, second = a_program("run-1", "pay"), a_program("run-2", "plain")
    room.book(first)
    room.book(second)
    assert admitted(room, "pay", "plain", "plain") == [False, True, False]
    room.changed.clear()
    room.leave(first)
    room.leave(second)
    room.leave(second)
    assert room.changed.is_set()
    assert admitted(room, "pay", "plain", "plain") == [True, True, True]


def test_places_are_set_aside_while_claims_are_on_their_way(room: Room) -> None:
    running = a_program("run-1", "light", "pay")
    with room.offering(2) as offer:
        assert offer.admit(["pay", "pay"]) == [True, False]
        assert offer.admit(["pay", "pay"]) == [True, False]  # the transaction is tried again
        assert not room.book_next(running, "pay")
    assert room.book_next(running, "pay")


def test_program_needs_no_second_place_for_its_next_step(room: Room) -> None:
    program = a_program("run-1", "pay", "pay", "light", "plain")
    room.book(program)
    assert room.book_next(program, "pay")
    room.keep(program, "pay")
    assert not admitted(room, "pay")[0]
    assert room.book_next(program, "plain")
    room.keep(program, "plain")
    assert admitted(room, "pay") == [True]
    assert admitted(room, "plain", "plain") == [True, False]


@pytest.mark.parametrize("step", [1, -1, 7])
def test_row_with_a_step_that_it_does_not_have_holds_nothing(room: Room, step: int) -> None:
    """It was edited by hand; its neighbors are booked all the same."""
    room.book(a_program("run-1", "plain", step=step))
    assert admitted(room, "plain", "plain", "plain") == [True, True, False]


def test_breaker_of_a_job_leaves_its_neighbors_on_the_host_alone(room: Room) -> None:
    broken(room, name="mail")
    assert admitted(room, "mail", "pay") == [False, True]
    report = room.breakers()
    assert report["breakers"] == {}
    assert report["job_breakers"]["mail"]["host"] == "shop.example"
    assert report["job_breakers"]["mail"]["error"] == "it answered 500"


def test_breaker_of_a_host_is_that_of_all_its_jobs(room: Room) -> None:
    broken(room, host="https://shop.example")
    assert admitted(room, "mail", "pay", "far") == [False, False, True]
    assert room.breakers()["breakers"]["shop.example"]["error"] == "it is away"


def test_open_breaker_is_probed_by_one_program(room: Room) -> None:
    broken(room, name="mail")
    circuit = room.jobs.circuit("mail")
    assert circuit is not None
    assert 0 < room.opens_in_s("mail") <= 1
    circuit.closed_until = 0.0  # its pause is over
    assert admitted(room, "mail", "mail") == [True, False]
    probe = a_program("run-1", "mail")
    room.book(probe)
    assert admitted(room, "mail") == [False]
    room.leave(probe)
    assert admitted(room, "mail") == [True]
    room.changed.clear()
    room.jobs.succeeded("mail")
    assert room.changed.is_set()
    assert admitted(room, "mail", "mail", "mail") == [True, True, True]


def test_program_that_was_claimed_before_its_breaker_opened_is_no_probe(room: Room) -> None:
    with room.offering(1):
        broken(room, name="mail")
    room.book(a_program("run-1", "mail"))
    circuit = room.jobs.circuit("mail")
    assert circuit is not None
    assert circuit.holders == {}


def a_wakeup(*run_ids: str, hops: int = 0) -> Wakeup:
    """Return a wake-up."""
    return Wakeup("default", run_ids, MOMENT, hops)


def lined_up(room: Room, job: str, *run_ids: str) -> Line:
    """Return a line of programs at a job."""
    line = Line(room)
    for run_id in run_ids:
        assert line.add(run_id, job, a_wakeup(*run_ids))
    return line


def test_first_come_first_served(room: Room) -> None:
    line = lined_up(room, "plain", "run-1", "run-2", "run-3")
    assert line.next(10) == [a_wakeup("run-1", "run-2")]
    assert line.next(1) == [a_wakeup("run-1")]
    room.book(a_program("run-1", "plain"))
    line.remove("run-1")
    assert line.next(10) == [a_wakeup("run-2")]
    room.book(a_program("run-2", "plain"))
    line.remove("run-2")
    assert line.next(10) == []


def test_job_without_room_holds_up_no_other(room: Room) -> None:
    line = lined_up(room, "pay", "run-1", "run-2")
    line.add("run-3", "plain", a_wakeup("run-3"))
    room.book(a_program("run-0", "pay"))
    assert line.next(10) == [a_wakeup("run-3")]


def test_program_that_is_woken_for_again_keeps_its_turn(room: Room) -> None:
    line = lined_up(room, "pay", "run-1", "run-2")
    line.add("run-1", "pay", a_wakeup("run-1"))
    assert line.next(10) == [a_wakeup("run-1")]


def test_line_is_bounded(room: Room) -> None:
    """The sweeper wakes again for those that do not fit."""
    line = lined_up(room, "pay", *(f"run-{number}" for number in range(LONGEST)))
    assert not line.add("one more", "pay", a_wakeup("one more"))
    assert line.add("run-0", "pay", a_wakeup("run-0"))
    line.remove("run-7")
    assert line.add("one more", "pay", a_wakeup("one more"))


def test_other_workers_are_asked_once_for_each_wakeup_and_not_for_ever(room: Room) -> None:
    line = lined_up(room, "pay", "run-1", "run-2")
    assert line.ask_others() == [a_wakeup("run-1", "run-2", hops=1)]
    assert line.ask_others() == []
    for hops in range(1, MAX_HOPS):
        line.add("run-1", "pay", a_wakeup("run-1", hops=hops))
        assert line.ask_others() == [a_wakeup("run-1", hops=hops + 1)]
    line.add("run-1", "pay", a_wakeup("run-1", hops=MAX_HOPS))
    assert line.ask_others() == []
    assert {run_id for wakeup in line.all() for run_id in wakeup.run_ids} == {"run-1", "run-2"}


def test_report_says_which_limit_applies_and_who_holds_it(room: Room) -> None:
    line = lined_up(room, "pay", "run-1", "run-2")
    assert line.report() == {}  # there is room
    room.book(a_program("run-0", "pay"))
    assert line.report() == {
        "pay": {"waiting": 2, "reason": "max_concurrency", "limit": 1, "held_by": ["run-0"]}
    }


def test_line_looks_up_when_a_breaker_lets_the_next_one_through(room: Room) -> None:
    line = lined_up(room, "pay", "run-1")
    assert line.opens_in_s == float("inf")
    broken(room, name="pay")
    broken(room, host="https://far.example")
    assert 0 < line.opens_in_s <= 1
