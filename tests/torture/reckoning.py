"""What must hold of several coordinators once all is over: of each build, step, log and object."""

from __future__ import annotations

import os
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.e2e.processes import Api
from tests.s3_server import BUCKET, SIGNED
from tests.torture.clients import ENDED, PATIENCE_SECONDS, Client, Ledger
from tests.torture.crowd import LEASE_SECONDS, Crowd
from tests.torture.work import log_of, most_attempts, runs_of

ENDED_STEPS = ("SUCCESS", "FAILED", "CANCELLED", "SKIPPED")


@dataclass
class Reckoning:
    crowd: Crowd
    client: Client
    ledger: Ledger
    witness: Path
    counts: Counter[str]

    def check_made(self, accepted: Mapping[str, Mapping[str, str]]) -> None:
        """Each build that somebody was told of is there, and each accepted webhook's and push's,
        and no other. `accepted` are the commits of these, by project, with their kinds."""
        api, told = Api(self.client.url, self.client.token), dict(self.ledger.kinds)
        missing = set(told)
        for project_id, kinds in accepted.items():
            builds = self._all_built(api, project_id, kinds)
            missing -= {build["id"] for build in builds}
            others = [build for build in builds if build["id"] not in told]
            found = Counter(build["commitHash"] for build in others)
            wrong = {sha: found[sha] for sha in kinds.keys() | found if found[sha] != 1}
            assert not wrong, f"exactly one of each: {wrong}"
            self.ledger.kinds |= {one["id"]: kinds[one["commitHash"]] for one in others}
        assert not missing, missing

    def _all_built(self, api: Api, project_id: str, commits: Iterable[str]) -> list[dict[str, Any]]:
        """What was accepted last may still have to become a build."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            builds = api.builds(project_id)
            left = set(commits) - {build["commitHash"] for build in builds}
            if not left or time.monotonic() > deadline:
                return builds
            time.sleep(0.2)

    def check_builds(self) -> None:
        # Last what may have been begun by nobody: by then nobody has anything else to do.
        for build_id, kind in sorted(self.ledger.kinds.items(), key=lambda one: one[1] == "once"):
            if kind == "gate":
                self.client.approve(build_id)
            if kind == "once":
                self._give_up_what_nobody_has(build_id)
            self._check(self.client.wait(build_id, lambda build: build["state"] in ENDED), kind)

    def _give_up_what_nobody_has(self, build_id: str) -> None:
        """Where the answer that gave it to an agent was lost, a step that may not run twice is
        waited for until its timeout and five minutes are over. Nobody here waits so long."""
        deadline = time.monotonic() + 2 * LEASE_SECONDS
        while (build := self.client.build(build_id))["state"] not in ENDED:
            [step] = build["steps"]
            if time.monotonic() > deadline and not runs_of(self.witness, step["id"]):
                self.counts["at most once: begun by nobody"] += 1
                self.client.ask("POST", f"/api/projects/-/builds/{build_id}/cancel", b"")
                self.ledger.perhaps_cancelled.add(build_id)
                return
            assert time.monotonic() < deadline + PATIENCE_SECONDS, build
            time.sleep(0.2)

    def _check(self, build: dict[str, Any], kind: str) -> None:
        build_id, state = build["id"], build["state"]
        self.counts[f"builds {state}"] += 1
        may = {"succeeded"}
        if build_id in self.ledger.cancelled:
            # Its script may end before its agent hears of it, from whoever leads by then.
            may.add("cancelled")
        elif build_id in self.ledger.perhaps_cancelled:
            may.add("cancelled")
        if kind == "once":
            may.add("failed")
        if state not in may:
            told = {(s["name"], s.get("reason")): self._last_log(s) for s in build["steps"]}
            raise AssertionError(f"{kind} {build_id} {state}, not {may}: {told}")
        for step in build["steps"]:
            assert step["status"] in ENDED_STEPS, build
            if step["name"] != "release":
                self._check_step(step, kind)

    def _check_step(self, step: Mapping[str, Any], kind: str) -> None:
        name, number, status = step["name"], step.get("attempt") or 0, step["status"]
        self.counts["steps"] += 1
        self.counts["attempts"] += number
        assert number <= most_attempts(kind), step
        if status == "FAILED":
            assert kind == "once", step
            assert "lost agent" in step["reason"], step
        runs = runs_of(self.witness, step["id"])
        for (earlier, before), (later, after) in pairwise(runs):
            assert before[-1] < after[0], ("two at once", step["id"], earlier, later)
        assert len({attempt for (attempt, _), _ in runs}) == len(runs), ("run twice", step, runs)
        for attempt in range(1, number + 1):
            written = _without_note(self._log(step["id"], attempt))
            whole = log_of(kind, name, attempt)
            is_whole = attempt == number and status == "SUCCESS"
            fits = written == whole if is_whole else whole.startswith(written)
            assert fits, (step, attempt, _where_they_part(written, whole))

    def _last_log(self, step: Mapping[str, Any]) -> str:
        return self._log(step["id"], step.get("attempt") or 0)[-500:].decode()

    def _log(self, step_id: str, attempt: int) -> bytes:
        return Api(self.client.url, self.client.token).log(step_id, attempt)

    def check_objects(self) -> None:
        """What lies in the store is a log of an attempt, or bytes that a row names."""
        attempts = {
            f"{step}-{epoch}"
            for step, epoch in self.crowd.rows("SELECT step_id, epoch FROM attempts")
        }
        named = {sha for (sha,) in self.crowd.rows("SELECT sha256 FROM artifacts")}
        doomed = {name for (name,) in self.crowd.rows("SELECT name FROM doomed_objects")}
        packs = {key for (key,) in self.crowd.rows("SELECT object FROM stored_packs")}
        for key in objects(self.crowd):
            kind, _, rest = key.partition("/")
            self.counts[f"objects: {kind}"] += 1
            if kind == "logs":
                assert rest.partition("/")[0] in attempts | doomed, key
            elif kind == "blobs":
                assert rest.rpartition("/")[2] in named | doomed, key
            elif kind != ".pushrod":  # what a start tries the store by
                assert kind == "repositories", key
                # A push that failed after its pack was put leaves that: it goes after a day.
                self.counts["objects: packs of failed pushes"] += not {key, rest} & packs

    def check_agents(self) -> None:
        """They have left no process and no folder of an attempt."""
        assert list(marked_processes(str(self.crowd.folder))) == []
        for name in self.crowd.agents:
            data = self.crowd.folder / f"agent-{name}"
            left = [path for path in data.rglob("attempts/*") if path.is_dir()]
            assert left == [], left


def objects(crowd: Crowd) -> Iterator[str]:
    """Keys below the installation's prefix."""
    prefix, token = f"{crowd.folder.name}/", ""
    while True:
        query = {"list-type": "2", "prefix": prefix}
        if token:
            query["continuation-token"] = token
        request = urllib.request.Request(
            f"{crowd.s3.endpoint}/{BUCKET}?{urllib.parse.urlencode(query)}",
            headers={"Authorization": SIGNED},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = ElementTree.fromstring(answer.read())
        names = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        for key in page.iter(f"{names}Key"):
            yield (key.text or "").removeprefix(prefix)
        found = page.find(f"{names}NextContinuationToken")
        if found is None or not found.text:
            return
        token = found.text


def marked_processes(folder: str) -> Iterator[int]:
    """Scripts of agents whose data is below `folder`."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes().split(b"\0")
        except OSError:
            continue
        marks = [one for one in environment if one.startswith(b"PUSHROD_HOST_ATTEMPT=")]
        if marks and any(os.fsencode(folder) in one for one in environment):
            yield int(path.parent.name)


def _without_note(log: bytes) -> bytes:
    """The agent says there that it has no tags, which a script may do without."""
    first, _, rest = log.partition(b"\n")
    return rest if first.startswith(b"fetching the tags: ") else log


def _where_they_part(written: bytes, whole: bytes) -> str:
    pairs = enumerate(zip(written, whole, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(written), len(whole)))
    return f"{len(written)} of {len(whole)} bytes, alike to {at}: {written[at : at + 300]!r}"
