"""Live: spans of OpenTelemetry. Nothing else imports it, and this module only who needs it.

The tracer may be a user's, with processors and exporters of its own. What it raises costs a span,
and never a step or a request.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, TypeVar

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from program_service.tracing.spans import HEADER, Facts, Kind, Span, Traces

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

T = TypeVar("T")
D = TypeVar("D")

logger = logging.getLogger(__name__)

NAME = "program-executor"

END_WITHIN_S = 2.0
"""How long the end of a process waits for its last spans to be exported: by itself OpenTelemetry
waits half a minute for a collector that does not answer."""

W3C = TraceContextTextMapPropagator()


class LiveSpan(Span):
    """A span that is recorded, if its trace is sampled."""

    def __init__(self, span: trace.Span) -> None:
        """Take the span that we are in."""
        super().__init__()
        self._span = span

    def headers(self) -> dict[str, str]:
        """Return what continues the trace in a call."""
        return asked(lambda: _headers(trace.set_span_in_context(self._span)), {})

    def exemplar(self) -> dict[str, str] | None:
        """Return the id of the trace, if it is sampled."""
        return asked(self._exemplar, None)

    def _exemplar(self) -> dict[str, str] | None:
        at = self._span.get_span_context()
        return {"trace_id": trace.format_trace_id(at.trace_id)} if at.trace_flags.sampled else None

    def note(self, facts: Facts) -> None:
        """Add facts."""
        asked(lambda: self._span.set_attributes(facts), None)

    def fail(self, kind: str, message: str, *, stack: str | None = None) -> None:
        """Record an exception by what is known of it, and that this is an error."""
        asked(lambda: self._fail(kind, message, stack), None)

    def _fail(self, kind: str, message: str, stack: str | None) -> None:
        known = {"exception.type": kind, "exception.message": message}
        self._span.add_event(
            "exception", known | ({"exception.stacktrace": stack} if stack else {})
        )
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR, message)


class LiveTraces(Traces):
    """Traces that are on."""

    is_on: ClassVar[bool] = True

    def __init__(self) -> None:
        """Send spans to the provider of this process.

        It is the one that somebody has set, in a module with jobs for example, or else one that
        exports as the `OTEL_…` variables say.

        Raises:
            ImportError: the SDK of OpenTelemetry is not installed.
        """
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(_exporting_provider())
        self._tracer = trace.get_tracer(NAME, version(NAME))

    @contextmanager
    def span(
        self, kind: Kind, name: str, facts: Facts, *, of: str | None, caller: str | None = None
    ) -> Iterator[Span]:
        """Begin a span in the trace of its program, and be in it for the block."""
        span = asked(lambda: self._begun(kind, name, facts, *_place(of, caller)), None)
        if span is None:
            yield Span(of)
            return
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield LiveSpan(span)
        finally:
            context.detach(token)
            asked(span.end, None)

    def _begun(
        self, kind: Kind, name: str, facts: Facts, parent: Context, links: list[trace.Link]
    ) -> trace.Span:
        return self._tracer.start_span(
            name, context=parent, links=links, kind=trace.SpanKind[kind.name], attributes=facts
        )

    def current(self) -> Span:
        """Return the span that we are in."""
        return LiveSpan(trace.get_current_span())

    def onward(self, given: str | None) -> str | None:
        """Return where we are."""
        return current_headers().get(HEADER, given)


_failed: set[str] = set()


def asked(ask: Callable[[], T], otherwise: D) -> T | D:
    """Ask the tracer, or do without; each kind of failure is logged once."""
    try:
        return ask()
    except Exception as error:
        kind = type(error).__qualname__
        if kind not in _failed:
            _failed.add(kind)
            logger.warning("A tracer failed; its spans are lost.", exc_info=error)
        return otherwise


def _place(of: str | None, caller: str | None) -> tuple[Context, list[trace.Link]]:
    """Return the parent of a span, and what it is linked to.

    The parent is what causes it, a request or the span that we are in, if that belongs to the trace
    of the program. Else it is the program, whose one trace tells its whole life, and the cause is
    linked.
    """
    program, cause = _read(of), context.get_current() if caller is None else _read(caller)
    at_program = trace.get_current_span(program).get_span_context()
    at_cause = trace.get_current_span(cause).get_span_context()
    if not at_program.is_valid or at_program.trace_id == at_cause.trace_id:
        return cause, []
    return program, [trace.Link(at_cause)] if at_cause.is_valid else []


def _read(traceparent: str | None) -> Context:
    carrier = {} if traceparent is None else {HEADER: traceparent}
    return W3C.extract(carrier, Context())


def current_headers() -> dict[str, str]:
    """Return what continues the trace that we are in."""
    return _headers(context.get_current())


def _headers(at: Context) -> dict[str, str]:
    headers: dict[str, str] = {}
    W3C.inject(headers, at)
    return headers


_made: "list[TracerProvider]" = []


def _exporting_provider() -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - clients
        OTLPSpanExporter,  # need no more than the API
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    ours = Resource.create({"service.name": NAME, "service.version": version(NAME)})
    resource = ours.merge(OTELResourceDetector().detect())  # what the environment says counts
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _made.append(provider)
    return provider


def end() -> None:
    """Export what is left, as far as that can be done soon."""
    while _made:
        ending = threading.Thread(target=_made.pop().shutdown, daemon=True)
        ending.start()
        ending.join(END_WITHIN_S)
