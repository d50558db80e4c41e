"""Observer: count what became of steps, log it, and call the hooks."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from program_service.bookkeeping.lifecycle import Change, Claimed, Ending
from program_service.logs import log
from program_service.telemetry import Event, Fact, Metrics
from program_service.tracing.spans import Facts, Traces
from program_workers.catalogue import Catalogue
from program_workers.hooks import Hooks, ProgramEvent
from program_workers.library import Hook

ENDED = {Ending.FINISHED: "finished", Ending.ERRORED: "errored"}
MOMENTS = {Ending.FINISHED: "finish", Ending.ERRORED: "error"}


class Observer:
    """Tell people and machines what became of steps."""

    def __init__(
        self, metrics: Metrics, traces: Traces, hooks: Sequence[Hook], catalogue: Catalogue
    ) -> None:
        """Take where to count, whom to tell, and what kind each job is of."""
        self._metrics = metrics
        self._traces = traces
        # a lookup by labels takes a lock and some loops: 5 % of a step's time in the worker
        self._attempts = cache(metrics.attempts.labels)
        self._step_s = cache(metrics.step_s.labels)
        self._finished = cache(metrics.finished.labels)
        self._program_s = cache(metrics.program_s.labels)
        self._catalogue = catalogue
        self._hooks = Hooks(hooks)
        self._is_verbose = logging.getLogger().isEnabledFor(logging.DEBUG)

    async def observe(self, program: Claimed, change: Change, *, ran_s: float) -> None:
        """Count, log and call hooks for a change that is committed."""
        exemplar = self._tell_span(change) if self._traces.is_on else None
        self._count(program, change, ran_s, exemplar)
        self._log(program, change)
        moment = _moment(change)
        if moment is not None and self._hooks:
            await self._hooks.call(_event(moment, program, change))

    def observe_stale(self, program: Claimed) -> None:
        """Log that the fence refused what a step came to."""
        log.info(Event.OUTCOME_STALE, run_id=program.run_id, step=program.step)
        self._traces.current().note({Fact.OUTCOME: "stale"})

    def _tell_span(self, change: Change) -> dict[str, str] | None:
        """Note what became of the step; return what leads from its duration to its trace."""
        span, failure = self._traces.current(), change.failure
        span.note({Fact.OUTCOME: change.outcome})
        if failure is not None:
            span.fail(failure.type or "error", failure.message, stack=failure.traceback)
        return span.exemplar()

    def _count(
        self, program: Claimed, change: Change, ran_s: float, exemplar: dict[str, str] | None
    ) -> None:
        kind = self._catalogue.kind(program.job)
        self._attempts(program.job, kind, change.outcome).inc()
        self._step_s(program.job, kind).observe(ran_s, exemplar)
        if reason := change.retry_reason:
            self._metrics.put_off(program.job, reason)
        ended = ENDED.get(change.ending)
        if ended:
            self._finished(ended).inc()
            took = datetime.now(UTC) - program.created_at
            self._program_s(ended).observe(max(0.0, took.total_seconds()))

    def _log(self, program: Claimed, change: Change) -> None:
        failure = change.failure
        if failure is None and not self._is_verbose:
            return
        names = {"run_id": program.run_id, "job": program.job, "step": program.step}
        if failure is None:
            log.debug(
                Event.PROGRAM_FINISHED if change.ending is Ending.FINISHED else Event.JOB_DONE,
                outcome=change.outcome,
                attempt=program.attempt,
                **names,
            )
            return
        if change.outcome == "ignored":
            log.info(Event.PROGRAM_IGNORED, error_message=failure.message, **names)
            return
        said = {
            # the ancestor's fields, for alerts that are built on them
            "name": "program-executor",
            "content": names,
            "error_message": failure.message,
            "error_stack": failure.traceback,
            "error_code": failure.code,
            "attempt": program.attempt,
        }
        if change.outcome == "retry":
            in_s = change.due_in_s
            action = str(Event.JOB_RETRY)
            log.warning(Event.JOB_RETRY, action=action, retry_in_s=in_s, **said, **names)
        else:
            log.error(Event.PROGRAM_ERROR, action=str(Event.PROGRAM_ERROR), **said, **names)


def facts_of(program: Claimed, worker: str) -> Facts:
    """Say of which try a span tells."""
    return {
        Fact.RUN_ID: program.run_id,
        Fact.JOB: program.job,
        Fact.STEP: program.step,
        Fact.ATTEMPT: program.attempt,
        Fact.WORKER: worker,
    }


def _moment(change: Change) -> str | None:
    if change.outcome == "retry":
        return "retry"
    return MOMENTS.get(change.ending)


def _event(moment: str, program: Claimed, change: Change) -> ProgramEvent:
    failure = change.failure
    return ProgramEvent(
        moment=moment,
        run_id=program.run_id,
        job=program.job,
        step=program.step,
        attempt=program.attempt,
        program_data=program.program_data,
        error_message=failure.message if failure else None,
        error_code=failure.code if failure else None,
        retry_in_s=change.due_in_s if moment == "retry" else None,
    )
