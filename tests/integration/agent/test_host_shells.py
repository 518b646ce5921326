"""In which folder and by which program a script runs on the host engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.engines.protocol import Outcome
from tests.integration.agent.test_host_engine import Bench, Tree, bench

__all__ = ["bench"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "tree" / "a b").mkdir(parents=True)
    (tmp_path / "tree" / "a b" / "file").write_text("found\n")
    os.symlink("/etc", tmp_path / "tree" / "out")
    return Tree(tmp_path / "tree")


async def test_a_script_begins_in_its_folder_and_outputs_at_the_workspace(
    bench: Bench, tree: Tree
) -> None:
    await bench.run(
        'cat file; basename "$PWD"; touch made', workdir="a b", source=tree, output_paths=["a b/m*"]
    )
    assert bench.output.text == "found\na b\n"
    assert (bench.outputs / "a b" / "made").exists()


@pytest.mark.parametrize("workdir", ["nowhere", "out"])
async def test_a_folder_that_is_not_in_the_workspace_fails_the_step_and_is_named(
    bench: Bench, tree: Tree, workdir: str
) -> None:
    result = await bench.run("echo not reached", workdir=workdir, source=tree)
    assert f"the workspace has no folder {workdir}, which" in bench.output.text
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, 1)


@pytest.mark.parametrize(
    ("shell", "script", "said", "code"),
    [
        ("sh", 'echo "[${BASH_VERSION-}]"; false; echo not reached', "[]\n", 1),
        ("python", "import sys\nprint(6 * 7)\nsys.exit(3)", "42\n", 3),
        ("head -n 1", "one\ntwo", "one\n", 0),
        ("no-such-program -x", "x", "no program no-such-program, which", 127),
    ],
)
async def test_a_script_runs_by_its_shell(
    bench: Bench, shell: str, script: str, said: str, code: int
) -> None:
    result = await bench.run(script, shell=shell)
    assert said in bench.output.text
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, code)
