"""moto's S3 server, but that what it has answered survives kill -9: `python -m tests.durable_s3
PORT JOURNAL`.

Each request that changes something is appended to the journal before its answer goes out, and done
again at the next start. One at a time, so that the journal has their order.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple
from werkzeug.test import EnvironBuilder, run_wsgi_app

CHANGING = ("PUT", "POST", "DELETE")
Start = Callable[..., Any]


class Durable:
    """A WSGI application around another. An upload in parts does not survive: its id is by chance,
    and another one when it is done again."""

    def __init__(self, served: Any, journal: Path) -> None:
        self._served = served
        self._changing = threading.Lock()
        if journal.exists():
            with journal.open("rb") as earlier:
                self._do_again(earlier)
        self._journal = journal.open("ab", buffering=0)

    def _do_again(self, earlier: io.BufferedReader) -> None:
        while True:
            try:
                said, body = pickle.load(earlier)
            except (EOFError, pickle.UnpicklingError):
                return  # the last one may be cut off: nobody was answered
            environment = EnvironBuilder(input_stream=io.BytesIO(body)).get_environ() | said
            parts, _, _ = run_wsgi_app(self._served, environment)
            b"".join(parts)

    def __call__(self, environment: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] not in CHANGING:
            answer: Iterable[bytes] = self._served(environment, start)
            return answer
        body = _read(environment)
        said = {name: text for name, text in environment.items() if isinstance(text, str)}
        said["CONTENT_LENGTH"] = str(len(body))
        with self._changing:
            given = environment | said | {"wsgi.input": io.BytesIO(body)}
            parts, status, headers = run_wsgi_app(self._served, given, buffered=True)
            whole = [b"".join(parts)]
            if status.startswith("2"):
                self._journal.write(pickle.dumps((said, body)))
        start(status, list(headers))
        return whole


def _read(environment: dict[str, Any]) -> bytes:
    ends = environment.get("wsgi.input_terminated")
    size = -1 if ends else int(environment.get("CONTENT_LENGTH") or 0)
    body: bytes = environment["wsgi.input"].read(size)
    return body


def main(port: str, journal: str) -> None:
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(
        "127.0.0.1",
        int(port),
        Durable(application, Path(journal)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
