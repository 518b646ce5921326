"""Spans to an OpenTelemetry collector, by OTLP over HTTP. OpenTelemetry loads only where used.

They go from a bounded queue by a thread of its own: a collector that is slow or away costs spans,
and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipelines_schema.spans import Emit, Span
from pushrod.errors import CommandError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CALL_SECONDS = 5.0
END_SECONDS = 3.0
"""How long an end waits for the spans that are left."""
MAX_WAITING = 8192


@contextmanager
def spans_to(endpoint: str | None, *, service: str) -> Iterator[Emit | None]:
    """Where spans of this process go: to the collector at `endpoint`, else at that of the standard
    variables of OpenTelemetry; None where there is none.

    Raises CommandError where OpenTelemetry is not installed.
    """
    if endpoint is None and not any(os.environ.get(name) for name in ENDPOINTS):
        yield None
        return
    try:
        processor, resource = _processor(endpoint, service)
    except ImportError as error:
        raise CommandError(
            "traces need OpenTelemetry, which is not installed: pip install 'pushrod[otlp]', or "
            "leave the endpoint out"
        ) from error
    try:
        yield lambda span: processor.on_end(_readable(span, resource))
    finally:
        # As long as it takes, but not longer than anybody wants to wait for it.
        ending = threading.Thread(target=processor.shutdown, daemon=True)
        ending.start()
        ending.join(END_SECONDS)


def _processor(endpoint: str | None, service: str) -> tuple[SpanProcessor, Resource]:
    """Raises ImportError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=url, timeout=CALL_SECONDS)
    # A collector that is away would be told of for each batch, with a traceback.
    logging.getLogger("opentelemetry").addFilter(_without_traceback)
    for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    resource = Resource.create({"service.name": service, "service.version": version("pushrod")})
    return BatchSpanProcessor(exporter, max_queue_size=MAX_WAITING), resource


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, is_remote: bool = False) -> SpanContext:
        return SpanContext(
            trace_id=int(span.trace_id, 16),
            span_id=int(span_id, 16),
            is_remote=is_remote,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=None if span.parent_id is None else context(span.parent_id, is_remote=True),
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
        start_time=span.began_ns,
        end_time=span.ended_ns,
        instrumentation_scope=InstrumentationScope("pushrod", version("pushrod")),
    )
