"""The working tree as a commit, with real git; and that nothing of the repository is changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from pushrod.local.errors import CannotRun
from pushrod.local.refs import KnownRefs, known_refs, lay_out
from pushrod.local.snapshot import Snapshot, take_snapshot
from tests.e2e.processes import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "app")
    made.write("a.txt", "one\n")
    made.write(".gitignore", "*.log\n")
    made.commit("First\n\nWith a body.")
    return made


async def snapshot_of(repository: Repository, folder: Path | None = None) -> Snapshot:
    scratch = repository.path.parent / "scratch"
    return await take_snapshot(folder or repository.path, scratch)


def shown(snapshot: Snapshot, *arguments: str) -> str:
    """git's answer in a repository that has the snapshot."""
    objects = os.pathsep.join(str(path) for path in snapshot.objects)
    ran = subprocess.run(
        ["git", *arguments],
        cwd=snapshot.root,
        env={**os.environ, "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def files_of(snapshot: Snapshot) -> list[str]:
    return shown(snapshot, "ls-tree", "-r", "--name-only", snapshot.commit).split()


def state_of(folder: Path) -> dict[str, str]:
    """Every file below it, with its bytes and modes, but for times of access."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = oct(path.lstat().st_mode)
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = mode + hashlib.sha256(content).hexdigest()
    return found


async def test_a_clean_tree_is_the_commit_that_is_checked_out(repository: Repository) -> None:
    snapshot = await snapshot_of(repository)
    assert snapshot.commit == repository.git("rev-parse", "HEAD").strip()
    assert not snapshot.is_dirty


async def test_changed_staged_deleted_and_untracked_files_are_in_it(repository: Repository) -> None:
    repository.write("gone.txt", "x")
    repository.write("staged.txt", "x")
    repository.commit("Second")
    (repository.path / "gone.txt").unlink()
    repository.write("a.txt", "changed\n")
    repository.write("staged.txt", "staged\n")
    repository.git("add", "staged.txt")
    repository.write("new/untracked.txt", "new\n")
    repository.write("debug.log", "ignored\n")
    snapshot = await snapshot_of(repository)
    assert files_of(snapshot) == [".gitignore", "a.txt", "new/untracked.txt", "staged.txt"]
    assert shown(snapshot, "show", f"{snapshot.commit}:a.txt") == "changed\n"
    assert shown(snapshot, "rev-parse", f"{snapshot.commit}^") == repository.git(
        "rev-parse", "HEAD"
    )


async def test_nothing_of_the_repository_is_changed(repository: Repository) -> None:
    hook = repository.path / ".git/hooks/post-index-change"
    hook.write_text("#!/bin/sh\ntouch called\n")
    hook.chmod(0o755)
    repository.git("config", "core.splitIndex", "true")
    repository.git("config", "core.untrackedCache", "true")
    repository.write("new.txt", "new\n")
    repository.write("a.txt", "changed\n")
    before = state_of(repository.path)
    await snapshot_of(repository)
    assert state_of(repository.path) == before


async def test_the_same_tree_makes_the_same_commit(repository: Repository, tmp_path: Path) -> None:
    repository.write("new.txt", "new\n")
    first = await take_snapshot(repository.path, tmp_path / "one")
    second = await take_snapshot(repository.path, tmp_path / "two")
    assert first.commit == second.commit


async def test_modes_links_and_line_ends_are_those_of_a_commit(repository: Repository) -> None:
    repository.write(".gitattributes", "*.txt text eol=crlf\n*.bin -text\n")
    repository.write("crlf.txt", b"a\r\nb\r\n")
    repository.write("crlf.bin", b"a\r\nb\r\n")
    repository.write("tool", "#!/bin/sh\n")
    (repository.path / "tool").chmod(0o755)
    (repository.path / "link").symlink_to("nowhere")
    snapshot = await snapshot_of(repository)
    listed = shown(snapshot, "ls-tree", snapshot.commit)
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.splitlines()}
    assert (modes["tool"], modes["link"], modes["crlf.txt"]) == ("100755", "120000", "100644")
    sizes = {name: shown(snapshot, "cat-file", "-s", f"{snapshot.commit}:{name}").strip()
             for name in ("crlf.txt", "crlf.bin")}  # fmt: skip
    assert sizes == {"crlf.txt": "4", "crlf.bin": "6"}


async def test_a_repository_without_a_commit_has_a_snapshot(tmp_path: Path) -> None:
    made = Repository.create(tmp_path / "new")
    made.write("a.txt", "one\n")
    snapshot = await snapshot_of(made)
    assert (files_of(snapshot), snapshot.head) == (["a.txt"], None)


async def test_from_a_folder_within_all_of_it_is_taken(repository: Repository) -> None:
    repository.write("below/b.txt", "two\n")
    snapshot = await snapshot_of(repository, repository.path / "below")
    assert files_of(snapshot) == [".gitignore", "a.txt", "below/b.txt"]


async def test_what_a_hook_is_told_names_no_other_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GIT_DIR": "elsewhere", "GIT_INDEX_FILE": "elsewhere/index"}.items():
        monkeypatch.setenv(name, value)
    assert (await snapshot_of(repository)).root == repository.path


async def test_submodules_are_laid_in_as_they_are_here(
    repository: Repository, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "inner")
    inner.write("lib.txt", "lib\n")
    inner.commit("lib")
    repository.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.path))
    repository.commit("With a submodule")
    clean = await take_snapshot(repository.path, tmp_path / "clean")
    assert not clean.is_dirty
    assert "inner/lib.txt" in files_of(clean)
    assert shown(clean, "show", "-s", "--format=%s", clean.commit) == "With a submodule\n"
    repository.write("inner/lib.txt", "changed\n")
    before = state_of(repository.path)
    dirty = await take_snapshot(repository.path, tmp_path / "dirty")
    assert dirty.is_dirty
    assert shown(dirty, "show", f"{dirty.commit}:inner/lib.txt") == "changed\n"
    assert state_of(repository.path) == before


async def test_a_submodule_that_is_not_checked_out_is_named(
    repository: Repository, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "inner")
    inner.write("lib.txt", "lib\n")
    inner.commit("lib")
    repository.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.path))
    repository.commit("With a submodule")
    repository.git("submodule", "--quiet", "deinit", "--force", "inner")
    with pytest.raises(CannotRun, match="git submodule update --init inner"):
        await snapshot_of(repository)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n"


async def test_lfs_files_are_their_content_and_pointers_are_told(repository: Repository) -> None:
    """As git-lfs leaves them: pointers in the index, and in the tree what was fetched of them."""
    repository.write("big.bin", POINTER.format(oid=hashlib.sha256(b"big").hexdigest()))
    repository.write("unfetched.bin", POINTER.format(oid="0" * 64))
    repository.commit("pointers")
    repository.write(".gitattributes", "*.bin filter=lfs -text\n")
    repository.git("add", ".gitattributes")
    repository.write("big.bin", "big")
    snapshot = await snapshot_of(repository)
    assert shown(snapshot, "show", f"{snapshot.commit}:big.bin") == "big"
    assert "git lfs pull" in snapshot.notes[0]
    assert "unfetched.bin" in snapshot.notes[0]


async def test_a_large_untracked_file_is_told(repository: Repository) -> None:
    with (repository.path / "dump.sql").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    snapshot = await snapshot_of(repository)
    assert snapshot.notes[0].startswith("untracked and large: dump.sql (60 MiB)")


async def test_elsewhere_than_in_a_repository_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="not in a git repository"):
        await take_snapshot(tmp_path, tmp_path / "scratch")


async def refs_of(repository: Repository, tmp_path: Path) -> tuple[KnownRefs, Snapshot]:
    snapshot = await take_snapshot(repository.path, tmp_path / "scratch")
    return await known_refs(snapshot), snapshot


async def test_a_push_would_be_compared_with_what_the_remote_has(
    repository: Repository, tmp_path: Path
) -> None:
    first = repository.git("rev-parse", "HEAD").strip()
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "origin.git"], check=True)
    repository.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    repository.git("push", "-q", "-u", "origin", "main")
    repository.write("b.txt", "two\n")
    repository.commit("Second")
    refs, snapshot = await refs_of(repository, tmp_path)
    assert (refs.branch, refs.default_branch, refs.before) == ("main", "main", first)
    assert (refs.project, refs.heads) == ("origin", {"main": snapshot.commit})


async def test_uncommitted_changes_alone_are_compared_with_the_commit(
    repository: Repository, tmp_path: Path
) -> None:
    repository.write("b.txt", "two\n")
    refs, snapshot = await refs_of(repository, tmp_path)
    assert refs.before == snapshot.head
    assert refs.project == "app"


async def test_a_branch_of_ones_own_is_compared_with_the_default_one(
    repository: Repository, tmp_path: Path
) -> None:
    repository.git("checkout", "-q", "-b", "feature/x")
    repository.write("b.txt", "two\n")
    refs, _ = await refs_of(repository, tmp_path)
    assert (refs.branch, refs.default_branch, refs.before) == ("feature/x", "main", None)


async def test_a_repository_with_the_snapshot_is_whole(
    repository: Repository, tmp_path: Path
) -> None:
    repository.git("tag", "-a", "v1", "-m", "one")
    repository.git("branch", "old")
    repository.write("b.txt", "two\n")
    refs, snapshot = await refs_of(repository, tmp_path)
    bare = tmp_path / "coordinator.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    lay_out(bare, snapshot, refs)
    listed = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)"], cwd=bare, capture_output=True, text=True
    )
    assert listed.stdout.split() == ["refs/heads/main", "refs/heads/old", "refs/tags/v1"]
    checked = subprocess.run(["git", "fsck", "--strict"], cwd=bare, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
