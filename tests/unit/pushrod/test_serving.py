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


SERVER = """
import asyncio
from aiohttp import web
from pushrod.serving import log_to_stderr

async def fail(_request):
    raise ValueError("broken")

async def send(port, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    answer = await reader.read()
    writer.close()
    print(answer.split()[1].decode())

async def main():
    app = web.Application()
    app.router.add_get("/", fail)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await send(port, b"GET / HTTP/1.1\\r\\nAuthorization\\x01: s3cret\\r\\n\\r\\n")
    await send(port, b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    await runner.cleanup()

log_to_stderr()
asyncio.run(main())
"""


def test_what_is_not_http_takes_one_line_and_real_errors_keep_their_traceback() -> None:
    ran = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["400", "500"]
    refused, failed, *traceback = ran.stderr.splitlines()
    assert " INFO " in refused
    assert "127.0.0.1" in refused
    assert "s3cret" not in ran.stderr
    assert " ERROR " in failed
    assert traceback[0].startswith("Traceback")
    assert traceback[-1] == "ValueError: broken"
