"""How a shop tests its jobs: each program runs in process, and its waits take no time."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from program_executor import ProgramEvent
from program_executor.testing import ProgramRunner
from shop import jobs
from shop.outside import Carrier, Mailbox, Payments

ORDER = {"card": "4242", "cents": 1999, "parcels": ["mug", "teapot"]}


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    """Return the program data of an order."""
    return {**ORDER, "folder": str(tmp_path)}


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an outside world of its own."""
    monkeypatch.setattr(jobs, "payments", Payments())
    monkeypatch.setattr(jobs, "carrier", Carrier())
    monkeypatch.setattr(jobs, "mailbox", Mailbox())


def test_an_order_is_charged_and_invoiced(
    program_runner: ProgramRunner, order: dict[str, Any]
) -> None:
    """Results of one job are seen by the next."""
    run = program_runner.run([jobs.charge, jobs.write_invoice], program_data=order)

    assert run.status == "finished"
    receipt = run.job_data["charge"]["receipt"]
    assert Path(run.job_data["write_invoice"]["file"]).read_text() == f"19.99 EUR, {receipt}\n"


def test_a_lost_answer_charges_no_card_twice(
    program_runner: ProgramRunner, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tries have one idempotency key, and the clock jumps over the wait between them."""
    monkeypatch.setattr(jobs, "payments", Payments(busy_times=1))

    run = program_runner.run([jobs.charge], program_data=order)

    assert [attempt.outcome for attempt in run.attempts] == ["retry", "done"]
    assert run.attempts[0].error_code == "busy"
    assert run.waited >= timedelta(seconds=10)
    assert jobs.payments.charges == {f"{run.program.run_id}-0": 1999}


def test_a_declined_card_ends_the_order(
    program_runner: ProgramRunner, order: dict[str, Any]
) -> None:
    """An ignorable error ends the program at this step."""
    run = program_runner.run([jobs.charge, jobs.pack], program_data={**order, "card": "declined"})

    assert run.status == "errored"
    assert run.error_message == "the card was declined"
    assert [attempt.outcome for attempt in run.attempts] == ["ignored"]


def test_each_parcel_gets_a_program(program_runner: ProgramRunner, order: dict[str, Any]) -> None:
    """The started programs are there to look at; they are not run."""
    run = program_runner.run([jobs.pack], program_data=order, others=[jobs.ship])

    assert {child.program_data["parcel"] for child in run.started} == {"mug", "teapot"}
    assert {child.run_id for child in run.started} == set(run.job_data["pack"]["parcels"])


def test_a_carrier_that_is_down_is_tried_again(
    program_runner: ProgramRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The carrier's own exception says that it may pass, and after how long."""
    monkeypatch.setattr(jobs, "carrier", Carrier(down_times=2))

    run = program_runner.run([jobs.ship_express], program_data={"parcel": "mug"})

    assert run.job_data["ship_express"] == {"tracking": "track-mug"}
    assert run.waited >= timedelta(minutes=10)


def test_a_newsletter_goes_on_where_it_stopped(
    program_runner: ProgramRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time at all, each page is a try of its own, and no retry is counted."""
    monkeypatch.setattr(jobs, "MAX_EXECUTION_TIME_S", 0.0)
    customers = [f"customer-{number}@shop.example" for number in range(250)]

    run = program_runner.run([jobs.send_newsletter], program_data={"customers": customers})

    assert Counter(attempt.outcome for attempt in run.attempts) == {"yielded": 3, "done": 1}
    assert jobs.mailbox.sent == customers
    assert run.program.step_retry_count == 0


def test_an_error_is_written_down() -> None:
    """Hooks are plain functions underneath."""
    event = ProgramEvent("error", "run-1", "charge", 0, 1, {}, error_message="no money")

    jobs.note_error.function(event)

    assert jobs.diary[-1] == "charge failed: no money"
