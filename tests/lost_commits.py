"""Lost commits: every operation that changes something, as a transaction that runs once or twice.

`of` lists a case for the functions that its transaction is made of: it prepares the tables, and
returns what is to be called. `tests/contract/test_lost_commits.py` compares the two executions.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

import sqlalchemy as sa

from builders import (
    HOUR_S,
    WORKER,
    a_claim,
    a_claimant,
    a_failure,
    a_key,
    a_program,
    a_record,
    by_hand,
    claimed,
    lapse,
    later,
    overdue,
    seconds_ago,
    stands,
    submitted,
)
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.api_keys import (
    ApiKey,
    add_key,
    forget_old_keys,
    note_uses,
    revoke_key,
)
from program_service.bookkeeping.ledger.auditing import Entry, forget_entries, write_entry
from program_service.bookkeeping.ledger.callbacks import (
    Report,
    Ticket,
    merge_callback_data,
    prolong,
    settle_callback,
)
from program_service.bookkeeping.ledger.claiming import claim, claim_at_once, claim_unlocked
from program_service.bookkeeping.ledger.endpoints import (
    delete_job,
    disable_endpoint,
    put_endpoint,
    rotate_secret,
)
from program_service.bookkeeping.ledger.job_data import (
    JobDataEdit,
    change_job_data,
    change_job_data_unlocked,
    edit_job_data,
)
from program_service.bookkeeping.ledger.notifying import (
    Claim,
    Put,
    Told,
    Untold,
    claim_untold,
    mark_told,
)
from program_service.bookkeeping.ledger.purging import forget_counts, forget_keys, purge
from program_service.bookkeeping.ledger.recording import record, record_at_once, record_unlocked
from program_service.bookkeeping.ledger.registry import (
    CALLBACK,
    IN_PROCESS,
    Endpoint,
    Job,
    Secret,
    find_job,
    register_jobs,
    register_unlocked,
)
from program_service.bookkeeping.ledger.renewing import Hold, renew
from program_service.bookkeeping.ledger.sessions import (
    NewSession,
    begin_session,
    end_session,
    forget_sessions,
    see_session,
    sign_out,
)
from program_service.bookkeeping.ledger.setting_aside import SetAside, set_aside, set_aside_alone
from program_service.bookkeeping.ledger.steering import cancel, resume
from program_service.bookkeeping.ledger.submitting import submit, submit_at_once, submit_unlocked
from program_service.bookkeeping.ledger.token_keys import require_token_key, rotate_token_key
from program_service.bookkeeping.ledger.waking import find_due, mark_woken
from program_service.bookkeeping.ledger.welcoming import announce
from program_service.bookkeeping.ledger.workers import (
    Worker,
    beat,
    forget_gone,
    leave,
    request_drain,
)
from program_service.bookkeeping.lifecycle import (
    Accepted,
    Claimed,
    Done,
    Fail,
    LetGo,
    RetryLater,
)
from program_service.telemetry import Metrics
from program_workers.catalogue import Catalogue
from program_workers.library import JobLibrary
from program_workers.recorder import Recorder
from program_workers.room import Room

Doing: TypeAlias = Callable[[], Awaitable[Any]]
Prepare: TypeAlias = Callable[[Database], Awaitable[Doing]]

BEAT_S = 5.0
DAY = timedelta(days=1)
URL = "https://shop.example/charge"
MARY = Worker("mary", "host", "1.0.0", ["default"], ["reserve"], 9, 0, {}, process="mary~1")


@dataclass(frozen=True, slots=True)
class Case:
    """An operation: the functions that its transaction is made of, and how it is prepared."""

    works: tuple[str, ...]
    prepare: Prepare


CASES: dict[str, Case] = {}


def of(*works: Callable[..., Any]) -> Callable[[Prepare], Prepare]:
    """List a case."""

    def listed(prepare: Prepare) -> Prepare:
        CASES[prepare.__name__] = Case(tuple(work.__name__ for work in works), prepare)
        return prepare

    return listed


@of(submit)
async def submit_with_a_key(database: Database) -> Doing:
    programs = [a_program("run-1"), a_program("run-2", idempotency=a_key("k"))]
    return partial(database.transact, submit, programs)


@of(submit)
async def submit_with_the_key_of_a_program_that_is_gone(database: Database) -> Doing:
    await submitted(database, "run-1", idempotency=a_key("k"))
    await _delete_by_hand(database, "run-1")
    program = a_program("run-2", idempotency=a_key("k", body="another"))
    return partial(database.transact, submit, [program])


@of(submit)
async def submit_with_a_key_that_came_before(database: Database) -> Doing:
    await submitted(database, "run-1", idempotency=a_key("k"))
    return partial(database.transact, submit, [a_program("run-2", idempotency=a_key("k"))])


@of(submit_at_once)
async def submit_without_a_key(database: Database) -> Doing:
    return partial(database.transact, submit_at_once, [a_program("run-1"), a_program("run-2")])


@of(submit_unlocked)
async def submit_without_waiting(database: Database) -> Doing:
    programs = [a_program("run-1"), a_program("run-2", idempotency=a_key("k"))]
    return partial(database.transact, submit_unlocked, programs)


@of(register_unlocked)
async def register_jobs_without_waiting(database: Database) -> Doing:
    return partial(database.transact, register_unlocked, [Job("mail", IN_PROCESS, "q", None, {})])


@of(claim, claim_at_once)
async def claim_what_nobody_held(database: Database) -> Doing:
    await submitted(database, "run-1")
    return _claiming(database, "run-1")


@of(claim)
async def claim_a_lapsed_lease(database: Database) -> Doing:
    await claimed(database, "run-1", worker="lost")
    await lapse(database, "run-1")
    return _claiming(database, "run-1")


@of(claim)
async def claim_after_a_callback_timed_out(database: Database) -> Doing:
    await _awaited(database)
    await lapse(database, "run-1")
    return _claiming(database, "run-1")


@of(claim)
async def put_suspects_off(database: Database) -> Doing:
    for run_id in ("run-1", "run-2"):
        await claimed(database, run_id, worker="lost")
        await lapse(database, run_id)
    return _claiming(database, "run-1", "run-2")


@of(claim_unlocked)
async def claim_without_waiting(database: Database) -> Doing:
    await submitted(database, "run-1")
    return partial(database.transact, claim_unlocked, [a_claim("run-1")], a_claimant())


@of(renew)
async def renew_leases(database: Database) -> Doing:
    program = await claimed(database, "run-1")
    holds = [Hold(program.id, program.lease), Hold(program.id, "lost")]

    async def do() -> list[str]:
        renewals = await database.transact(renew, holds, lease_s=HOUR_S)
        return sorted(each.value for each in renewals.values())

    return do


@of(record, record_at_once)
async def record_a_step(database: Database) -> Doing:
    return _recording(database, await claimed(database, "run-1"), Done())


@of(record, record_at_once)
async def record_the_last_step(database: Database) -> Doing:
    program = await claimed(database, "run-1", jobs=["ship"], notify="https://shop.example/ended")
    return _recording(database, program, Done())


@of(record)
async def record_a_step_with_data(database: Database) -> Doing:
    program = await claimed(database, "run-1", job_data={"reserve": {"seat": 12}})
    return _recording(database, program, Done({"row": 4}))


@of(record, record_at_once)
async def record_a_retry(database: Database) -> Doing:
    return _recording(database, await claimed(database, "run-1"), later())


@of(record_unlocked)
async def record_without_waiting(database: Database) -> Doing:
    program = await claimed(database, "run-1", job_data={"reserve": {"seat": 12}})
    return partial(database.transact, record_unlocked, [a_record(program, Done({"row": 4}))])


@of(change_job_data_unlocked)
async def change_data_without_waiting(database: Database) -> Doing:
    program = await claimed(database, "run-1")
    edits = [JobDataEdit(program, "set", {"a": 1}), JobDataEdit(program, "merge", {"b": 2})]
    return partial(database.transact, change_job_data_unlocked, edits)


@of(record)
async def let_go_of_a_cancelled_program(database: Database) -> Doing:
    program = await claimed(database, "run-1")
    await database.transact(cancel, "run-1")
    return _recording(database, program, LetGo())


@of(set_aside)
async def set_a_program_aside(database: Database) -> Doing:
    return partial(database.transact, set_aside, await _aside(database))


@of(set_aside_alone)
async def set_a_program_aside_alone(database: Database) -> Doing:
    return partial(database.transact, set_aside_alone, await _aside(database))


@of(change_job_data)
async def change_data_of_a_running_job(database: Database) -> Doing:
    program = await claimed(database, "run-1")
    edits = [JobDataEdit(program, "set", {"a": 1}), JobDataEdit(program, "merge", {"b": 2})]
    return partial(database.transact, change_job_data, edits)


@of(edit_job_data)
async def replace_data_from_outside(database: Database) -> Doing:
    await submitted(database, "run-1", job_data={"reserve": {"a": 1}})
    value = {"b": True}
    audit = _entry("job_data_changed")
    return partial(
        database.transact, edit_job_data, "run-1", "reserve", kind="set", value=value, entry=audit
    )


@of(edit_job_data)
async def merge_data_from_outside(database: Database) -> Doing:
    await submitted(database, "run-1", job_data={"reserve": {"a": 1}})
    value = {"a": True}
    return partial(database.transact, edit_job_data, "run-1", "reserve", kind="merge", value=value)


@of(cancel)
async def cancel_a_program(database: Database) -> Doing:
    await claimed(database, "run-1", notify="https://shop.example/ended")
    return partial(database.transact, cancel, "run-1", _entry("program_cancelled"))


@of(cancel)
async def cancel_what_is_cancelled(database: Database) -> Doing:
    await submitted(database, "run-1")
    await database.transact(cancel, "run-1")
    return partial(database.transact, cancel, "run-1")


@of(resume)
async def resume_a_program(database: Database) -> Doing:
    await stands(database, await claimed(database, "run-1"), Fail(a_failure()))
    audit = _entry("program_resumed")
    return partial(database.transact, resume, "run-1", queues={"reserve": "seats"}, entry=audit)


@of(resume)
async def resume_from_another_step(database: Database) -> Doing:
    await submitted(database, "run-1")
    await database.transact(cancel, "run-1")
    return partial(database.transact, resume, "run-1", queues={}, from_step=2)


@of(settle_callback)
async def complete_a_step(database: Database) -> Doing:
    return _reporting(database, await _awaited(database), Done({"receipt": 7}))


@of(settle_callback)
async def complete_a_step_that_is_still_held(database: Database) -> Doing:
    return _reporting(database, await claimed(database, "run-1"), Done())


@of(settle_callback)
async def complete_the_last_step(database: Database) -> Doing:
    return _reporting(database, await _awaited(database, jobs=["ship"]), Done())


@of(settle_callback)
async def fail_a_step(database: Database) -> Doing:
    return _reporting(database, await _awaited(database), Fail(a_failure()))


@of(settle_callback)
async def fail_a_try(database: Database) -> Doing:
    return _reporting(database, await _awaited(database), later())


@of(prolong)
async def prolong_a_step(database: Database) -> Doing:
    ticket = _ticket(await _awaited(database))
    return partial(database.transact, prolong, ticket, within_s=HOUR_S)


@of(merge_callback_data)
async def merge_data_of_a_step(database: Database) -> Doing:
    ticket = _ticket(await _awaited(database))
    return partial(database.transact, merge_callback_data, ticket, {"page": 7})


@of(put_endpoint)
async def put_a_new_endpoint(database: Database) -> Doing:
    return _putting(database, brings_secret=False)


@of(put_endpoint)
async def put_an_endpoint_again(database: Database) -> Doing:
    await _put(database, secret="whsec_old")
    return _putting(database, brings_secret=False)


@of(put_endpoint)
async def put_an_endpoint_with_another_secret(database: Database) -> Doing:
    await _put(database, secret="whsec_old")
    return _putting(database, brings_secret=True)


@of(put_endpoint)
async def put_an_endpoint_in_place_of_a_function(database: Database) -> Doing:
    await database.transact(register_jobs, [Job("charge", IN_PROCESS, "default", None, {})])
    return _putting(database, brings_secret=False)


@of(rotate_secret)
async def rotate_a_secret(database: Database) -> Doing:
    await _put(database, secret="whsec_old")
    audit = _entry("secret_rotated")
    return partial(
        database.transact, rotate_secret, "charge", "whsec_new", overlap=DAY, entry=audit
    )


@of(require_token_key)
async def make_the_first_token_key(database: Database) -> Doing:
    return partial(database.transact, require_token_key, "ab" * 32)


@of(rotate_token_key)
async def rotate_the_token_key(database: Database) -> Doing:
    await database.transact(require_token_key, "ab" * 32)
    return partial(database.transact, rotate_token_key, "cd" * 32, overlap=DAY)


@of(disable_endpoint)
async def disable_an_endpoint(database: Database) -> Doing:
    await _put(database, secret="whsec_old")
    job = await database.read(find_job, "charge")
    at = job.last_seen_at
    return partial(database.transact, disable_endpoint, "charge", url=URL, registered_at=at)


@of(delete_job)
async def delete_a_job(database: Database) -> Doing:
    await _put(database, secret="whsec_old")
    audit = _entry("job_deleted")
    return partial(database.transact, delete_job, "charge", beat_s=BEAT_S, entry=audit)


@of(register_jobs)
async def register_functions(database: Database) -> Doing:
    job = Job("reserve", IN_PROCESS, "default", 2.5, {"max_attempts": 3})
    return partial(database.transact, register_jobs, [job])


@of(announce)
async def announce_a_worker(database: Database) -> Doing:
    for run_id, queue in (("run-1", "elsewhere"), ("run-2", "seats")):
        await overdue(database, run_id, queue=queue)
        await by_hand(database, run_id, woken_at=seconds_ago(database, 1))
    return partial(database.transact, announce, {"reserve": "seats"}, worker=MARY, beat_s=BEAT_S)


@of(beat)
async def beat_without_a_welcome(database: Database) -> Doing:
    return partial(database.transact, beat, MARY)


@of(leave)
async def take_leave(database: Database) -> Doing:
    await database.transact(announce, {}, worker=MARY, beat_s=BEAT_S)
    return partial(database.transact, leave, "mary~1")


@of(forget_gone)
async def forget_processes_that_were_killed(database: Database) -> Doing:
    await database.transact(announce, {}, worker=MARY, beat_s=BEAT_S)
    workers = database.tables.workers
    async with database.engine.begin() as connection:
        long_ago = seconds_ago(database, 2 * HOUR_S)
        await connection.execute(sa.update(workers).values(last_seen_at=long_ago))
    return partial(database.transact, forget_gone)


@of(mark_woken)
async def mark_what_was_woken(database: Database) -> Doing:
    await overdue(database, "run-1", queue="elsewhere")
    page = await database.read(find_due, jobs=["reserve"], limit=10)
    rows = [replace(row, queue="seats", former_queue=row.queue) for row in page.rows]
    return partial(database.transact, mark_woken, rows)


@of(claim_untold)
async def claim_notifications(database: Database) -> Doing:
    return await _claiming_untold(database)


@of(mark_told)
async def mark_who_was_told(database: Database) -> Doing:
    claims: list[Claim] = await (await _claiming_untold(database))()
    again_in_s = {"told": None, "later": 2.0}
    told = [Told(each, 1, again_in_s[each.untold.run_id]) for each in claims]
    return partial(database.transact, mark_told, told)


async def _claiming_untold(database: Database) -> Doing:
    for run_id in ("told", "later"):
        await submitted(database, run_id, notify="https://shop.example/ended")
        await database.transact(cancel, run_id)

    def plan(untold: Sequence[Untold]) -> dict[int, Put]:
        return {each.id: Put(60.0, each.tries + 1) for each in untold}

    return partial(database.transact, claim_untold, limit=10, plan=plan)


@of(purge)
async def purge_programs(database: Database) -> Doing:
    for run_id in ("run-1", "run-2", "run-3"):
        await submitted(database, run_id, idempotency=a_key(run_id))
        await database.transact(cancel, run_id)
        await by_hand(database, run_id, errored_at=seconds_ago(database, 48 * HOUR_S))
    return partial(database.transact, purge, older_than=DAY, limit=2)


@of(forget_keys)
async def forget_keys_of_programs_that_are_gone(database: Database) -> Doing:
    for run_id in ("run-1", "run-2", "run-3", "run-4"):
        await submitted(database, run_id, idempotency=a_key(run_id))
        if run_id != "run-2":
            await _delete_by_hand(database, run_id)
    return partial(database.transact, forget_keys, after="", limit=3)


@of(forget_counts)
async def forget_old_counts(database: Database) -> Doing:
    rollups = database.tables.rollups
    for days in (9, 8, 7):
        await submitted(database, f"run-{days}")
        await database.transact(cancel, f"run-{days}")
        async with database.engine.begin() as connection:
            old = seconds_ago(database, days * 24 * HOUR_S)
            is_new = rollups.c.minute > seconds_ago(database, HOUR_S)
            await connection.execute(sa.update(rollups).where(is_new).values(minute=old))
    return partial(database.transact, forget_counts, older_than=DAY)


@of(add_key)
async def make_a_key(database: Database) -> Doing:
    return partial(database.transact, add_key, A_KEY, _entry("key_made"))


@of(revoke_key)
async def revoke_a_key(database: Database) -> Doing:
    await database.transact(add_key, A_KEY, _entry("key_made"))
    return partial(database.transact, revoke_key, A_KEY.id, _entry("key_revoked"))


@of(note_uses)
async def note_uses_of_keys(database: Database) -> Doing:
    await database.transact(add_key, A_KEY, _entry("key_made"))
    return partial(database.transact, note_uses, {A_KEY.digest})


@of(begin_session)
async def sign_in(database: Database) -> Doing:
    return partial(database.transact, begin_session, A_SESSION, _entry("signed_in"), lasts_s=HOUR_S)


@of(see_session)
async def see_who_is_signed_in(database: Database) -> Doing:
    await _signed_in(database)
    await _seen_long_ago(database)
    return partial(database.transact, see_session, A_SESSION.digest)


@of(sign_out)
async def leave_the_dashboard(database: Database) -> Doing:
    await _signed_in(database)
    return partial(database.transact, sign_out, A_SESSION.digest, _entry("signed_out"))


@of(end_session)
async def end_the_session_of_another(database: Database) -> Doing:
    await _signed_in(database)
    return partial(database.transact, end_session, A_SESSION.digest[:16], _entry("session_ended"))


@of(forget_sessions)
async def forget_silent_sessions(database: Database) -> Doing:
    await _signed_in(database)
    await _seen_long_ago(database)
    return partial(database.transact, forget_sessions, idle_s=60, limit=10)


@of(forget_old_keys)
async def forget_keys_that_were_revoked(database: Database) -> Doing:
    keys = database.tables.keys
    for digest in ("ab" * 32, "cd" * 32):
        await database.transact(add_key, replace(A_KEY, digest=digest), _entry("key_made"))
    long_ago = seconds_ago(database, 99 * 24 * HOUR_S)
    revoked = sa.update(keys).where(keys.c.digest == A_KEY.digest)
    async with database.engine.begin() as connection:
        await connection.execute(revoked.values(created_at=long_ago, revoked_at=long_ago))
    return partial(database.transact, forget_old_keys, limit=10)


@of(forget_entries)
async def forget_old_entries(database: Database) -> Doing:
    old = replace(_entry("signed_in"), id="00000000-0000-7000-8000-000000000000")
    for entry in (old, _entry("signed_in")):
        await database.transact(begin_session, A_SESSION, entry, lasts_s=HOUR_S)
    return partial(database.transact, forget_entries, older_than=DAY, limit=10)


async def _signed_in(database: Database) -> None:
    entry = _entry("signed_in")
    await database.transact(begin_session, A_SESSION, entry, lasts_s=HOUR_S)


async def _seen_long_ago(database: Database) -> None:
    async with database.engine.begin() as connection:
        long_ago = seconds_ago(database, HOUR_S)
        await connection.execute(sa.update(database.tables.sessions).values(last_seen_at=long_ago))


@of(write_entry)
async def write_into_the_audit_trail(database: Database) -> Doing:
    return partial(database.transact, write_entry, _entry("programs_steered"))


@of(request_drain)
async def drain_a_worker(database: Database) -> Doing:
    await database.transact(announce, {}, worker=MARY, beat_s=BEAT_S)
    return partial(database.transact, request_drain, "mary~1", _entry("worker_drained"))


A_SESSION = NewSession("ef" * 32, "ab" * 32, "mailer")
A_KEY = ApiKey("ab" * 32, "mailer", ["submit", "read"], label=("tenant", "acme"))


def _entry(action: str) -> Entry:
    return Entry(action, "admin", "127.0.0.1", target=A_KEY.id)


async def _delete_by_hand(database: Database, run_id: str) -> None:
    programs = database.tables.programs
    async with database.engine.begin() as connection:
        await connection.execute(sa.delete(programs).where(programs.c.run_id == run_id))


async def _aside(database: Database) -> SetAside:
    program = await claimed(database, "run-1", notify="https://shop.example/ended")
    return SetAside(program.id, program.run_id, program.lease, WORKER, a_failure())


async def _awaited(database: Database, **fields: Any) -> Claimed:
    program = await claimed(database, "run-1", **fields)
    await stands(database, program, Accepted(within_s=600))
    return program


def _ticket(program: Claimed) -> Ticket:
    return Ticket(program.run_id, program.step, program.resumes, program.attempt)


def _reporting(database: Database, program: Claimed, outcome: Done | RetryLater | Fail) -> Doing:
    report = Report(_ticket(program), outcome)
    return partial(database.transact, settle_callback, report, queues={"charge": "tills"})


def _recorder(database: Database) -> Recorder:
    room = Room(Catalogue(JobLibrary()), threads=1)
    return Recorder(database, Metrics(), a_claimant(), room=room)


def _claiming(database: Database, *run_ids: str) -> Doing:
    return partial(_recorder(database)._claim, [a_claim(run_id) for run_id in run_ids])


def _recording(database: Database, program: Claimed, outcome: Done | RetryLater | LetGo) -> Doing:
    return partial(_recorder(database)._record, [a_record(program, outcome)])


def _endpoint(secret: str) -> Job:
    endpoint = Endpoint(URL, [Secret(secret)], token_key="ab" * 32)
    return Job("charge", CALLBACK, "default", 30.0, {}, endpoint=endpoint)


async def _put(database: Database, *, secret: str) -> None:
    job = _endpoint(secret)
    assert job.endpoint is not None
    known = replace(job, endpoint=replace(job.endpoint, token_key="cd" * 32))
    await database.transact(put_endpoint, known, brings_secret=True, beat_s=BEAT_S)


def _putting(database: Database, *, brings_secret: bool) -> Doing:
    job = _endpoint("whsec_new")
    audit = _entry("job_registered")
    return partial(
        database.transact,
        put_endpoint,
        job,
        brings_secret=brings_secret,
        beat_s=BEAT_S,
        entry=audit,
    )
