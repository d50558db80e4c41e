"""Told: the spans that ended, in memory, as tests ask for them."""

from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind

from patience import eventually

tracer = trace.get_tracer("test")


def context_of(span: ReadableSpan) -> SpanContext:
    """Return where a span stands."""
    context = span.get_span_context()
    assert context is not None
    return context


def traceparent_of(span: ReadableSpan) -> str:
    """Return what continues the trace of a span."""
    at = context_of(span)
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def is_beneath(child: ReadableSpan, parent: ReadableSpan) -> bool:
    """Say whether one span is the direct parent of the other, in one trace."""
    is_one_trace = context_of(child).trace_id == context_of(parent).trace_id
    return (
        is_one_trace
        and child.parent is not None
        and child.parent.span_id == context_of(parent).span_id
    )


@dataclass(frozen=True, slots=True)
class Told:
    """The spans that ended."""

    exporter: InMemorySpanExporter

    def all(self, name: str, kind: SpanKind | None = None) -> list[ReadableSpan]:
        """Return the spans of a name, in the order of their beginnings."""
        found = [
            span
            for span in self.exporter.get_finished_spans()
            if span.name == name and kind in {None, span.kind}
        ]
        return sorted(found, key=lambda span: span.start_time or 0)

    async def some(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """Wait until so many spans of a name have ended, and return them."""

        async def look() -> list[ReadableSpan]:
            found = self.all(name)
            return found if len(found) >= count else []

        found = await eventually(look)
        assert len(found) == count, [span.name for span in found]
        return found

    async def one(self, name: str) -> ReadableSpan:
        """Wait until a span of this name has ended; there must be no other."""
        (span,) = await self.some(name)
        return span
