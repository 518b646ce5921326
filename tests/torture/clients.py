"""Clients of several coordinators, which ask again where they were refused or cut off, and note
what was accepted."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.torture.work import KINDS, Commits

ANSWER_SECONDS = 45.0
"""So long one waits for an answer before it asks again."""
PATIENCE_SECONDS = 120.0
AGAIN_SECONDS = 0.2
PASSING = (429, 502, 503, 507)
ENDED = ("succeeded", "failed", "cancelled")


class NotOver(AssertionError):
    """A build that does not get on."""


@dataclass
class Ledger:
    """What was accepted; for all threads."""

    kinds: dict[str, str] = field(default_factory=dict)
    """Of each build that a client was told of."""
    deliveries: dict[str, str] = field(default_factory=dict)
    """The kind of each commit whose webhook was accepted."""
    pushes: dict[str, str] = field(default_factory=dict)
    """The kind of each commit whose push to a hosted repository was accepted."""
    cancelled: set[str] = field(default_factory=set)
    perhaps_cancelled: set[str] = field(default_factory=set)
    """Whose cancel was sent and cut off."""
    counts: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def answered(self, seconds: float) -> None:
        with self._lock:
            self.longest_seconds = max(self.longest_seconds, seconds)


@dataclass
class Client:
    url: str
    token: str
    ledger: Ledger
    dice: random.Random

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, int]:
        """Until it is answered: status, body, and how often it may have come through unanswered."""
        began, before = time.monotonic(), 0
        while True:
            assert time.monotonic() < began + PATIENCE_SECONDS, f"{method} {path} is not answered"
            try:
                status, answer = self._once(method, path, body, headers or {})
            except (OSError, http.client.HTTPException):
                self.ledger.note("cut off")
                before += 1
            else:
                if status not in PASSING:
                    self.ledger.answered(time.monotonic() - began)
                    assert status < 500, (method, path, status, answer)
                    return status, json.loads(answer or b"null"), before
                self.ledger.note(f"answered {status}")
                before += status != 507  # 503 may also be said of what was done
            time.sleep(AGAIN_SECONDS)

    def _once(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={**given, **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def build(self, build_id: str) -> dict[str, Any]:
        status, build, _ = self.ask("GET", f"/api/projects/-/builds/{build_id}")
        assert status == 200, build
        found: dict[str, Any] = build
        return found

    def wait(self, build_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """As the command line follows a build: by held requests."""
        seen, deadline = -1, time.monotonic() + PATIENCE_SECONDS
        while True:
            path = f"/api/projects/-/builds/{build_id}?wait=5&seen={seen}"
            status, build, _ = self.ask("GET", path)
            assert status == 200, build
            if until(build):
                found: dict[str, Any] = build
                return found
            seen = build["version"]
            if time.monotonic() > deadline:
                raise NotOver(build)

    def approve(self, build_id: str) -> None:
        def is_asked(build: dict[str, Any]) -> bool:
            return build["state"] in ENDED or any(
                "expiresAt" in step.get("approval", {}) for step in build["steps"]
            )

        build = self.wait(build_id, is_asked)
        if build["state"] not in ENDED:
            step = next(step for step in build["steps"] if step["name"] == "release")
            status, answer, before = self.ask("POST", f"/api/steps/{step['id']}/approve", b"")
            assert status == 200 or (status == 409 and before), (status, answer)
            self.ledger.note("approvals")


def project_of(client: Client, name: str, commits: Commits | None = None) -> dict[str, Any]:
    """One at a forge that is the commits' folder, or one that is pushed to."""
    wanted = {"accountId": "default", "name": name}
    if commits is not None:
        wanted |= {"repoUrl": f"file://{commits.bare}", "forge": "generic"}
    status, project, _ = client.ask("POST", "/api/projects", wanted)
    assert status == 201, project
    found: dict[str, Any] = project
    return found


