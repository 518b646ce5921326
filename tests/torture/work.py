"""What is built in the torture of several coordinators, and what each must come to.

Each attempt of a step ticks: it writes the boot clock into a file outside, many times a second, so
that what ran when is seen whatever anybody believes. A file for each, since another agent's scripts
are another user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, count
from pathlib import Path

from tests.e2e.processes import Repository

TICKS = 12
MOST = 10
"""Attempts of a step."""
SAID = "said in the repository\n"
MADE = "made by a step\n"
FILLER = "0123456789" * 40
_TICKING = f"""\
      n=0
      while [ $n -lt {TICKS} ]; do
        read up idle < /proc/uptime
        echo "$up" >> WITNESS/$PUSHROD_STEP_ID.$PUSHROD_ATTEMPT.$$
        echo "$n of attempt $PUSHROD_ATTEMPT {FILLER}"
        sleep 0.1
        n=$((n+1))
      done
"""
_HEAD = "on: {push: {}, manual: {}}\ndefaults: {image: any}\n"
_LOST = f"retries: {{max: {MOST - 1}, on: [lost, failed]}}"
"""Nothing of them fails by itself, but where a disk is full."""
IN_LINE_AT_ONCE = 2


def _step(name: str, *keys: str, before: str = "", after: str = "") -> str:
    lines = "".join(f"    {key}\n" for key in keys)
    ends = [f"      {line}\n" if line else "" for line in (before, after)]
    return f"  - name: {name}\n{lines}    run: |\n{ends[0]}{_TICKING}{ends[1]}"


_MAKE = "mkdir -p out; echo made by a step > out/made"
WORKFLOWS: Mapping[str, str] = {
    # One after two, one of them with the repository's files, the other with files for the last.
    "plain": _step("make", "git: false", _LOST, "outputPaths: [out/]", after=_MAKE)
    + _step("read", _LOST, before="cat said")
    + _step("use", "git: false", _LOST, "dependsOn: [make, read]", before="cat out/made"),
    # It fails once, and may be lost any time.
    "again": _step(
        "make",
        "git: false",
        _LOST,
        after='[ "$PUSHROD_ATTEMPT" -ge 2 ] || exit 7',
    ),
    # It runs once, or nobody knows how far it came.
    "once": _step("make", "git: false", "atMostOnce: true"),
    "gate": _step("make", "git: false", _LOST)
    + "  - {name: release, approve: {expires: 1h}, dependsOn: [make]}\n"
    + _step("use", "git: false", _LOST, "dependsOn: [release]"),
    # Of all builds together, two at once.
    "line": "".join(
        _step(name, "git: false", _LOST, f"concurrency: {{group: line, limit: {IN_LINE_AT_ONCE}}}")
        for name in ("one", "two", "three")
    ),
    # One build at once, and the newest waits.
    "alone": _step("make", "git: false", _LOST),
}
_BEFORE_STEPS = {"alone": "concurrency: {group: alone}\n"}
AGAIN_EXIT_CODE = 7
KINDS = tuple(WORKFLOWS)
BEFORE = {("plain", "read"): SAID, ("plain", "use"): MADE}


def workflow(kind: str, witness: Path) -> str:
    said = f"{_HEAD}{_BEFORE_STEPS.get(kind, '')}steps:\n{WORKFLOWS[kind]}"
    return f"name: torture\n{said}".replace("WITNESS", str(witness))


def log_of(kind: str, name: str, attempt: int) -> bytes:
    """What that attempt writes, if it comes to its end."""
    ticks = (f"{n} of attempt {attempt} {FILLER}\n" for n in range(TICKS))
    return (BEFORE.get((kind, name), "") + "".join(ticks)).encode()


def most_attempts(kind: str) -> int:
    return 1 if kind == "once" else MOST


class Commits:
    """Of each kind, one upon the other on each branch; `bare` is a repository elsewhere."""

    def __init__(self, folder: Path, witness: Path) -> None:
        self.repository = Repository.create(folder / "repository")
        self.bare = folder / "bare.git"
        self.repository.git("init", "-q", "--bare", "-b", "main", str(self.bare))
        self._trees: dict[str, str] = {}
        self._count = count()
        self.repository.write("said", SAID)
        for kind in KINDS:
            self.repository.write(".pushrod.yml", workflow(kind, witness))
            first = self.repository.commit(kind)
            self._trees[kind] = self.repository.git("rev-parse", "HEAD^{tree}").strip()
        self._last = {"main": first}
        self.of_kind = {kind: self.told(kind)[1] for kind in KINDS}

    def new(self, kind: str, branch: str = "main") -> tuple[str, str]:
        """The branch's commit before, and a new one, which is nowhere else yet. Only one thread
        may make those of a branch."""
        before = self._last.get(branch, self._last["main"])
        told, tree = f"{branch} {next(self._count)}", self._trees[kind]
        made = self.repository.git("commit-tree", tree, "-p", before, "-m", told)
        self._last[branch] = made.strip()
        return before, self._last[branch]

    def told(self, kind: str) -> tuple[str, str]:
        """The same on the main branch of `bare`."""
        before, after = self.new(kind)
        self.repository.git("push", "-q", str(self.bare), f"{after}:refs/heads/main")
        return before, after


def runs_of(witness: Path, step_id: str) -> Sequence[tuple[tuple[str, str], list[float]]]:
    """Attempt and process of each run of the step, in the order of their beginnings, and when they
    ticked."""
    runs: list[tuple[tuple[str, str], list[float]]] = []
    for path in witness.glob(f"{step_id}.*"):
        _, attempt, process = path.name.split(".")
        # A tick that was cut off by a kill is none.
        ticks = [float(up) for up in path.read_text().split("\n")[:-1]]
        if ticks:
            runs.append(((attempt, process), ticks))
    return sorted(runs, key=lambda run: run[1][0])


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Of so many from when to when."""
    turns = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    return max(accumulate((turn for _, turn in turns), initial=0))
