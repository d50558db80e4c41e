"""Events: every line that we log, with its level, its fields and when it is written.

`docs/events.md` is generated from this module, and a test holds every call of `log` against it.
"""

from enum import StrEnum
from typing import Self

FIELDS = {
    "action": "the event again: alerts on the Node library look for it",
    "announcements": "how many",
    "at": "file, line and function that the thread is in; null where that is not known",
    "attempt": "the number of this try of the step, from 1",
    "by": "the name of the API key, or `anybody` where there are none",
    "changes": "what was changed, in words",
    "client": "the address that the request came from, as uvicorn knows it",
    "command": "`serve`, `work`, `dev` or `fleet` (`work --processes`)",
    "content": "`run_id`, `job` and `step` as one object, as the Node library had it",
    "did_you_mean": "the setting that it is most like; none if none is",
    "during": "what was being done: it is tried again",
    "error_code": "the code that the error carries, or null",
    "error_message": "what went wrong, in the words of whoever raised it",
    "error_stack": "the traceback of the job's exception, or null",
    "exception": "the traceback",
    "exit_code": "how the process ended; -9 is SIGKILL",
    "failing_s": "for how many seconds it had failed",
    "failures": "how many times in a row",
    "hook": "`retry`, `error` or `finish`",
    "host": "the name of the machine, or of the pod",
    "how": "`drained` by itself, `released` what still ran, or `abandoned` a thread",
    "is_over": "whether the loop runs again",
    "job": "the name of the job",
    "jobs": "how many jobs it knows",
    "key_id": "the id of an API key, the beginning of its hash",
    "key_name": "the name of an API key",
    "line": "the line of code there",
    "lines": "how many lines",
    "loop": "the background loop, by its name",
    "name": "`program-executor`, as the Node library called itself",
    "number": "which of the processes, from 0",
    "other_host": "the host of the other",
    "other_pid": "the process id of the other; null for a worker of an older release",
    "other_process": "the other, as `process`",
    "outcome": "the word for it in the list of attempts",
    "overlap_s": "how long older keys stay valid, in seconds",
    "path": "the path of the request",
    "pid": "the process id on that host",
    "process": "the process, as `GET /workers` names it: the worker's name and a random part",
    "programs": "how many programs",
    "queue": "the queue, by its name in the settings; `control` is what cancels go through",
    "reason": "why the lease is gone, or the process ends",
    "refused": "how many by reason, as {reason: how many}",
    "restart_in_s": "in how many seconds it is started again",
    "retry_in_s": "in how many seconds the step is tried again",
    "row": "the row, by its name",
    "run_id": "the program",
    "running": "how many programs it still runs",
    "seconds": "for how long, so far or in all",
    "session_id": "the id of a session of the dashboard",
    "slots": "how many programs it runs at a time",
    "step": "the index of the job in the program, from 0",
    "target": "the host that was called, with its port",
    "text": "what it means, in words",
    "threads": "the plain jobs that ran meanwhile, by processor time, if no async job is the cause",
    "times": "how often in a row",
    "tries": "how often it was tried",
    "variable": "the name of the variable",
    "version": "the version that runs",
    "wakeups": "how many",
    "what": "in a word: what was done, or what was wrong",
    "where": "where it was raised, in words",
    "worker": "its name",
}
"""What each field means, in every event that has it."""

FAILURE = "name action content error_message error_stack error_code attempt run_id job step"
ACTOR = "by client"


