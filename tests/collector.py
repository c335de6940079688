"""A collector of traces, as real roles send them."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Takes OTLP over HTTP, as a real one does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []  # service and span
        self.came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                outer.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            for resource in request.resource_spans:
                told = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [(told["service.name"], span) for span in scope.spans]
            self.came.notify_all()

    def of(self, trace: int, count: int) -> dict[str, Any]:
        """Return the spans of a trace by their names, once there are so many."""
        deadline = time.monotonic() + 60
        wanted = trace.to_bytes(16)
        with self.came:
            while len(found := [span for _, span in self.spans if span.trace_id == wanted]) < count:
                assert self.came.wait(deadline - time.monotonic()), [(name, span.name) for name, span in self.spans]
        return {span.name: span for span in found}
