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


def including(tmp_path: Path, include: str, step: str = "{name: a, use: t}") -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "ci").mkdir()
    (tmp_path / ".pushrod").mkdir()
    file = tmp_path / ".pushrod/ci.yml"
    file.write_text(f"include: {include}\nsteps:\n  - {step}\n")
    return file


def test_included_files_of_the_repository_are_read_beside_it(tmp_path: Path) -> None:
    file = including(tmp_path, "[ci/common.yml]")
    (tmp_path / "ci/common.yml").write_text("templates: {t: {image: a, run: b, timeout: soon}}\n")
    result = check(file)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{tmp_path}/ci/common.yml:1:44: `timeout` is no duration")
    assert "ok" not in result.stderr
    (tmp_path / "ci/common.yml").write_text("templates: {t: {image: a, run: b}}\n")
    assert check(file).exit_code == 0


def test_a_file_that_is_not_there_or_a_link_can_not_be_included(tmp_path: Path) -> None:
    file = including(tmp_path, "[ci/none.yml, ci/link.yml, linked/common.yml]")
    (tmp_path / "ci/common.yml").write_text("templates: {t: {image: a, run: b}}\n")
    (tmp_path / "ci/link.yml").symlink_to("common.yml")
    (tmp_path / "linked").symlink_to("ci")
    result = check(file)
    for name in ("ci/none.yml", "ci/link.yml", "linked/common.yml"):
        assert f"there is no file `{name}` in this repository" in result.stdout
    assert len(result.stdout.splitlines()) == 3


def test_what_lies_in_other_projects_is_named_as_unchecked(tmp_path: Path) -> None:
    file = including(tmp_path, "{project: shared-ci, ref: v1, file: python.yml}")
    result = check(file)
    assert result.exit_code == 0
    said = f"{file}:1:10: unchecked, as it lies in another project: shared-ci/python.yml@v1\n"
    assert said in result.stderr
    data = json.loads(check("--json", file).stdout)
    assert data["unchecked"] == ["shared-ci/python.yml@v1"]


def test_what_can_be_known_without_other_projects_is_checked(tmp_path: Path) -> None:
    include = "{project: shared-ci, file: python.yml}"
    file = including(tmp_path, include, "{name: a, use: t, timeout: soon}\n  - {name: b}")
    messages = [line.split(": ", 1)[1] for line in check(file).stdout.splitlines()]
    assert [message.partition(":")[0] for message in messages] == [
        "`timeout` is no duration",
        "step `b` needs `run`",
    ]


def test_an_included_file_is_named_from_the_root_of_the_repository(tmp_path: Path) -> None:
    inner = tmp_path / "examples/one"
    (inner / ".pushrod").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    workflow = "include: t.yml\nsteps: [{name: a, use: t}]\n"
    (inner / "t.yml").write_text("templates: {t: {image: a, run: b}}\n")
    for name in (".pushrod.yml", ".pushrod/ci.yml"):
        (inner / name).write_text(workflow)
        assert check(inner / name).exit_code == 0
    (inner / "any.yml").write_text(workflow)
    assert "there is no file `t.yml`" in check(inner / "any.yml").stdout
    (tmp_path / "t.yml").write_text("templates: {t: {image: a, run: b}}\n")
    assert check(inner / "any.yml").exit_code == 0
