"""Failing tracers: what a user's tracer raises costs spans, and no step and no request."""

import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from program_executor import JobContext, job
from program_service.tracing import live
from servers import on_sqlite
from serving import Service
from told import Told

pytestmark = on_sqlite


class Failing(SpanProcessor):
    """A processor that fails where it is told to."""

    def __init__(self) -> None:
        self.at = ""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        """Fail at the start."""
        del parent_context
        self._fail("start", span)

    def on_end(self, span: ReadableSpan) -> None:
        """Fail at the end."""
        self._fail("end", span)

    def _fail(self, at: str, span: ReadableSpan) -> None:
        if self.at == at and span.name.startswith("step "):
            raise ValueError(span.name)


@job
async def charge(_ctx: JobContext) -> None:
    """Do nothing."""


@pytest.mark.parametrize("at", ["start", "end"])
async def test_tracer_that_fails_fails_no_step(
    service: Service, told: Told, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    del told  # its provider is the process's
    failing = Failing()
    trace.get_tracer_provider().add_span_processor(failing)  # type: ignore[attr-defined]
    live._failed.clear()
    failing.at = at
    try:
        with caplog.at_level(logging.WARNING):
            await service.crew.hire(charge, traces=True)
            for _ in range(2):
                run_id = (await service.submit("charge", "charge"))["run_id"]
                assert (await service.ended(run_id))["status"] == "finished"
    finally:
        failing.at = ""
    told_once = [each for each in caplog.records if "A tracer failed" in each.getMessage()]
    assert len(told_once) == 1
