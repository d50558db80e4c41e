"""Crash points: named places where a test has a process die, as a crash would have it.

`PROGRAM_EXECUTOR_CRASH_AT=record.before_commit:2` makes a process kill itself when it comes to that
place the second time. This is no setting: nobody but the tests sets it, and without it each place
costs one look at a constant. The places lie where a crash leaves the table, the broker and the
world outside in different states; `tests/chaos/test_crash_points.py` goes through all of them.
"""

import os
import signal
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

VARIABLE = "PROGRAM_EXECUTOR_CRASH_AT"


class CrashPoint(StrEnum):
    """All of them, in the order of a program's story.

    The two at a commit bear the name of the function whose transaction it is.
    """

    SUBMIT_BEFORE_COMMIT = "submit.before_commit"
    SUBMIT_AFTER_COMMIT = "submit.after_commit"
    RELAY_TAKEN = "relay.taken"
    WAKE_PUBLISHED = "wake.published"
    MARK_BEFORE_COMMIT = "mark_woken.before_commit"
    MARK_AFTER_COMMIT = "mark_woken.after_commit"
    SWEEP_DUE = "sweep.due"
    SWEEP_UNANSWERED = "sweep.unanswered"

    INTAKE_RECEIVED = "intake.received"
    CLAIM_BEFORE_COMMIT = "claim.before_commit"
    CLAIM_AFTER_COMMIT = "claim.after_commit"
    INTAKE_HANDED_BACK = "intake.handed_back"
    INTAKE_BEFORE_ACK = "intake.before_ack"
    INTAKE_AFTER_ACK = "intake.after_ack"

    RENEW_BEFORE_COMMIT = "renew.before_commit"
    RENEW_AFTER_COMMIT = "renew.after_commit"
    JOB_DATA_BEFORE_COMMIT = "change_job_data.before_commit"
    JOB_DATA_AFTER_COMMIT = "change_job_data.after_commit"
    STEP_RAN = "step.ran"
    RECORD_BEFORE_COMMIT = "record.before_commit"
    RECORD_AFTER_COMMIT = "record.after_commit"
    STEP_RELEASED = "step.released"
    STEP_RECORDED = "step.recorded"

    CALLBACK_BEFORE_COMMIT = "settle_callback.before_commit"
    CALLBACK_AFTER_COMMIT = "settle_callback.after_commit"
    CANCEL_BEFORE_COMMIT = "cancel.before_commit"
    CANCEL_AFTER_COMMIT = "cancel.after_commit"
    RESUME_BEFORE_COMMIT = "resume.before_commit"
    RESUME_AFTER_COMMIT = "resume.after_commit"

    DRAIN_QUIET = "drain.quiet"
    DRAIN_STOPPED = "drain.stopped"
    DRAIN_ENDED = "drain.ended"
    LEAVE_BEFORE_COMMIT = "leave.before_commit"
    LEAVE_AFTER_COMMIT = "leave.after_commit"


class Aim:
    """The place where this process is to die, and how often it passes it alive."""

    def __init__(self, wish: str) -> None:
        """Read `name` or `name:times`.

        Raises:
            ValueError: there is no such place.
        """
        name, _, times = wish.partition(":")
        self._point = CrashPoint(name)
        self._left = int(times or 1)

    def reach(self, name: str) -> None:
        """Die, if this is the place and the time."""
        if name != self._point:
            return
        self._left -= 1
        if not self._left:
            os.write(2, f"crash point {name} reached\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def aim_from(environment: Mapping[str, str]) -> Aim | None:
    """Read where a process is to die, if anywhere."""
    wish = environment.get(VARIABLE)
    return Aim(wish) if wish else None


_aim = aim_from(os.environ)


def reach(point: CrashPoint) -> None:
    """Die here, if a test wants it."""
    if _aim is not None:
        _aim.reach(point)


def reach_commit(work: Callable[..., Any], when: str) -> None:
    """Die before or after the commit of this function's transaction, if a test wants it."""
    if _aim is not None:
        # forms of the same: one commits by itself, the other waits for no row
        name = work.__name__.removesuffix("_at_once").removesuffix("_unlocked")
        _aim.reach(f"{name}.{when}_commit")
