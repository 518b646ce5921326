from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushrod.commands.validate import validate

GOOD = "name: ci\non: {push: {}}\nsteps:\n  - {name: test, image: debian, run: 'true'}\n"
BAD = "name: ci\non: {push: {}}\nsteps:\n  - {name: test, image: debian, runs: 'true'}\n"


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(validate, [str(argument) for argument in arguments])


def test_every_workflow_of_a_repository_is_checked(tmp_path: Path) -> None:
    (tmp_path / ".pushrod.yml").write_text(GOOD)
    (tmp_path / ".pushrod").mkdir()
    (tmp_path / ".pushrod/deploy.yml").write_text(BAD)
    (tmp_path / ".pushrod/notes.txt").write_text("not a workflow")
    result = check(tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}/.pushrod.yml: ok" in result.stderr
    assert result.stdout.startswith(f"{tmp_path}/.pushrod/deploy.yml:4:")
    assert "notes.txt" not in result.output
    assert result.stderr.endswith("2 problems in 1 of 2 files\n")


def test_good_files_are_answered_by_exit_code_0(tmp_path: Path) -> None:
    file = tmp_path / "any-name"
    file.write_text(GOOD)
    assert check(file).exit_code == 0


def test_programs_get_one_json_document(tmp_path: Path) -> None:
    file = tmp_path / "ci.yml"
    file.write_text(BAD)
    result = check(file, "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert answer["valid"] is False
    assert all(problem["line"] == 4 and problem["column"] > 0 for problem in answer["problems"])
    assert answer["problems"]


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".pushrod.yml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    result = check()
    assert (result.exit_code, result.stderr) == (0, ".pushrod.yml: ok\n")


def test_no_workflow_at_all_is_an_error_that_says_where_to_write_one(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.exit_code == 1
    assert "write one to .pushrod.yml" in result.stderr


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    result = check(tmp_path / "none.yml")
    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path}/none.yml: can't be read: No such file or directory\n"


def test_what_can_not_be_read_hides_no_mistakes_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(BAD)
    (tmp_path / "empty").mkdir()
    result = check(*(tmp_path / name for name in ("none.yml", "bad.yml", "empty", "good.yml")))
    assert result.exit_code == 1
    assert "none.yml: can't be read: No such file or directory" in result.stdout
    assert f"{tmp_path}/bad.yml:4:" in result.stdout
    assert "write one to .pushrod.yml" in result.stdout
    assert "good.yml: ok" in result.stderr
    assert result.stderr.endswith("in 3 of 4 files\n")


MODULES = "modules:\n  core: {path: core, targets: {default: ci, docs: {workflow: ci, step: %s}}}\n"


def test_modules_are_checked_against_the_workflows_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".pushrod.yml").write_text(GOOD)
    (tmp_path / ".pushrod").mkdir()
    (tmp_path / ".pushrod/modules.yml").write_text(MODULES % "test")
    assert "there is no folder `core` in the repository" in check(tmp_path).stdout
    (tmp_path / "core").mkdir()
    assert check(tmp_path).exit_code == 0
    (tmp_path / ".pushrod/modules.yml").write_text(MODULES % "tset")
    result = check(tmp_path)
    assert result.exit_code == 1
    wrong = (
        ".pushrod/modules.yml:2:72: the workflow `ci` has no step `tset`: did you mean `test`?\n"
    )
    assert result.stdout == f"{tmp_path}/{wrong}"
    monkeypatch.chdir(tmp_path / ".pushrod")
    assert check("modules.yml").stdout == wrong.removeprefix(".pushrod/")
