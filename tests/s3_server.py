"""An S3 server of the tests: moto's, in a process of its own, with one bucket.

It speaks create-only, ranges and multipart uploads, and checks neither signatures nor their time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.objects.places import ObjectsPlace
from tests.ports import free_port

BUCKET = "pushrod-test"
START_SECONDS = 60.0
# Which store a request is for is told by the credential that it is signed with.
SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"


@dataclass(slots=True)
class S3Server:
    """It ends with whoever started it, and forgets all when it stops, unless it has a journal."""

    port: int = field(default_factory=free_port)
    journal: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def place(self, credentials: Path, prefix: str = "here") -> ObjectsPlace:
        """A prefix of the bucket, by credentials in that file, which is written."""
        write_credentials(credentials)
        return ObjectsPlace(
            location=f"s3://{BUCKET}/{prefix}",
            endpoint=self.endpoint,
            region="us-east-1",
            credentials_file=credentials,
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *(sys.executable, "-m", *self._program()),
            ],
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 server of the tests does not start")
            time.sleep(0.05)
        made = urllib.request.Request(
            f"{self.endpoint}/{BUCKET}", method="PUT", headers={"Authorization": SIGNED}
        )
        urllib.request.urlopen(made, timeout=10).close()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """By kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _program(self) -> tuple[str, ...]:
        if self.journal is not None:
            return ("tests.durable_s3", str(self.port), str(self.journal))
        return ("moto.server", "-H", "127.0.0.1", "-p", str(self.port))

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True


def write_credentials(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text("# of nobody\nAWS_ACCESS_KEY_ID=test\nexport AWS_SECRET_ACCESS_KEY='test'\n")


@contextmanager
def running_s3_server(journal: Path | None = None) -> Iterator[S3Server]:
    server = S3Server(journal=journal)
    server.start()
    try:
        yield server
    finally:
        server.stop()
