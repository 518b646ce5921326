"""Registries where the engine can reach them, in its network namespace: its own, and one that asks
for a password."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.engines.private.packages import EngineRoot
from agent.engines.private.record import read_record
from agent.engines.registry_tokens import signer_beside
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.image_references import repository_of

USERNAME = "builder"
PASSWORD = "correct-horse"
PASSWORD_LINE = f"{USERNAME}:$2b$04$5sIsDEami9fWiwdPPZmDYutxrqpfw2F4hs8SXdV7SrQDQ4cnEGsoi\n"
OWN = "127.0.0.1:5000"
"""The private engine's own registry, which asks for a token."""
ASK = """
import sys, urllib.error, urllib.request
headers = {"Accept": "application/vnd.docker.distribution.manifest.v2+json,"
                     "application/vnd.docker.distribution.manifest.list.v2+json,"
                     "application/vnd.oci.image.manifest.v1+json,"
                     "application/vnd.oci.image.index.v1+json"}
if sys.argv[2]:
    headers["Authorization"] = sys.argv[2]
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers))
    print(answer.headers.get("Docker-Content-Digest", ""))
    sys.stdout.write(answer.read().decode())
except urllib.error.HTTPError as error:
    print(f"HTTP {error.code}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry as the engine sees it."""

    host: str
    record: Path
    """Of the engine in whose network it is."""

    @property
    def login(self) -> RegistryLogin:
        return RegistryLogin(host=self.host, username=USERNAME, password=PASSWORD)

    def new_name(self) -> str:
        """Of a repository that no other test uses."""
        return f"{self.host}/test/{secrets.token_hex(6)}"

    def digest(self, reference: str) -> str | None:
        """Under which digest it has the reference's tag; None if it hasn't."""
        return self._ask(reference, "manifests")[0]

    def manifest(self, reference: str) -> dict[str, Any]:
        """What it has under the tag."""
        return dict(json.loads(self._ask(reference, "manifests")[1]))

    def layers(self, reference: str) -> int:
        return len(json.loads(self._ask(reference, "manifests")[1])["layers"])

    def _authorization(self, name: str) -> str:
        if self.host != OWN:
            return "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        signer = signer_beside(self.record)
        assert signer is not None
        return "Bearer " + signer.sign(name, "pull")

    def tags(self, repository: str) -> list[str] | None:
        """All that the repository has; None where there is none."""
        answer = self._ask(f"{repository}:list", "tags")[1]
        return json.loads(answer)["tags"] if answer else None

    def configuration(self, reference: str) -> dict[str, Any]:
        """Of an image for one platform: with its environment, command and layers."""
        repository = repository_of(reference)
        digest = self.manifest(reference)["config"]["digest"]
        return dict(json.loads(self._ask(f"{repository}@{digest}", "blobs")[1]))

    def _ask(self, reference: str, kind: str) -> tuple[str | None, str]:
        repository = repository_of(reference)
        name = repository.removeprefix(f"{self.host}/")
        tag = reference.removeprefix(repository)[1:]
        ended = in_engine_network(
            self.record,
            [
                *(sys.executable, "-c", ASK),
                f"http://{self.host}/v2/{name}/{kind}/{tag}",
                self._authorization(name),
            ],
        )
        first, _, rest = ended.partition("\n")
        return (None, "") if first.startswith("HTTP ") else (first, rest)


def own_registry(record: Path) -> Registry:
    """The registry of the private engine that has the record."""
    return Registry(host=OWN, record=record)


def in_engine_network(record: Path, command: list[str]) -> str:
    return subprocess.run(
        [*entering(record), *command], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def entering(record: Path) -> list[str]:
    engine = read_record(record)
    assert engine is not None
    assert engine.init is not None
    return ["nsenter", f"--net=/proc/{engine.init.pid}/ns/net"]


@contextmanager
def registry_with_password(folder: Path, record: Path) -> Iterator[Registry]:
    """Started for the block."""
    host = f"127.0.0.1:{20_000 + secrets.randbelow(20_000)}"
    (folder / "passwords").write_text(PASSWORD_LINE)
    settings = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "passwords")}},
    }
    (folder / "registry.json").write_text(json.dumps(settings))
    engine = read_record(record)
    assert engine is not None
    root = EngineRoot(folder=Path(engine.packages))
    program = root.program("docker-registry")
    with subprocess.Popen(
        [*entering(record), str(program), "serve", str(folder / "registry.json")],
        env=root.environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            heard = ""
            while "listening on" not in heard:
                line = process.stderr.readline()
                assert line, heard
                heard += line
            # Read on: a full pipe would stop it.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Registry(host=host, record=record)
        finally:
            process.kill()
