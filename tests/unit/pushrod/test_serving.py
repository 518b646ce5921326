"""What a serving process writes to its log."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import structlog
from structlog.contextvars import bound_contextvars
from pushrod.serving import log_to_stderr

log_to_stderr()
with bound_contextvars(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"):
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("request failed", path="/api/v1/builds")
structlog.get_logger().warning("another request")
"""


def test_a_line_names_the_trace_of_the_request_that_it_is_about() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    failed, *_, other = ran.stderr.splitlines()
    assert "request failed" in failed
    assert "trace_id='4bf92f3577b34da6a3ce929d0e0e4736'" in failed
    assert "path='/api/v1/builds'" in failed
    assert "ValueError: broken" in ran.stderr
    assert other.endswith("another request")
    assert ran.stdout == ""
