"""The command `pushrod import`: what it finds, writes, refuses, and answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pushrod.commands.import_ import import_
from pushrod.commands.validate import validate

GITHUB = (
    "on: push\njobs:\n  test: {runs-on: ubuntu-latest, container: debian, steps: [{run: make}]}\n"
)
WHOLE = "image: debian\ntest: {script: [make]}\n"
"""All of it is carried over."""
GITLAB = "test: {image: debian, script: [make], coverage: /x/}\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(import_, [str(argument) for argument in arguments])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".gitlab-ci.yml").write_text(WHOLE)
    return tmp_path


def test_a_repository_gets_a_workflow_that_passes_validate(repository: Path) -> None:
    result = run(repository)
    assert (result.exit_code, result.stdout) == (0, "")
    assert ".gitlab-ci.yml (GitLab CI): of 3 keys, 3 carried over, 0 changed" in result.stderr
    assert result.stderr.endswith(f"wrote {repository}/.pushrod.yml\n")
    assert CliRunner().invoke(validate, [str(repository)]).exit_code == 0


def test_what_is_left_out_is_told_with_its_place_and_by_the_exit_code(repository: Path) -> None:
    (repository / ".gitlab-ci.yml").write_text(GITLAB)
    result = run(repository)
    assert result.exit_code == 3
    line = ".gitlab-ci.yml:1:39: not carried over: `coverage`: "
    assert line in result.stderr
    assert f"  # {line}" in (repository / ".pushrod.yml").read_text()


def test_the_current_folder_is_the_default(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    assert run().exit_code == 0
    assert (repository / ".pushrod.yml").exists()


def test_what_is_there_is_overwritten_only_if_asked(repository: Path) -> None:
    file = repository / ".pushrod.yml"
    file.write_text("mine")
    result = run(repository)
    assert (result.exit_code, file.read_text()) == (1, "mine")
    assert "--force" in result.stderr
    assert run(repository, "--force").exit_code == 0
    assert file.read_text().startswith("# Imported from .gitlab-ci.yml")


def test_a_link_in_the_place_of_the_workflow_is_replaced_and_not_followed(
    repository: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (repository / ".pushrod.yml").symlink_to(target)
    assert run(repository).exit_code == 1
    assert run(repository, "--force").exit_code == 0
    assert target.read_text() == "untouched"
    assert not (repository / ".pushrod.yml").is_symlink()


def test_several_systems_are_named_and_one_is_chosen(repository: Path) -> None:
    workflows = repository / ".github/workflows"
    workflows.mkdir(parents=True)
    (workflows / "ci.yml").write_text(GITHUB)
    result = run(repository)
    assert result.exit_code == 1
    assert (
        "--from github (.github/workflows/ci.yml); --from gitlab (.gitlab-ci.yml)" in result.stderr
    )
    assert run(repository, "--from", "gitlab").exit_code == 0
    assert run(workflows / "ci.yml", "--force").exit_code == 0
    assert ".github/workflows/ci.yml" in (repository / ".pushrod.yml").read_text()


def test_several_workflows_become_files_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.yml").write_text(f"name: Work {name}\n{GITHUB}")
    (folder / "modules.yml").write_text(f"name: modules\n{GITHUB}")
    assert run(tmp_path).exit_code == 0
    names = sorted(path.name for path in (tmp_path / ".pushrod").iterdir())
    assert names == ["modules-ci.yml", "work-a.yml", "work-b.yml"]
    refused = run(tmp_path, "--output", "-")
    assert refused.exit_code == 1
    assert "these are 3 workflows" in refused.stderr


def test_to_stdout_goes_the_workflow_alone(repository: Path) -> None:
    result = run(repository, "--output", "-")
    assert result.stdout.startswith("# Imported from .gitlab-ci.yml")
    assert "carried over" in result.stderr
    assert not (repository / ".pushrod.yml").exists()


def test_to_a_file_of_ones_own(repository: Path, tmp_path: Path) -> None:
    assert run(repository, "-o", tmp_path / "out.yml").exit_code == 0
    assert (tmp_path / "out.yml").read_text().startswith("# Imported")


def test_programs_get_one_json_document(repository: Path) -> None:
    (repository / ".gitlab-ci.yml").write_text(GITLAB)
    result = run(repository, "--json")
    answer = json.loads(result.stdout)
    assert answer["written"] == [f"{repository}/.pushrod.yml"]
    [file] = answer["files"]
    assert (file["carried"], file["changed"], file["left"]) == (3, 0, 1)
    [finding] = file["findings"]
    assert (finding["line"], finding["column"], finding["key"]) == (1, 39, "coverage")
    assert run(repository, "--json", "--output", "-").exit_code == 2


def test_a_broken_file_is_told_with_its_place_and_nothing_is_written(repository: Path) -> None:
    (repository / ".gitlab-ci.yml").write_text("a: [\n")
    result = run(repository)
    assert result.exit_code == 1
    assert ".gitlab-ci.yml:" in result.stderr
    assert result.stderr.endswith("nothing was written\n")
    assert not (repository / ".pushrod.yml").exists()


def test_where_there_is_nothing_it_says_what_it_looked_for(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "bitbucket-pipelines.yml" in result.stderr
    assert run(tmp_path / "nowhere").exit_code == 1
    (tmp_path / "any.yml").write_text(WHOLE)
    assert "--from" in run(tmp_path / "any.yml").stderr
    assert run(tmp_path / "any.yml", "--from", "gitlab").exit_code == 0


def test_included_files_are_read_unless_a_link_leads_out(repository: Path) -> None:
    secret = repository.parent / f"{repository.name}-outside.yml"
    secret.write_text("outside: {image: debian, script: [echo outside]}\n")
    (repository / "inside.yml").write_text("inside: {image: debian, script: [echo inside]}\n")
    (repository / "link.yml").symlink_to(secret)
    os.mkfifo(repository / "pipe.yml")
    includes = [f"../{secret.name}", "link.yml", "pipe.yml", "inside.yml"]
    listed = "".join(f"  - local: {one}\n" for one in includes)
    (repository / ".gitlab-ci.yml").write_text(f"include:\n{listed}{WHOLE}")
    result = run(repository)
    text = (repository / ".pushrod.yml").read_text()
    assert result.exit_code == 3
    assert "echo inside" in text
    assert "echo outside" not in text
    assert result.stderr.count("no file of this repository") == 3


@pytest.mark.parametrize(
    ("files", "branch"),
    [
        ({"HEAD": "ref: refs/heads/trunk\n"}, "trunk"),
        (
            {
                "HEAD": "ref: refs/heads/feature\n",
                "refs/remotes/origin/HEAD": "ref: refs/remotes/origin/master\n",
            },
            "master",
        ),
        ({"HEAD": "0" * 40}, "main"),
    ],
)
def test_the_default_branch_is_gits(repository: Path, files: dict[str, str], branch: str) -> None:
    for name, text in files.items():
        file = repository / ".git" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (repository / ".gitlab-ci.yml").write_text(
        f"{WHOLE[:-2]}, rules: [{{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}}]}}\n"
    )
    assert run(repository).exit_code == 0
    assert f'branch == "{branch}"' in (repository / ".pushrod.yml").read_text()
    assert run(repository, "--force", "--default-branch", "other").exit_code == 0
    assert 'branch == "other"' in (repository / ".pushrod.yml").read_text()


def test_secrets_that_are_to_be_set_are_named(tmp_path: Path) -> None:
    (tmp_path / ".drone.yml").write_text(
        "kind: pipeline\nname: x\nsteps:\n"
        "- {name: a, image: b, commands: [c], environment: {T: {from_secret: my-token}}}\n"
    )
    assert "secrets to set (pushrod secret set PROJECT NAME): my_token\n" in run(tmp_path).stderr


def test_it_needs_no_coordinator_and_no_home(repository: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pushrod", "import", str(repository)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (0, "")


def test_other_peoples_words_move_no_cursor(repository: Path) -> None:
    (repository / ".gitlab-ci.yml").write_text(
        'test: {image: debian, script: [make], "\\e[31mred\\nx": 1}\n'
    )
    result = run(repository)
    assert "\x1b" not in result.stderr
    assert "\x1b" not in (repository / ".pushrod.yml").read_text()
    assert CliRunner().invoke(validate, [str(repository)]).exit_code == 0