class Event(StrEnum):
    """The names of our log events; a name never changes its meaning.

    Each says its level, when it is logged, and its fields. The two `Consumer error` names are the
    Node library's, so that alerts built on them go on working.
    """

    level: str
    when: str
    fields: tuple[str, ...]

    def __new__(cls, name: str, level: str, when: str, fields: str = "") -> Self:
        """Make a name that knows the rest; `fields` are words."""
        event = str.__new__(cls, name)
        event._value_ = name
        event.level, event.when, event.fields = level, when, tuple(fields.split())
        return event

    SERVICE_STARTED = "service.started", "info", "The API answers.", "version"
    SERVICE_STOPPED = "service.stopped", "info", "The service has ended all that it did."
    SERVICE_OPEN = (
        "service.without_keys",
        "warning",
        "There are no API keys: everybody who can connect may call.",
        "text",
    )
    REQUEST_FAILED = (
        "request.failed",
        "error",
        "A request met a bug of ours and got a 500.",
        "path exception",
    )
    HTTP_REFUSED = (
        "http.refused",
        "warning",
        "Clients took too long, or sent too much, within the last minute.",
        "refused",
    )
    DATABASE_UNAVAILABLE = (
        "database.unavailable",
        "warning",
        "The database did not answer; it is tried again.",
        "during error_message",
    )
    ROW_UNREADABLE = (
        "row.unreadable",
        "warning",
        "What is stored of a `job` or a `worker` cannot be read: it is not used. Logged once.",
        "what row error_message",
    )
    STEP_REPEATED = (
        "step.repeated",
        "warning",
        "A step is begun again for free (`lease_lost`, `no_progress`); after 10 times it counts.",
        "run_id job step what times",
    )
    DATABASE_REJECTS = (
        "database.rejects_statement",
        "error",
        "A privilege or a table is missing, or it is a bug; programs wait, and it is tried again.",
        "during error_message",
    )
    COMMIT_FAILED = (
        "commit.failed",
        "error",
        "What was to be committed met a bug of ours; only that item is refused.",
        "during error_message exception",
    )
    ROW_LOCKED = (
        "program.row_locked",
        "warning",
        "Another session has locked the row of a program; others go ahead, and it is tried again.",
        "run_id during seconds",
    )
    ROW_REFUSED = (
        "program.row_refused",
        "error",
        "The database refuses to have the row of a program changed; others go ahead.",
        "run_id during error_message",
    )
    STEP_GIVEN_BACK = (
        "step.given_back",
        "warning",
        "A step met a database that was away; it is begun again later, and costs no attempt.",
        "run_id job step times error_message",
    )
    DATABASE_MIGRATED = "database.migrated", "info", "The tables are up to date, since the start."
    MIGRATION_WAITS = (
        "migration.waits",
        "warning",
        "Somebody holds a lock that a change of the tables needs; it is tried again.",
        "error_message",
    )
    LOOK_FAILED = (
        "wait.look_failed",
        "warning",
        "A program that a client waits for cannot be looked for; others are.",
        "run_id error_message",
    )
    WORKER_STARTED = "worker.started", "info", "A worker takes work.", "worker slots jobs"
    WORKER_QUIET = (
        "worker.quiet",
        "info",
        "A worker was told to stop, or to drain, and takes no more work.",
        "worker running",
    )
    WORKER_STOPPED = "worker.stopped", "info", "A worker has ended its work.", "worker how"
    WORKER_NAMESAKE = (
        "worker.name_in_use",
        "warning",
        "Another live process has this worker's name. Both work; `claimed_by` does not tell which.",
        "worker process host pid other_process other_host other_pid",
    )
    WORKER_DIED = (
        "worker.died",
        "error",
        "A child of `--processes` ended unasked; it is started again.",
        "number exit_code restart_in_s",
    )
    WORKER_NOT_STARTED = (
        "worker.not_started",
        "error",
        "A child of `--processes` could not be started; it is tried again.",
        "number error_message",
    )
    WORKER_KILLED = (
        "worker.killed",
        "error",
        "A child of `--processes` did not end in its grace time and 15 seconds more.",
        "number",
    )
    LINES_LOST = (
        "log.lines_lost",
        "warning",
        "Nobody read standard error for so long that lines had to be thrown away; these go on.",
        "lines",
    )
    PROCESS_ENDED = (
        "process.ended",
        "info",
        "A process of ours ends, as it was told to or because its work is done.",
        "command reason exit_code",
    )
    PROCESS_FAILED = (
        "process.failed",
        "error",
        "A process of ours ends because it cannot go on; with a traceback if nobody expected that.",
        "command reason exit_code exception",
    )
    PROCESS_RESTORED = (
        "process.restored",
        "warning",
        "A job module changed what its worker depends on; that was undone.",
        "changes",
    )
    SETTING_UNKNOWN = (
        "setting.unknown",
        "warning",
        "A variable with our prefix is not a setting: it has no effect.",
        "variable did_you_mean",
    )
    IMPORT_SLOW = (
        "jobs.import_slow",
        "warning",
        "The jobs are still being imported; the worker takes no work before they are.",
        "seconds at line",
    )
    UNCAUGHT = (
        "exception.uncaught",
        "error",
        "An exception that nobody waits for: of a thread, a callback, a destructor.",
        "where error_message exception",
    )
    LOOP_FAILED = (
        "loop.failed",
        "error",
        "A background loop failed; it is restarted, and all others continue.",
        "loop error_message failures restart_in_s exception",
    )
    LOOP_STUCK = (
        "loop.stuck",
        "error",
        "A background loop did not end when the process stopped; it is abandoned.",
        "loop",
    )
    LOOP_BLOCKED = (
        "loop.blocked",
        "warning",
        "A job that does not await, or keeps the interpreter's lock, holds up its worker: twice.",
        "seconds is_over run_id job step at line threads",
    )
    WAKEUP_NOT_CONFIRMED = (
        "wakeup.not_confirmed",
        "warning",
        "Wake-ups were perhaps not sent; the sweeper will wake instead.",
        "wakeups error_message",
    )
    WAKEUP_AGAIN = (
        "wakeup.again",
        "info",
        "Wake-ups brought no claim and are sent again: they were lost, or no worker had room.",
        "queue programs",
    )
    WAKEUP_DROPPED = (
        "wakeup.dropped",
        "info",
        "No worker could take these programs, three times in a row; the sweeper wakes for them.",
        "queue programs",
    )
    WAKEUP_UNPARSABLE = (
        "wakeup.unparsable",
        "warning",
        "A message was none of ours.",
        "queue error_message",
    )
    JOB_NOT_REGISTERED = (
        "job.not_registered",
        "warning",
        "The row of a worker's job is locked, or the database refuses it; it is tried again.",
        "job error_message",
    )
    WELCOME_REFUSED = (
        "worker.welcome_refused",
        "warning",
        "The database refuses to have programs moved to a worker's queues; the sweeper wakes them.",
        "worker error_message",
    )
    CLAIM_REFUSED = (
        "claim.refused_by_database",
        "warning",
        "The database refuses to have a program claimed, or there can be none of that name.",
        "run_id error_message",
    )
    BROKER_LOST = (
        "broker.lost",
        "warning",
        "RabbitMQ did not answer; it is tried again.",
        "during queue error_message",
    )
    BROKER_BLOCKED = (
        "broker.blocked",
        "warning",
        "RabbitMQ takes no messages from anybody: it is short of memory or of disk space.",
        "error_message",
    )
    BROKER_UNBLOCKED = "broker.unblocked", "info", "RabbitMQ takes messages again."
    QUEUE_DIFFERS = (
        "queue.differs",
        "warning",
        "A queue has other arguments than ours, or may not be declared; it is used as it is.",
        "queue error_message text",
    )
    QUEUE_UNUSABLE = (
        "queue.unusable",
        "warning",
        "A queue cannot be used, for a reason that deleting it would not remove.",
        "during queue error_message",
    )
    ANNOUNCEMENTS_DROPPED = (
        "announcements.dropped",
        "warning",
        "Announcements to workers could not be sent for 30 s; workers notice at their renewals.",
        "announcements",
    )
    QUEUE_DELETED = (
        "queue.deleted",
        "warning",
        "A queue took and gave nothing while others worked; it is made again, and nothing is lost.",
        "queue failing_s",
    )
    LEASE_LOST = (
        "lease.lost",
        "info",
        "A program ended, or is another worker's now; its job is stopped.",
        "run_id reason",
    )
    THREAD_OUTLIVES = (
        "thread.outlives_its_step",
        "warning",
        "A plain job was stopped and has not returned; it keeps its slot until it does.",
        "run_id job",
    )
    OUTCOME_REFUSED = (
        "outcome.refused_by_database",
        "error",
        "What a step came to cannot be stored; the program errors.",
        "run_id error_message",
    )
    OUTCOME_STALE = (
        "outcome.stale",
        "info",
        "What a step came to was dropped, for its lease had been lost.",
        "run_id step",
    )
    PROGRAM_FAILED_INTERNALLY = (
        "program.failed_internally",
        "error",
        "An unforeseen exception around one program; if its step is not recorded yet, it errors.",
        "during run_id exception",
    )
    PROGRAM_SET_ASIDE = (
        "program.set_aside",
        "error",
        "A program's row cannot be read, or no attempt of it recorded: the program errors.",
        "run_id error_message",
    )
    HOOK_FAILED = "hook.failed", "error", "A hook raised.", "hook error_message"
    JOB_DONE = (
        "job.done",
        "debug",
        "A try ended without an error, and the program goes on.",
        "outcome attempt run_id job step",
    )
    ANSWER_UNREADABLE = (
        "answer.unreadable",
        "error",
        "The answer of an endpoint could not be read; its step fails with `bad_answer`.",
        "error_message exception",
    )
    CALL_FAILED = (
        "call.failed_unexpectedly",
        "error",
        "A call to an endpoint or a `notify` address raised something unexpected.",
        "target error_message exception",
    )
    JOB_DISABLED = (
        "job.disabled",
        "warning",
        "An endpoint answered 410; it is called no more.",
        "job",
    )
    JOB_REFUSED = (
        "job.refused",
        "warning",
        "A job of the file `CALLBACK_JOBS` cannot be registered.",
        "job error_message",
    )
    NOTIFY_FAILED = (
        "notify.failed",
        "warning",
        "A notification of an end, or of a cancel, was not accepted; it is tried again.",
        "run_id tries error_message",
    )
    NOTIFY_GIVEN_UP = (
        "notify.given_up",
        "error",
        "A notification was not accepted in 20 tries, or its host did not respond for a day.",
        "run_id tries error_message",
    )
    NOTIFY_PAUSED = (
        "notify.host_paused",
        "warning",
        "A host did not respond five times in a row; notifications to it wait, and others go on.",
        "target error_message",
    )
    NOTIFY_REFUSED = (
        "notify.refused_by_database",
        "error",
        "The database refuses to store that a notification is sent, or was; it is left out.",
        "run_id error_message",
    )
    NOTIFY_DROPPED = (
        "notify.dropped",
        "warning",
        "Cancels were not sent: their host is silent, too many waited, or the process stopped.",
        "programs",
    )
    TASK_FAILED = (
        "task.failed",
        "error",
        "Something unexpected was raised in what a loop does for one program; all others continue.",
        "loop error_message exception",
    )
    JOB_RETRY = (
        "Consumer error retry",
        "warning",
        "A step failed and is tried again.",
        f"{FAILURE} retry_in_s",
    )
    PROGRAM_ERROR = (
        "Consumer error finish",
        "error",
        "A step failed for good; the program errored.",
        FAILURE,
    )
    PROGRAM_IGNORED = (
        "program.ended_ignorably",
        "info",
        "The program errored with an ignorable error.",
        "error_message run_id job step",
    )
    PROGRAM_CANCELLED = "program.cancelled", "info", "A program was cancelled.", "run_id job step"
    PROGRAM_FINISHED = (
        "program.finished",
        "debug",
        "A program finished with its last step.",
        "outcome attempt run_id job step",
    )
    PROGRAMS_PURGED = (
        "programs.purged",
        "info",
        "Old programs were deleted, in one go.",
        "programs",
    )
    PURGE_HELD_UP = (
        "purge.held_up",
        "warning",
        "Something old could not be deleted: it is locked, or the database refuses; it is left.",
        "run_id error_message",
    )
    AUDIT_CANCELLED = (
        "audit.program_cancelled",
        "info",
        "Somebody cancelled a program.",
        f"run_id {ACTOR}",
    )
    AUDIT_RESUMED = (
        "audit.program_resumed",
        "info",
        "Somebody resumed a program; `step` is where it goes on.",
        f"run_id step {ACTOR}",
    )
    AUDIT_BULK = (
        "audit.programs_steered",
        "info",
        "Somebody cancelled or resumed many, on the dashboard; each has a line of its own, too.",
        f"what programs {ACTOR}",
    )
    AUDIT_JOB_DATA = (
        "audit.job_data_changed",
        "info",
        "Somebody replaced (`set`) a job's data, or merged into them (`merge`).",
        f"what run_id job {ACTOR}",
    )
    AUDIT_JOB_PUT = (
        "audit.job_registered",
        "info",
        "Somebody registered (`new`) or changed (`changed`) an endpoint.",
        f"what job {ACTOR}",
    )
    AUDIT_JOB_DELETED = "audit.job_deleted", "info", "Somebody deleted a job.", f"job {ACTOR}"
    AUDIT_SECRET_ROTATED = (
        "audit.secret_rotated",
        "info",
        "Somebody gave an endpoint a new secret.",
        f"job {ACTOR}",
    )
    AUDIT_TOKEN_KEY_ROTATED = (
        "audit.token_key_rotated",
        "info",
        "Somebody gave the deployment a new key for callback tokens.",
        f"overlap_s {ACTOR}",
    )
    AUDIT_WORKER_DRAINED = (
        "audit.worker_drained",
        "info",
        "Somebody asked, on the dashboard, that a worker take no more programs.",
        f"worker {ACTOR}",
    )
    AUDIT_SIGNED_IN = "audit.signed_in", "info", "Somebody opened the dashboard.", ACTOR
    AUDIT_SIGNED_OUT = "audit.signed_out", "info", "Somebody left the dashboard.", ACTOR
    AUDIT_SESSION_ENDED = (
        "audit.session_ended",
        "info",
        "Somebody ended a session of the dashboard.",
        f"session_id {ACTOR}",
    )
    AUDIT_KEY_MADE = (
        "audit.key_made",
        "info",
        "Somebody made an API key.",
        f"key_id key_name {ACTOR}",
    )
    AUDIT_KEY_REVOKED = (
        "audit.key_revoked",
        "info",
        "Somebody revoked an API key.",
        f"key_id {ACTOR}",
    )
    AUDIT_REFUSED = (
        "audit.refused",
        "info",
        "A wrong `key`, `cookie`, `token` or `sign-in`.",
        "what client",
    )
    AUDIT_TOO_MANY = (
        "audit.too_many_failed_tries",
        "warning",
        "An address failed so often that it is told to wait; more of it is not logged meanwhile.",
        "what client seconds",
    )
