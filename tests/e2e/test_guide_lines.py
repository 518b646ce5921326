"""Each page of the guide is followed from top to bottom: its lines as written, on `pushrod up`."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TestEngine
from tests.e2e.forked_program import forking_program
from tests.e2e.guide_lines import (
    BEFORE,
    NOT_RUN,
    PAGES,
    PLACEHOLDERS,
    PLACES,
    REFUSED,
    STAYS,
    Line,
    lines_of,
)
from tests.e2e.processes import READY, Api, Process
from tests.integration.coordinator_fixture import GIT_ENVIRONMENT

FOLLOWED = [page for page in PAGES if any(not line.why_not_run for line in lines_of(page))]
SETTINGS = {
    "allow_file_repositories": "true",
    "smtp_server": "127.0.0.1:9",
    "mail_from": "ci@example.org",
}
PRELUDE = """\
set -Eeuo pipefail
trap 'echo "FAILED: $said" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

member() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
id_of() { member "${1:-}['id']"; }

stays() {  # what runs until it is ended, with a folder of its own, and a port if it listens
    set -- "$@" --data "$PWD/data-$RANDOM"
    case $2 in up|coordinator) set -- "$@" --listen 127.0.0.1:0 ;; esac
    "$@" > stays.log 2>&1 &
    until grep -qE '^ready |agent.worker: engine' stays.log; do
        kill -0 $! 2>/dev/null || { cat stays.log >&2; return 1; }
        sleep 0.1
    done
}

refused() {  # with these words
    "${@:2}" > answer 2>&1 && return 1
    grep -q "$1" answer
}

no_error() {
    ! grep -q '"error"' answer ||
        ! python3 -c 'import json; json.load(open("answer"))["error"]' 2>/dev/null
}

api() {
    curl -fsS -H "Authorization: Bearer $(cat ~/.local/share/pushrod/admin-token)" \\
        -H 'Content-Type: application/json' "$@"
}

a_build() {  # of the project that there is; its script
    local project workflow
    project=$(pushrod project list --json | id_of '[0]')
    workflow=$(api $PUSHROD_URL/api/projects/$project/workflows -d '{"name": "by hand", "steps": [
        {"name": "a", "imageSlug": "debian", "dependsOn": [], "runScript": "'"$1"'",
         "cacheDirs": [], "outputPaths": []'"${2:-}"'}]}' | id_of)
    api $PUSHROD_URL/api/projects/$project/builds -d '{"workflowId": "'$workflow'"}'
}

fail_a_build() { a_build false > made; pushrod logs -f shop#1 || true; }

a_step() {  # that no agent takes
    pushrod project create app
    STEP=$(a_build 'echo fine' ', "agents": {"worker": "mine"}' | id_of '["steps"][0]')
}
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody with a home of their own, who follows a page."""

    home: Path
    api: Api
    image: str

    def follow(self, page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
        script = [PRELUDE]
        for line in lines_of(page):
            if line.why_not_run is None:
                script += self._with_what_comes_before(line, folder)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUSHROD_", "XDG_"))}
        return subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=folder,
            env={
                **kept,
                **{k: v for k, v in os.environ.items() if k.startswith("PUSHROD_ENGINE_")},
                **GIT_ENVIRONMENT,
                "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "PUSHROD_URL": self.api.url,
                "IMAGE": self.image,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def _with_what_comes_before(self, line: Line, folder: Path) -> list[str]:
        text = self._filled(line.text, folder)
        if found := STAYS.match(text):
            text = f"{found[1]}stays {found[2]}"
        if words := REFUSED.get(line.text):
            text = f"refused '{words}' {text}"
        else:
            text = f"{{ {text}\n}} > answer; cat answer; no_error"
        return [before(line), f"said={quoted(line.text)}", text]

    def _filled(self, text: str, folder: Path) -> str:
        for place, here in PLACES.items():
            text = text.replace(place, here.format(url=self.api.url, folder=folder))
        text = re.sub(r"(?<=[ @])127\.0\.0\.1:3000", self.api.url.removeprefix("http://"), text)
        return PLACEHOLDERS.sub(lambda m: f"${'NUMBER' if m[1] == '12' else m[1]}", text)

    def tidy(self) -> None:
        """What a page made; the next one begins as if it were the first."""
        for project in self.api.get("/api/projects?accountId=default"):
            deadline = time.monotonic() + 120
            while not self._is_gone(project["id"]):
                assert time.monotonic() < deadline, self.api.builds()

    def _is_gone(self, project_id: str) -> bool:
        """Not with a build that has not finished: a delivery may have made one just now."""
        for build in self.api.builds():
            if build["state"] not in ("succeeded", "failed", "cancelled"):
                self.api.request("POST", f"/api/projects/-/builds/{build['id']}/cancel", {})
                self.api.wait_finished(build["id"])
        status, answer, _ = self.api.request("DELETE", f"/api/projects/{project_id}")
        assert status in (204, 409), answer
        return status == 204


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def before(line: Line) -> str:
    """The longest beginning counts, so that a line may have more said of it than others."""
    known = [at for page, at in BEFORE if page == line.page and line.text.startswith(at)]
    return BEFORE[line.page, max(known, key=len)] if known else ""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, buildkit: TestEngine) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("home")
    (home / "bin").mkdir()
    data = home / ".local/share/pushrod"
    up = Process(
        *("up", "--data", str(data), "--listen", "127.0.0.1:0", "--engine", "host"),
        log=home / "up.log",
        settings=SETTINGS,
    )
    try:
        url = up.start(READY.pattern)
        api = Api(url, (data / "admin-token").read_text().strip())
        with forking_program(home / "bin" / "pushrod"):
            yield Reader(home, api, buildkit.image)
    finally:
        up.stop()


@pytest.fixture
def tidied(reader: Reader) -> Iterator[Reader]:
    yield reader
    reader.tidy()


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_a_page_can_be_followed_from_its_first_line_to_its_last(
    page: Path, tidied: Reader, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    done = tidied.follow(page, folder)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n--- printed\n{done.stdout[-3000:]}"


def test_what_is_not_run_stands_on_a_page() -> None:
    written = {line.text for page in PAGES for line in lines_of(page)}
    assert set(NOT_RUN) - written == set()
    assert set(REFUSED) - written == set()


def test_what_comes_before_a_line_comes_before_one_that_there_is() -> None:
    used = {(line.page, before(line)) for page in PAGES for line in lines_of(page)}
    unused = {at for at, text in BEFORE.items() if (at[0], text) not in used}
    assert unused == set()


def test_most_lines_are_run() -> None:
    lines = [line for page in PAGES for line in lines_of(page)]
    assert sum(line.why_not_run is None for line in lines) > 70
