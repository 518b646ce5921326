"""What must hold of several coordinators once all is over: of each build, step, log and object."""

from __future__ import annotations

import os
import re
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.e2e.processes import Api
from tests.s3_server import BUCKET, SIGNED
from tests.torture.clients import ENDED, PATIENCE_SECONDS, Client, Ledger
from tests.torture.crowd import Crowd
from tests.torture.work import (
    AGAIN_EXIT_CODE,
    IN_LINE_AT_ONCE,
    log_of,
    most_at_once,
    most_attempts,
    runs_of,
)

ENDED_STEPS = ("SUCCESS", "FAILED", "CANCELLED", "SKIPPED")
NO_ROOM = b"No space left on device"
SLACK_SECONDS = 2.0
UNNAMED = "objects: blobs that no row names"
_FAILED = """
SELECT number, exit_code, reason, agents.name, started_at, finished_at
FROM attempts JOIN agents ON attempts.holder = 'agent:' || agents.id
WHERE step_id = '{}' AND state = 'failed'
"""


@dataclass
class Reckoning:
    crowd: Crowd
    client: Client
    ledger: Ledger
    witness: Path
    full: Sequence[tuple[str, float, float]]
    """Whose disk was full, from when to when."""
    counts: Counter[str]
    _runs: dict[tuple[str, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By kind and what is counted: for steps all, for builds each."""

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
        for build_id, kind in self.ledger.kinds.items():
            if kind == "gate":
                self.client.approve(build_id)
            self._check(self.client.wait(build_id, lambda build: build["state"] in ENDED), kind)

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
        if kind == "alone" and str(build.get("reason", "")).startswith("superseded by #"):
            may.add("cancelled")
            self.counts["builds superseded"] += 1
        if state not in may:
            told = {(s["name"], s.get("reason")): self._last_log(s) for s in build["steps"]}
            raise AssertionError(f"{kind} {build_id} {state}, not {may}: {told}")
        for step in build["steps"]:
            assert step["status"] in ENDED_STEPS, build
            if step["name"] != "release":
                self._check_step(step, kind, build)

    def _check_step(self, step: Mapping[str, Any], kind: str, build: Mapping[str, Any]) -> None:
        name, number, status = step["name"], step.get("attempt") or 0, step["status"]
        self.counts["steps"] += 1
        self.counts["attempts"] += number
        assert number <= most_attempts(kind), step
        failed = self._failed_attempts(step, kind)
        if status == "FAILED":
            assert kind == "once", step
            assert number in failed or "lost agent" in step["reason"], step
        runs = runs_of(self.witness, step["id"])
        for (earlier, before), (later, after) in pairwise(runs):
            assert before[-1] < after[0], ("two at once", step["id"], earlier, later)
        assert len({attempt for (attempt, _), _ in runs}) == len(runs), ("run twice", step, runs)
        self._runs[kind, "all" if kind == "line" else build["id"]] += [
            (ticks[0], ticks[-1]) for _, ticks in runs
        ]
        for attempt in range(1, number + 1):
            written = _without_note(self._log(step["id"], attempt))
            whole = log_of(kind, name, attempt)
            is_whole = attempt == number and status == "SUCCESS"
            fits = written == whole if is_whole else whole.startswith(written)
            fits = fits or (attempt in failed and NO_ROOM in written)
            assert fits, (step, attempt, _where_they_part(written, whole))

    def _failed_attempts(self, step: Mapping[str, Any], kind: str) -> Collection[int]:
        """Those that a full disk has failed: a script does it itself only where it is to."""
        found, query = set(), _FAILED.format(step["id"])
        for number, code, reason, agent, began, ended in self.crowd.rows(query):
            if kind == "again" and number == 1 and code == AGAIN_EXIT_CODE:
                continue
            whose, at = f"agent {agent}", (began / 1e6 - SLACK_SECONDS, ended / 1e6)
            was_full = any(
                name == whose and since < at[1] and until > at[0]
                for name, since, until in self.full
            )
            was_helped = reason in ("engine", "source") and number < (step.get("attempt") or 0)
            if not was_full and was_helped:
                # What a step needs of others did not come while all was being killed; it got it
                # with its next attempt.
                self.counts[f"attempts that failed for {reason}, and were made again"] += 1
                continue
            assert was_full, (step, number, code, reason, agent, self._log(step["id"], number))
            self.counts["attempts failed by a full disk"] += 1
            found.add(number)
        return found

    def check_groups(self) -> None:
        """Of those that may not be at once, nothing was; by what the scripts wrote."""
        line = self._runs.get(("line", "all"), [])
        self.counts["most of a step group at once"] = most_at_once(line)
        assert most_at_once(line) <= IN_LINE_AT_ONCE
        alone = {build: runs for (kind, build), runs in self._runs.items() if kind == "alone"}
        projects = {build: self.client.build(build)["projectId"] for build in alone}
        for project in set(projects.values()):
            spans = [
                (min(runs)[0], max(end for _, end in runs))
                for build, runs in alone.items()
                if runs and projects[build] == project
            ]
            assert most_at_once(spans) <= 1, (project, sorted(spans))

    def _last_log(self, step: Mapping[str, Any]) -> str:
        return self._log(step["id"], step.get("attempt") or 0)[-500:].decode()

    def _log(self, step_id: str, attempt: int) -> bytes:
        return Api(self.client.url, self.client.token).log(step_id, attempt)

    def check_objects(self) -> None:
        """What lies in the store is a log of an attempt, or bytes that a row names; or of files
        that were stored when a coordinator died, before their row was: these go after a week."""
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
                self.counts[UNNAMED] += rest.rpartition("/")[2] not in named | doomed
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


OF_AIOHTTP = re.compile(
    r"aiohttp\.server: Unhandled exception\nTraceback \(most recent call last\):(\n  .*)*\n"
    r"    self\._handler_waiter\.set_result\(None\)\n(    .*\n)*"
    r"asyncio\.exceptions\.InvalidStateError: invalid state"
)
"""Where a connection's time to end is over in the turn of the loop in which its last request is
answered, as after a pause: `RequestHandler.shutdown` has cancelled the future by then (3.14)."""


def check_notes(folder: Path) -> None:
    """What happens here is no fault of ours: it is told in words."""
    for path in sorted(folder.glob("*.log")):
        said = OF_AIOHTTP.sub("", path.read_text(errors="replace"))
        at = said.find("Traceback (most recent call last)")
        assert at < 0, f"{path.name}: {said[max(0, at - 300) : at + 4000]}"


def failures(folder: Path) -> Iterator[str]:
    """What agents say of attempts that got not what they need."""
    for path in sorted(folder.glob("agent-*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if "step_execution: attempt" in line:
                yield f"{path.stem}: {line}"


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
