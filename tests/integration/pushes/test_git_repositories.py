"""Real bare repositories, written by git and by libgit2, read through the port."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import pygit2
import pytest
from pygit2.enums import FileMode, ObjectType

from coordinator.git.commit_files import MAX_WORKFLOW_BYTES
from coordinator.git.opened import CommitMissing, RepositoryMissing
from coordinator.git.repositories import HostedRepositories
from coordinator.git.repository_folders import InvalidProjectId
from coordinator.ports import MAX_WORKFLOW_FILES, Commit, WorkflowFile

AUTHOR = pygit2.Signature("Anna", "anna@example.org", 1_700_000_000, 60)

Files = dict[str, tuple[bytes, FileMode] | bytes]


@pytest.fixture
def repositories(tmp_path: Path) -> HostedRepositories:
    return HostedRepositories(tmp_path / "repositories")


@pytest.fixture
async def project_id(repositories: HostedRepositories) -> str:
    project_id = str(uuid4())
    await repositories.create(project_id)
    return project_id


@pytest.fixture
def repository(repositories: HostedRepositories, project_id: str) -> pygit2.Repository:
    return pygit2.Repository(str(repositories.path(project_id)))


def tree_of(repository: pygit2.Repository, files: Files) -> pygit2.Oid:
    builder = repository.TreeBuilder()
    folders: dict[str, Files] = {}
    for path, content in files.items():
        first, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(first, {})[rest] = content
            continue
        data, mode = content if isinstance(content, tuple) else (content, FileMode.BLOB)
        commit_link = mode == FileMode.COMMIT
        entry = pygit2.Oid(hex=data.decode()) if commit_link else repository.create_blob(data)
        builder.insert(first, entry, mode)
    for name, inner in folders.items():
        builder.insert(name, tree_of(repository, inner), FileMode.TREE)
    return builder.write()


def commit(
    repository: pygit2.Repository,
    files: Files | None = None,
    *,
    parents: list[str] | None = None,
    message: str = "say hello",
) -> str:
    tree = tree_of(repository, files or {})
    return str(
        repository.create_commit(
            None, AUTHOR, AUTHOR, message, tree, [pygit2.Oid(hex=sha) for sha in parents or []]
        )
    )


async def test_a_new_repository_is_empty_with_main_as_its_branch(
    repositories: HostedRepositories, project_id: str
) -> None:
    assert await repositories.refs(project_id) == {}
    assert (repositories.path(project_id) / "HEAD").read_text() == "ref: refs/heads/main\n"


async def test_creating_twice_changes_nothing(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository)
    repository.references.create("refs/heads/main", sha)
    await repositories.create(project_id)
    assert await repositories.refs(project_id) == {"refs/heads/main": sha}
    assert [path.name for path in repositories.path(project_id).parent.iterdir()] == [
        f"{project_id}.git"
    ]


NEW_LINE_AFTER = "6556ecc0-df5d-4597-afb9-15fc5d020571"


@pytest.mark.parametrize(
    "project_id",
    ["", "..", "../../etc", "A0E1B2C3-93D1-4B53-9A51-0D2F4B6A8C11", "x", f"{NEW_LINE_AFTER}\n"],
)
async def test_a_project_id_that_is_no_uuid_makes_no_path(
    repositories: HostedRepositories, project_id: str
) -> None:
    with pytest.raises(InvalidProjectId):
        await repositories.create(project_id)
    with pytest.raises(InvalidProjectId):
        await repositories.refs(project_id)


async def test_a_project_without_a_repository_is_told(repositories: HostedRepositories) -> None:
    with pytest.raises(RepositoryMissing):
        await repositories.refs(str(uuid4()))


async def test_refs_leave_out_symbolic_and_broken_ones(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository)
    repository.references.create("refs/heads/main", sha)
    repository.references.create("refs/heads/alias", "refs/heads/main")
    tag = repository.create_tag("v1", pygit2.Oid(hex=sha), ObjectType.COMMIT, AUTHOR, "one")
    folder = repositories.path(project_id) / "refs" / "heads"
    (folder / "broken").write_text("no sha\n")
    (folder / "empty").write_text("")
    (folder / "busy.lock").write_text("")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_text(f"{sha}\n")
    assert await repositories.refs(project_id) == {
        "refs/heads/main": sha,
        "refs/heads/caf\\xe9": sha,
        "refs/tags/v1": str(tag),
    }


async def test_five_thousand_refs_are_read_within_a_second_loose_and_packed(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository)
    for number in range(5000):
        repository.references.create(f"refs/heads/b{number}", sha)
    for _ in range(2):
        began = time.process_time()
        refs = await repositories.refs(project_id)
        assert time.process_time() - began < 1.0
        assert len(refs) == 5000
        subprocess.run(
            ["git", "-C", str(repositories.path(project_id)), "pack-refs", "--all"], check=True
        )


async def test_a_commit_is_found_by_its_sha_its_start_and_its_tag(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository, message="say hello\n\nat length")
    tag = repository.create_tag("v1", pygit2.Oid(hex=sha), ObjectType.COMMIT, AUTHOR, "one")
    outer = repository.create_tag("v2", tag, ObjectType.TAG, AUTHOR, "a tag of a tag")
    expected = Commit(sha=sha, message="say hello\n\nat length", author="Anna <anna@example.org>")
    for revision in (sha, sha.upper(), sha[:10], str(tag), str(outer)):
        assert await repositories.commit(project_id, revision) == expected


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
async def test_a_commits_message_has_no_line_end_at_its_end(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository, end: str
) -> None:
    found = await repositories.commit(project_id, commit(repository, message=f"say\nhello {end}"))
    assert found is not None
    assert found.message == "say\nhello "


async def test_what_is_no_commit_is_none(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository, {"file": b"content"})
    repository.references.create("refs/heads/main", sha)
    blob = str(repository.create_blob(b"content"))
    for revision in ("1" * 40, blob, "", "main", "HEAD", f"{sha}^", f"{sha}\n", sha[:3], "x" * 40):
        assert await repositories.commit(project_id, revision) is None


async def test_an_ambiguous_start_of_a_sha_is_none(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    starts: set[str] = set()
    for number in range(2000):
        start = commit(repository, message=str(number))[:4]
        if start in starts:
            break
        starts.add(start)
    else:
        pytest.fail("no two commits begin alike")
    assert await repositories.commit(project_id, start) is None


@pytest.mark.parametrize(
    ("encoding", "message", "expected"),
    [
        (b"encoding ISO-8859-1\n", b"caf\xe9", "café"),
        (b"", b"caf\xe9", "caf\ufffd"),
        (b"encoding nonsense\n", b"caf\xc3\xa9", "café"),
    ],
)
async def test_a_message_in_any_encoding_is_text(
    repositories: HostedRepositories,
    project_id: str,
    repository: pygit2.Repository,
    encoding: bytes,
    message: bytes,
    expected: str,
) -> None:
    tree = str(tree_of(repository, {})).encode()
    raw = b"tree %s\nauthor J\xe9 <j@e> 1 +0000\ncommitter J <j@e> 1 +0000\n%s\n%s" % (
        tree,
        encoding,
        message,
    )
    sha = str(repository.odb.write(ObjectType.COMMIT, raw))
    found = await repositories.commit(project_id, sha)
    assert found is not None
    assert found.message == expected
    assert found.author.endswith("<j@e>")


async def test_workflow_files_are_the_files_at_that_commit_by_path(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(
        repository,
        {
            ".pushrod.yml": b"root",
            ".pushrod.yaml": b"root too",
            ".pushrod/b.yml": (b"b", FileMode.BLOB_EXECUTABLE),
            ".pushrod/a.yaml": b"a",
            ".pushrod/README.md": b"no workflow",
            ".pushrod/link.yml": (b"a.yaml", FileMode.LINK),
            ".pushrod/module.yml": (b"1" * 40, FileMode.COMMIT),
            ".pushrod/deeper.yml/c.yml": b"too deep",
            "src/.pushrod.yml": b"elsewhere",
        },
    )
    assert await repositories.workflow_files(project_id, sha) == [
        WorkflowFile(path=".pushrod.yaml", content=b"root too"),
        WorkflowFile(path=".pushrod.yml", content=b"root"),
        WorkflowFile(path=".pushrod/a.yaml", content=b"a"),
        WorkflowFile(path=".pushrod/b.yml", content=b"b"),
    ]


@pytest.mark.parametrize("name", [".pushrod", ".pushrod.yml"])
async def test_a_link_in_the_place_of_a_workflow_is_none(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository, name: str
) -> None:
    sha = commit(repository, {name: (b"/etc", FileMode.LINK)})
    assert await repositories.workflow_files(project_id, sha) == []


@pytest.mark.parametrize("excess", [0, 1, 40_000_000])
async def test_a_big_workflow_file_is_cut_one_byte_after_the_limit(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository, excess: int
) -> None:
    content = b"# pushrod" * ((MAX_WORKFLOW_BYTES + excess) // 9 + 1)
    content = content[: MAX_WORKFLOW_BYTES + excess]
    sha = commit(repository, {".pushrod.yml": content})
    (found,) = await repositories.workflow_files(project_id, sha)
    assert found.content == content[: MAX_WORKFLOW_BYTES + 1]


async def test_one_workflow_file_too_many_is_returned_so_that_it_can_be_refused(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    files: Files = {f".pushrod/{number:03}.yml": b"" for number in range(MAX_WORKFLOW_FILES + 9)}
    found = await repositories.workflow_files(project_id, commit(repository, files))
    assert len(found) == MAX_WORKFLOW_FILES + 1


async def test_workflow_files_of_an_unknown_commit_are_an_error(
    repositories: HostedRepositories, project_id: str
) -> None:
    with pytest.raises(CommitMissing):
        await repositories.workflow_files(project_id, "1" * 40)


async def test_leftovers_of_killed_processes_are_removed_and_nothing_else(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    sha = commit(repository)
    repository.references.create("refs/heads/main", sha)
    path = repositories.path(project_id)
    (path / "refs" / "heads" / "main.lock").touch()
    (path / "packed-refs.lock").touch()
    (path / "objects" / "tmp_objdir-incoming-x" / "pack").mkdir(parents=True)
    (path.parent / ".creating-x").mkdir()
    assert await repositories.remove_leftovers(older_than_seconds=3600) == 0
    assert await repositories.remove_leftovers(older_than_seconds=-1) == 4
    assert not list(path.rglob("*.lock"))
    assert await repositories.refs(project_id) == {"refs/heads/main": sha}


async def test_stored_files_are_always_the_same_commit_and_nobodys_push(
    repositories: HostedRepositories, project_id: str, repository: pygit2.Repository
) -> None:
    files = {"agent.py": "print('ü')\n", "bin/start": "#!/bin/sh\n", "a/b/c.txt": ""}
    sha = await repositories.store_files(project_id, files, name="images/x", message="sources")
    again = await repositories.store_files(
        project_id, dict(reversed(files.items())), name="images/x", message="sources"
    )
    assert again == sha
    tree = repository[sha].peel(pygit2.Tree)
    stored = {path: (tree[path].data.decode(), tree[path].filemode) for path in files}
    assert stored == {
        "agent.py": ("print('ü')\n", FileMode.BLOB),
        "bin/start": ("#!/bin/sh\n", FileMode.BLOB_EXECUTABLE),
        "a/b/c.txt": ("", FileMode.BLOB),
    }
    assert await repositories.refs(project_id) == {}
    assert str(repository.references["refs/pushrod/images/x"].target) == sha
