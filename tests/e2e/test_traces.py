"""Traces to a collector that reads real OTLP, and logs that programs read."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.e2e.processes import Pushrod, Repository, is_running, running, step_named
from tests.ports import free_port

WORKFLOW = """\
name: ci
on: {push: {}}
steps:
  - {name: first, image: any, run: "echo hello > out.txt", outputPaths: [out.txt]}
  - name: second
    image: any
    dependsOn: [first]
    retries: 1
    run: test "$PUSHROD_ATTEMPT" = 2
"""


class Collector:
    """What an OpenTelemetry collector takes, kept."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        """With their resource's service."""
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for each in request.resource_spans:
                said = {a.key: a.value.string_value for a in each.resource.attributes}
                for scope in each.scope_spans:
                    self.spans += [(said["service.name"], span) for span in scope.spans]
            self._changed.notify_all()

    def wait_for(self, *names: str) -> None:
        def have() -> bool:
            return set(names) <= {span.name for _, span in self.spans}

        with self._changed:
            assert self._changed.wait_for(have, timeout=60), [s.name for _, s in self.spans]


@contextmanager
def collecting() -> Iterator[tuple[str, Collector]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.take(body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", collector
        finally:
            server.shutdown()
            thread.join()


def built(pushrod: Pushrod, folder: Path) -> dict[str, Any]:
    project = pushrod.create_project()
    repository = Repository.create(folder / "repository")
    build = pushrod.push_workflow(repository, project, WORKFLOW)
    finished = pushrod.api.wait_finished(build["id"])
    assert finished["state"] == "succeeded", finished
    return finished


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


def test_a_build_is_a_trace_to_which_coordinator_and_agent_contribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as (endpoint, collector):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with running(tmp_path / "all", settings=f'otlp_endpoint = "{endpoint}"\n') as pushrod:
            build = built(pushrod, tmp_path)
            root_name = "default/app ci #1"
            collector.wait_for(root_name, "attempt 2", "outputs", "run", "source", "inputs")
            # What an agent still has goes when it ends.
            assert pushrod.agents["agent1"].stop() == 0
    found = {(service, span.name, span.span_id): span for service, span in collector.spans}
    assert {span.trace_id.hex() for span in found.values()} == {build["id"].replace("-", "")}
    by_id = {span.span_id: span for span in found.values()}
    assert len(by_id) == len(found)
    [root] = [span for span in by_id.values() if not span.parent_span_id]
    assert root.name == root_name
    assert attributes(root)["vcs.ref.head.revision"] == build["commitHash"]
    for span in by_id.values():
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert not span.parent_span_id or span.parent_span_id in by_id, span.name
    steps = {s.name: s for s in by_id.values() if s.parent_span_id == root.span_id}
    assert set(steps) == {"first", "second"}
    attempts = sorted(
        (s for s in by_id.values() if s.name.startswith("attempt ")),
        key=lambda s: s.start_time_unix_nano,
    )
    assert [by_id[s.parent_span_id].name for s in attempts] == ["first", "second", "second"]
    assert [s.status.code == Status.STATUS_CODE_ERROR for s in attempts] == [False, True, False]
    parts = [s for service, s in collector.spans if service == "pushrod-agent"]
    assert {by_id[s.parent_span_id].name for s in parts} == {"attempt 1", "attempt 2"}
    assert sum(s.name == "run" for s in parts) == 3
    assert any(s.name.startswith("wait ") for s in by_id.values())


def test_a_collector_that_is_away_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with running(tmp_path / "all") as pushrod:
        built(pushrod, tmp_path)
        assert pushrod.agents["agent1"].stop() == 0
        assert pushrod.coordinator.stop() == 0
        assert "Traceback" not in pushrod.notes()


def test_logs_in_json_name_what_they_are_about(tmp_path: Path) -> None:
    settings = 'log_format = "json"\nlease_seconds = 5\n'
    with running(tmp_path / "all", settings=settings) as pushrod:
        repository = Repository.create(tmp_path / "repository")
        text = WORKFLOW.replace("echo hello", "sleep 300; echo hello")
        build = pushrod.push_workflow(repository, pushrod.create_project(), text)
        build = pushrod.api.wait(build["id"], is_running("first"))
        pushrod.agents["agent1"].kill()
        pushrod.api.wait(build["id"], lambda now: step_named(now, "first")["status"] == "READY")
        pushrod.coordinator.stop()
        lines = pushrod.coordinator.log.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert all({"time", "level", "logger", "event"} <= set(one) for one in told)
    [expired] = [one for one in told if one["event"] == "hand-out expired"]
    assert (expired["step"], expired["level"]) == (step_named(build, "first")["id"], "info")