@dataclass
class Person(Client):
    """Somebody who has things built, one after the other."""

    commits: Commits
    project: Mapping[str, Any]
    stop: threading.Event
    making: threading.Lock
    """Held by whoever makes a commit of `project`."""
    name: str = "nobody"
    push_url: str = ""
    """Of a hosted project, with a branch of each person's own."""

    def live(self) -> None:
        try:
            while not self.stop.is_set():
                self.dice.choice((self.deliver, self.ask_for, self.push))()
        finally:
            self.stop.set()  # also where something was answered that must not be

    def deliver(self) -> None:
        """Some pushes, each told by a webhook."""
        for _ in range(self.dice.randint(1, 3)):
            kind = self.dice.choice(KINDS)
            answer = self.deliver_one(kind)
        for build in answer["builds"]:
            self.see_through(build["url"].rpartition("/")[2], kind)

    def deliver_one(self, kind: str) -> dict[str, Any]:
        with self.making:
            pushed = self.commits.told(kind)
        return self.tell(*pushed, kind)

    def tell(self, before: str, after: str, kind: str) -> dict[str, Any]:
        """By a webhook, until it is accepted."""
        refs = [{"ref": "refs/heads/main", "before": before, "after": after}]
        body = json.dumps({"event": "push", "refs": refs}).encode()
        signed = hmac.new(self.project["webhookSecret"].encode(), body, hashlib.sha256)
        headers = {
            "X-Pushrod-Signature-256": f"sha256={signed.hexdigest()}",
            "X-Pushrod-Delivery": after,
        }
        path = f"/api/webhooks/generic/{self.project['id']}"
        status, answer, before_it = self.ask("POST", path, body, headers)
        assert status == 202 or (status == 200 and before_it), (status, answer)
        self.ledger.deliveries[after] = kind
        self.ledger.note("webhooks")
        found: dict[str, Any] = answer
        return found

    def push(self) -> None:
        """To the hosted project, again until git says that it is there."""
        kind = self.dice.choice(KINDS)
        _, commit = self.commits.new(kind, self.name)
        ref, deadline = f"{commit}:refs/heads/{self.name}", time.monotonic() + PATIENCE_SECONDS
        while (said := self._push_once(ref)) is not None:
            self.ledger.note("pushes cut off")
            assert time.monotonic() < deadline, said
            time.sleep(AGAIN_SECONDS)
        self.ledger.pushes[commit] = kind
        self.ledger.note("pushes")

    def _push_once(self, ref: str) -> str | None:
        """What git complains of."""
        try:
            pushed = self.commits.repository.push(self.push_url, self.token, ref)
        except subprocess.TimeoutExpired:
            return "it takes too long"
        return pushed.stderr if pushed.returncode else None

    def ask_for(self) -> None:
        kind = self.dice.choice(KINDS)
        wanted = {
            "project_id": self.project["id"],
            "git_branch": "main",
            "git_commit": self.commits.of_kind[kind],
        }
        build_id = self._make("/api/v1/builds", wanted, kind)
        status, answer, before = self.ask("POST", f"/api/v1/builds/{build_id}/start", b"", self._as)
        assert status == 200 or (status == 409 and before), (status, answer)
        self.ledger.note("builds asked for")
        self.see_through(build_id, kind)

    def _make(self, path: str, wanted: object, kind: str) -> str:
        """However often it is sent, it is made once."""
        headers = {**self._as, "Idempotency-Key": str(UUID(int=self.dice.getrandbits(128)))}
        status, answer, _ = self.ask("POST", path, wanted, headers)
        assert status == 201, (status, answer)
        self.ledger.kinds[answer["id"]] = kind
        build_id: str = answer["id"]
        return build_id

    @property
    def _as(self) -> Mapping[str, str]:
        return {"X-Tenant-ID": self.project["accountUuid"]}

    def see_through(self, build_id: str, kind: str) -> None:
        """To its end, or cancel it before; what ended otherwise than well is tried again.

        While leaders die faster than leases end, what was lost waits: it is seen through at last.
        """
        try:
            self._see_through(build_id, kind)
        except NotOver:
            if self.stop.is_set():
                raise
            self.ledger.note("builds that were waited for no longer")

    def _see_through(self, build_id: str, kind: str) -> None:
        if self.dice.random() < 0.2:
            self.cancel(build_id)
        elif kind == "gate":
            self.approve(build_id)
        ended = self.wait(build_id, lambda build: build["state"] in ENDED)
        if ended["state"] != "succeeded" and not self.stop.is_set():
            again = self._make(f"/api/v1/builds/{build_id}/retry", b"", kind)
            self.ledger.note("retries")
            self._see_through(again, kind)

    def cancel(self, build_id: str) -> None:
        path = f"/api/projects/-/builds/{build_id}/cancel"
        status, answer, before = self.ask("POST", path, b"")
        assert status in (200, 409), answer
        if status == 200:
            self.ledger.cancelled.add(build_id)
            self.ledger.note("cancels")
        elif before:
            self.ledger.perhaps_cancelled.add(build_id)
