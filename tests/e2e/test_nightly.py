"""The example of a nightly schedule: pushed for real, and built by itself within the minute."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.processes import Repository, running, step_named

EXAMPLE = Path(__file__).parents[2] / "examples" / "nightly"
WORKDAYS = '"0 3 * * 1-5"'


def test_nightly_is_quick_for_a_push_and_long_by_its_schedule(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "nightly")
    shutil.copytree(EXAMPLE, repository.path, dirs_exist_ok=True)
    workflow = repository.path / ".pushrod.yml"
    text = workflow.read_text(encoding="utf-8")
    assert WORKDAYS in text
    workflow.write_text(text.replace(WORKDAYS, '"* * * * *"'), encoding="utf-8")
    with running(tmp_path / "pushrod") as pushrod:
        project = pushrod.create_project("nightly")
        repository.commit("spans")
        repository.push(project["pushUrl"], pushrod.api.token, check=True)
        pushrod.api.wait_for_builds(2)
        newest_first = pushrod.api.builds(project["id"])
        by_push, by_time = (
            pushrod.api.wait_finished(str(build["id"])) for build in newest_first[-1:-3:-1]
        )
        assert [one["event"] for one in (by_push, by_time)] == ["push", "schedule"]
        assert [one["state"] for one in (by_push, by_time)] == ["succeeded", "succeeded"]
        assert pushrod.api.log(step_named(by_push, "fuzz")["id"]) == b"200 rounds\n"
        assert step_named(by_push, "summary")["status"] == "SKIPPED"
        assert pushrod.api.log(step_named(by_time, "fuzz")["id"]) == b"20000 rounds\n"
        said = pushrod.api.log(step_named(by_time, "summary")["id"]).decode()
        sha = repository.git("rev-parse", "HEAD").strip()
        assert said == f"Nothing found in 20000 rounds at {sha}.\n"
