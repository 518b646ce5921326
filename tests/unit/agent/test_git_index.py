"""The index of a commit's files, where most of them are those of the commit before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pygit2
import pytest

from agent.git_index import index_of, indexed

FILES = {"b.txt": "1", "b/x": "2", "b/deep/y": "3", "b0": "4", "c/z": "5"}
AUTHOR = pygit2.Signature("T", "t@example.org", 1, 0)


@pytest.fixture
def repository(tmp_path: Path) -> pygit2.Repository:
    return pygit2.init_repository(str(tmp_path / "clone"))


def commit(repository: pygit2.Repository, files: dict[str, str]) -> str:
    root = Path(repository.workdir)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    repository.index.add_all()
    tree = repository.index.write_tree()
    return str(
        repository.create_commit("refs/heads/x", AUTHOR, AUTHOR, "m", tree, _tip(repository))
    )


def _tip(repository: pygit2.Repository) -> list[pygit2.Oid]:
    found = repository.references.get("refs/heads/x")
    return [found.peel(pygit2.Commit).id] if found else []


def test_what_is_taken_over_is_what_would_be_found_anew(repository: pygit2.Repository) -> None:
    root = Path(repository.workdir)
    before = indexed(repository, commit(repository, FILES), root, None)
    second = commit(repository, {"b/deep/y": "longer", "b/new": "6", "a/first": "7"})
    whole = index_of(indexed(repository, second, root, None))
    assert index_of(indexed(repository, second, root, before)) == whole
    (root.parent / "index").write_bytes(whole)
    names = [entry.path for entry in pygit2.Index(str(root.parent / "index"))]
    assert names == sorted({*FILES, "b/new", "a/first"})


def test_a_folder_that_stayed_is_not_looked_at(repository: pygit2.Repository) -> None:
    root = Path(repository.workdir)
    before = indexed(repository, commit(repository, FILES), root, None)
    second = commit(repository, {"b/x": "longer"})
    whole = index_of(indexed(repository, second, root, None))
    shutil.rmtree(root / "c")
    shutil.rmtree(root / "b" / "deep")
    assert index_of(indexed(repository, second, root, before)) == whole
    with pytest.raises(FileNotFoundError):
        indexed(repository, second, root, None)
