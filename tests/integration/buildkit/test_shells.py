"""In which folder and by which program a script runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import CacheMount, Outcome

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine


def tree(folder: Path) -> Path:
    (folder / "tree" / "it's {a} $b").mkdir(parents=True)
    (folder / "tree" / "it's {a} $b" / "file").write_text("found")
    os.symlink("/etc", folder / "tree" / "out")
    return folder / "tree"


async def test_a_script_begins_in_its_folder_and_other_paths_at_the_workspace(
    one_bench: Bench, tmp_path: Path
) -> None:
    ran = await one_bench.run(
        "pwd; cat file; touch made; false | true; echo not reached",
        workdir="it's {a} $b",
        source=one_bench.source(folder=tree(tmp_path), key=str(tmp_path)),
        output_paths=["*/made"],
        cache_mounts=[CacheMount(id=f"test-{os.urandom(8).hex()}", path="/workspace/c")],
    )
    assert ran.log.stdout == b"/workspace/it's {a} $b\nfound"
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 1)
    assert [path.name for path in ran.outputs.rglob("made")] == ["made"]


@pytest.mark.parametrize("workdir", ["nowhere", "out"])
async def test_a_folder_that_is_not_in_the_workspace_fails_the_step_and_is_named(
    one_bench: Bench, tmp_path: Path, workdir: str
) -> None:
    ran = await one_bench.run(
        "echo not reached",
        workdir=workdir,
        source=one_bench.source(folder=tree(tmp_path), key=str(tmp_path)),
    )
    assert (
        ran.log.stdout
        == (
            f"pushrod: the workspace has no folder {workdir}, which the step's `workdir` names\n"
        ).encode()
    )
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 1)


async def test_a_script_runs_by_its_shell(one_bench: Bench) -> None:
    ran = await one_bench.run('echo "$0 [${BASH_VERSION-}]"; false; echo not reached', shell="sh")
    assert (ran.log.stdout, ran.result.exit_code) == (b"/.pushrod/step/script []\n", 1)


async def test_a_program_with_arguments_gets_the_scripts_path_and_a_missing_one_is_named(
    one_bench: Bench,
) -> None:
    ran = await one_bench.run("{ print $1; exit 3 }", shell="head -n 1")
    assert (ran.log.stdout, ran.result.exit_code) == (b"{ print $1; exit 3 }", 0)
    ran = await one_bench.run("x", shell="no-such-program -x")
    assert b"no program no-such-program, which" in ran.log.stdout
    assert ran.result.exit_code == 127
