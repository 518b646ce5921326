"""The example of a project whose builds start another's: both pushed for real."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.processes import Pushrod, Repository, running, step_named

EXAMPLE = Path(__file__).parents[2] / "examples" / "library-and-app"


def pushed(pushrod: Pushrod, folder: Path, name: str) -> tuple[str, Repository]:
    """The project's id."""
    repository = Repository.create(folder / name)
    shutil.copytree(EXAMPLE / name, repository.path, dirs_exist_ok=True)
    repository.commit(name)
    project = pushrod.create_project(name)
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    return project["id"], repository


def test_the_app_is_built_by_its_pushes_and_after_its_library(tmp_path: Path) -> None:
    with running(tmp_path / "pushrod") as pushrod:
        app, _ = pushed(pushrod, tmp_path, "app")
        _, library = pushed(pushrod, tmp_path, "library")
        pushrod.api.wait_for_builds(3)
        by_library, by_push = (
            pushrod.api.wait_finished(str(build["id"])) for build in pushrod.api.builds(app)
        )
        assert [one["event"] for one in (by_push, by_library)] == ["push", "build"]
        assert [one["state"] for one in (by_push, by_library)] == ["succeeded", "succeeded"]
        assert step_named(by_push, "with-library")["status"] == "SKIPPED"
        shown = pushrod.command("build", "show", by_library["id"]).stdout
        assert "started by library #1 (build)" in shown
        assert f"upstream {by_library['upstream']['url']}" in shown
        assert "upstream" not in by_push
        said = pushrod.api.log(step_named(by_library, "with-library")["id"]).decode()
        assert said == f"with library's build 1 of {library.git('rev-parse', 'HEAD').strip()}\n"
