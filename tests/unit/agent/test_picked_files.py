"""The files that a step's `inputs` name: laid out by the agent as the coordinator counts them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pygit2
import pytest

from agent.picked_files import name_of, pick
from agent.source_trees import WorkTree
from coordinator.git.input_files import input_files
from coordinator.git.opened import CommitMissing
from pipelines_schema.input_files import may_hold_inputs

FILES = ("a.py", "src/a.py", "src/deep/b.py", "src/deep/c.md", "docs/d.md", "docs/old/e.md")
ODD = b"src/\xff.py"


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    tree = WorkTree(folder=tmp_path / "tree", commit=None)
    for name in FILES:
        file = tree.files / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tree.files / "src/tool").write_text("tool")
    (tree.files / "src/tool").chmod(0o755)
    (tree.files / "src/link").symlink_to("deep")
    Path(bytes(tree.files).decode(), ODD.decode(errors="surrogateescape")).write_text("odd")
    return tree


def committed(tree: WorkTree) -> tuple[Path, str]:
    def git(*arguments: str) -> str:
        told = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tree.files,
            check=True,
            capture_output=True,
            text=True,
        )
        return told.stdout.strip()

    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "all")
    return tree.files / ".git", git("rev-parse", "HEAD")


def laid(folder: Path) -> set[str]:
    files = (one for one in folder.rglob("*") if one.is_symlink() or one.is_file())
    return {bytes(one.relative_to(folder)).decode(errors="backslashreplace") for one in files}


@pytest.mark.parametrize(
    "inputs",
    [
        ["src/**"],
        ["**/*.py"],
        ["src/*"],
        ["src/l*", "a.py"],
        ["!docs/**"],
        ["docs/**", "!docs/old/**", "docs/old/e.md"],
        ["**", "!src/**"],
        [],
        ["nothing"],
    ],
)
def test_the_agent_lays_out_what_the_coordinator_counts(
    tree: WorkTree, tmp_path: Path, inputs: list[str]
) -> None:
    folder = tmp_path / name_of(inputs)
    pick(tree, folder, inputs)
    repository, sha = committed(tree)
    [counted] = input_files(repository, sha, [inputs])

    assert laid(folder) == set(counted)
    assert not any("nothing" in name for name in counted)


def test_modes_and_links_are_as_they_were(tree: WorkTree, tmp_path: Path) -> None:
    pick(tree, tmp_path / "picked", ["src/**"])
    assert (tmp_path / "picked/src/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "picked/src/link").readlink() == Path("deep")
    pick(tree, tmp_path / "picked", ["a.py"])
    assert laid(tmp_path / "picked") == {"a.py"}


def test_a_submodule_counts_where_a_file_in_it_may_be_meant(tree: WorkTree) -> None:
    repository, sha = committed(tree)
    opened = pygit2.Repository(str(repository))
    builder = opened.TreeBuilder(opened[sha].peel(pygit2.Tree))
    builder.insert("lib", pygit2.Oid(hex="1" * 40), pygit2.enums.FileMode.COMMIT)
    author = pygit2.Signature("a", "a@b")
    with_module = opened.create_commit(None, author, author, "lib", builder.write(), [])
    found = input_files(
        repository, str(with_module), [["lib/src/*.c"], ["l*/**"], ["src/**"], ["!src/**"]]
    )
    assert ["lib" in one for one in found] == [True, True, False, True]
    assert found[0] == {"lib": f"160000 {'1' * 40}"}
    with pytest.raises(CommitMissing):
        input_files(repository, "2" * 40, [["a"]])


def test_folders_in_which_nothing_can_match_are_passed_over() -> None:
    assert not may_hold_inputs(["src/**"], "docs")
    assert not may_hold_inputs(["src/a.py"], "src/a")
    assert may_hold_inputs(["src/a/*.py"], "src")
    assert may_hold_inputs(["s*"], "src")
    assert may_hold_inputs(["**/*.py"], "docs")
    assert may_hold_inputs(["!src/**"], "src")
