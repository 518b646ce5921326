"""Sources over real smart HTTP, from a real repository."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.engines.host_trees import copy_tree
from agent.source_trees import SourceError
from agent.sources import LentSource, Sources
from pipelines_schema.contract import CompletionReason
from pipelines_schema.contract_sources import SourceSpec
from tests.integration.agent_bench import Bench, ended, open_bench

TOKEN = "step-token-for-sources"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        bench.make_repository()
        yield bench


@pytest.fixture
def sources(bench: Bench) -> Sources:
    sources = Sources(bench.root / "sources")
    sources.open()
    return sources


async def lend(bench: Bench, sources: Sources, commit: str) -> LentSource:
    spec = SourceSpec.model_validate(bench.source(commit))
    return await sources.prepare("project-1", spec, TOKEN)


def write(bench: Bench, name: str, content: bytes, mode: int = 0o644) -> None:
    path = bench.root / "clone" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def listing(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): (
            b"-> " + os.readlink(os.fsencode(path)) if path.is_symlink() else path.read_bytes()
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


async def test_a_commit_is_laid_out_as_it_is_in_git(bench: Bench, sources: Sources) -> None:
    write(bench, ".gitattributes", b"* text=auto eol=crlf\n")
    write(bench, "crlf", b"a\r\nb\r\n")
    write(bench, "lf", b"a\nb\n")
    write(bench, "dir/tool", b"#!/bin/sh\n", 0o755)
    write(bench, "ä/ö \U0001f600", b"x")
    (bench.root / "clone" / "link").symlink_to("dir/tool")
    (bench.root / "clone" / "away").symlink_to("/etc/passwd")
    commit = bench.commit()
    source = await lend(bench, sources, commit)
    async with source.open() as folder:
        found = listing(folder)
        mode = stat.S_IMODE((folder / "dir/tool").stat().st_mode)
    assert found["link"] == b"-> dir/tool"
    assert found["away"] == b"-> /etc/passwd"
    assert found["lf"] == b"a\nb\n"
    assert found["ä/ö \U0001f600"] == b"x"
    # .gitattributes made git store this one with line feeds: the bytes are those of the commit.
    assert found["crlf"] == b"a\nb\n"
    assert mode == 0o755
    assert not any(name.startswith(".git/") for name in found)


async def test_a_switch_rewrites_only_what_changed(bench: Bench, sources: Sources) -> None:
    write(bench, "same", b"1")
    write(bench, "dir/same", b"1")
    write(bench, "changed", b"1")
    write(bench, "gone/deep/file", b"1")
    write(bench, "file-then-folder", b"1")
    write(bench, "folder-then-file/x", b"1")
    write(bench, "mode", b"1")
    first = bench.commit()
    lent = await lend(bench, sources, first)
    async with lent.open() as folder:
        before = {name: (folder / name).stat().st_mtime_ns for name in ("same", "dir/same")}
        inodes = {name: (folder / name).stat().st_ino for name in ("same", "dir/same")}
    write(bench, "changed", b"2")
    bench.git("rm", "-rq", "gone", "file-then-folder", "folder-then-file")
    write(bench, "file-then-folder/x", b"2")
    write(bench, "folder-then-file", b"2")
    write(bench, "mode", b"1", 0o755)
    second = bench.commit()
    again = await lend(bench, sources, second)
    assert again.key == lent.key
    async with again.open() as folder:
        assert listing(folder) == {
            "same": b"1",
            "dir/same": b"1",
            "changed": b"2",
            "file-then-folder/x": b"2",
            "folder-then-file": b"2",
            "mode": b"1",
        }
        assert not (folder / "gone").exists()
        assert (folder / "mode").stat().st_mode & 0o111
        assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
        assert {name: (folder / name).stat().st_ino for name in inodes} == inodes


async def test_a_tree_is_shared_at_one_commit_and_never_switched_under_a_reader(
    bench: Bench, sources: Sources
) -> None:
    write(bench, "file", b"1")
    first = bench.commit()
    write(bench, "file", b"2")
    second = bench.commit()
    one, same, other = await asyncio.gather(
        lend(bench, sources, first), lend(bench, sources, first), lend(bench, sources, second)
    )
    assert one.key == same.key
    assert other.key != one.key
    async with one.open() as folder, same.open() as again, other.open() as elsewhere:
        assert folder == again
        assert (folder / "file").read_bytes() == b"1"
        assert (elsewhere / "file").read_bytes() == b"2"
    third = await lend(bench, sources, second)
    assert third.key == other.key
    third.release()


async def test_a_commit_that_is_here_is_not_fetched_again(bench: Bench, sources: Sources) -> None:
    write(bench, "file", b"1")
    commit = bench.commit()
    (await lend(bench, sources, commit)).release()
    requests = len(bench.coordinator.git_requests)
    (await lend(bench, sources, commit)).release()
    fresh = Sources(bench.root / "sources")
    fresh.open()
    lent = await lend(bench, fresh, commit)
    async with lent.open() as folder:
        assert (folder / "file").read_bytes() == b"1"
    assert len(bench.coordinator.git_requests) == requests
    assert fresh.warm() == ["project-1"]


async def test_a_source_opened_a_second_time_has_the_same_files(
    bench: Bench, sources: Sources
) -> None:
    write(bench, "file", b"1")
    first = bench.commit()
    write(bench, "file", b"2")
    second = bench.commit()
    lent = await lend(bench, sources, first)
    async with lent.open():
        pass
    (await lend(bench, sources, second)).release()
    async with lent.open() as folder:
        assert (folder / "file").read_bytes() == b"1"


async def test_locks_and_half_trees_of_a_killed_agent_do_no_harm(
    bench: Bench, sources: Sources
) -> None:
    write(bench, "file", b"1")
    first = bench.commit()
    (await lend(bench, sources, first)).release()
    mirror = bench.root / "sources" / "project-1" / "mirror.git"
    for lock in ("shallow.lock", "packed-refs.lock", f"refs/pushrod/{first}.lock", "HEAD.lock"):
        (mirror / lock).touch()
    tree = bench.root / "sources" / "project-1" / "tree-0"
    (tree / "commit").unlink()
    (tree / "files" / "half").write_text("written by a switch that was killed")
    write(bench, "file", b"2")
    second = bench.commit()
    fresh = Sources(bench.root / "sources")
    fresh.open()
    async with (await lend(bench, fresh, second)).open() as folder:
        assert listing(folder) == {"file": b"2"}


async def test_a_damaged_mirror_is_fetched_anew(bench: Bench, sources: Sources) -> None:
    write(bench, "file", b"content")
    commit = bench.commit()
    (await lend(bench, sources, commit)).release()
    project = bench.root / "sources" / "project-1"
    damaged = list(project.rglob("objects/pack/*.pack"))
    for path in damaged:
        path.unlink()
    assert damaged
    (project / "tree-0" / "commit").unlink()
    fresh = Sources(bench.root / "sources")
    fresh.open()
    async with (await lend(bench, fresh, commit)).open() as folder:
        assert (folder / "file").read_bytes() == b"content"


async def test_an_unknown_commit_is_a_clear_error(bench: Bench, sources: Sources) -> None:
    bench.commit()
    with pytest.raises(SourceError, match="0000"):
        await lend(bench, sources, "0" * 39 + "1")


@pytest.mark.parametrize("commit", ["main", "--upload-pack=x", "abc123", "A" * 40])
async def test_only_a_full_commit_id_is_asked_for(
    bench: Bench, sources: Sources, commit: str
) -> None:
    with pytest.raises(SourceError, match="not a full commit id"):
        await lend(bench, sources, commit)


@pytest.fixture
def git_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with the arguments of every git that the agent runs, one a line."""
    shim = tmp_path / "git"
    shim.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\nexec /usr/bin/git "$@"\n'
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "arguments"


async def test_the_token_is_in_no_argument_and_no_file(
    bench: Bench, sources: Sources, git_arguments: Path
) -> None:
    write(bench, "file", b"1")
    (await lend(bench, sources, bench.commit())).release()
    assert "fetch" in git_arguments.read_text()
    assert TOKEN not in git_arguments.read_text()
    files = [path for path in (bench.root / "sources").rglob("*") if path.is_file()]
    assert files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("git", [{"depth": 1}, {}], ids=["commit", "full"])
async def test_files_and_repository_come_with_one_fetch(
    bench: Bench, sources: Sources, git_arguments: Path, tmp_path: Path, git: dict[str, int]
) -> None:
    for number in range(2):
        write(bench, "file", b"%d" % number)
        spec = SourceSpec.model_validate(bench.source(bench.commit()) | {"git": git})
        found = await git_folder(sources, spec, tmp_path)
        assert has(found, f"{spec.commit}:file")
        assert (found / "file").read_bytes() == b"%d" % number
        assert git_arguments.read_text().splitlines().count("fetch") == number + 1


async def test_a_tree_goes_between_commits_with_and_without_a_repository(
    bench: Bench, sources: Sources
) -> None:
    """Which are in different repositories of ours; files that stay keep their times."""
    times = set()
    for number, git in enumerate([None, {"depth": 1}, None, {}, {"depth": 2}, {"depth": 1}]):
        write(bench, "file", b"%d" % number)
        write(bench, "other", b"stays")
        spec = SourceSpec.model_validate(bench.source(bench.commit()) | {"git": git})
        lent = await sources.prepare("project-1", spec, TOKEN)
        async with lent.open() as folder:
            assert (folder / "file").read_bytes() == b"%d" % number
            times.add((folder / "other").lstat().st_mtime_ns)
        lent.release()
    assert len(times) == 1


async def test_later_commits_are_clean_and_wholly_listed(
    bench: Bench, sources: Sources, tmp_path: Path
) -> None:
    """Though what the index says of folders that stayed is taken over from the commit before."""
    for number in range(3):
        write(bench, "stays/deep/file", b"1")
        write(bench, "changes/a file", b"x" * number)
        write(bench, f"changes/deep/{number}", b"new")
        write(bench, "changes.txt", b"%d" % number)
        spec = SourceSpec.model_validate(bench.source(bench.commit()) | {"git": {"depth": 1}})
        found = await git_folder(sources, spec, tmp_path)
        command = ["git", "-c", "safe.directory=*", "-C", str(found), "status", "--porcelain"]
        status = subprocess.run(command, capture_output=True, check=True, text=True)
        assert status.stdout == ""
        command[-2:] = ["ls-files", "--stage"]
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        assert [line.split("\t")[1] for line in listed.splitlines()] == sorted(
            path.relative_to(bench.root / "clone").as_posix()
            for path in (bench.root / "clone").rglob("*")
            if path.is_file() and ".git/" not in str(path)
        )


async def test_idle_trees_beyond_the_limit_go(bench: Bench, sources: Sources) -> None:
    commits = []
    for number in range(6):
        write(bench, "file", b"%d" % number)
        commits.append(bench.commit())
    held = [await lend(bench, sources, commit) for commit in commits]
    assert len({source.key for source in held}) == 6
    for source in held:
        source.release()
    (await lend(bench, sources, commits[0])).release()
    assert len(list((bench.root / "sources" / "project-1").glob("tree-*"))) <= 4


async def test_a_step_sees_its_commit_in_its_workspace(bench: Bench) -> None:
    write(bench, "script.sh", b"echo from git", 0o755)
    commit = bench.commit()
    step = bench.coordinator.add_step("sh script.sh; ls -a", source=bench.source(commit))
    async with bench.agent():
        await ended(step)
    assert step.text == "from git\n.\n..\nscript.sh\n"


async def test_a_source_that_cannot_be_had_is_the_steps_reason(bench: Bench) -> None:
    bench.commit()
    step = bench.coordinator.add_step("true", source=bench.source("0" * 39 + "1"))
    async with bench.agent():
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.SOURCE
    assert "can't be fetched" in str(step.completion.message)


async def git_folder(sources: Sources, source: SourceSpec, folder: Path) -> Path:
    """A copy of the `.git` that a script would get, for git to look into."""
    lent = await sources.prepare("project-1", source, TOKEN)
    assert lent.git is not None
    async with lent.open() as files, lent.git.open() as git:
        target = folder / secrets.token_hex(4)
        target.mkdir()
        await copy_tree([files, git.small, git.large], target)
    return target


def has(folder: Path, thing: str) -> bool:
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), "cat-file", "-e", thing]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


async def test_what_is_apart_holds_nothing_of_other_commits(
    bench: Bench, sources: Sources, tmp_path: Path
) -> None:
    write(bench, "secret", b"of another branch")
    earlier = bench.commit()
    secret = bench.git("rev-parse", f"{earlier}:secret")
    bench.git("rm", "-q", "secret")
    write(bench, "file", b"of a fork")
    commit = bench.commit()
    spec = bench.source(earlier) | {"git": {"depth": 1}}
    own = SourceSpec.model_validate(spec)
    assert has(await git_folder(sources, own, tmp_path), secret)
    apart = SourceSpec.model_validate(spec | {"commit": commit, "git": {"depth": 1, "apart": True}})
    found = await git_folder(sources, apart, tmp_path)
    assert has(found, f"{commit}:file")
    assert not has(found, secret)
    assert not has(found, earlier)


async def test_a_later_commit_adds_a_pack_and_leaves_the_others_as_they_are(
    bench: Bench, sources: Sources
) -> None:
    """The engine, too, is sent the new one alone; and a script gets no inode of ours."""
    write(bench, "large", os.urandom(100_000))
    packs: list[dict[str, int]] = []
    for number in range(2):
        write(bench, "small", b"%d" % number)
        spec = SourceSpec.model_validate(bench.source(bench.commit()) | {"git": {"depth": 1}})
        lent = await sources.prepare("project-1", spec, TOKEN)
        assert lent.git is not None
        async with lent.git.open() as git:
            files = git.large.rglob("pack-*.pack")
            packs.append({file.name: file.stat().st_ino for file in files})
        lent.release()
    first, second = packs
    assert first.items() < second.items()


async def test_a_store_that_lost_its_packs_is_fetched_anew(
    bench: Bench, sources: Sources, tmp_path: Path
) -> None:
    write(bench, "file", b"1")
    spec = bench.source(bench.commit()) | {"git": {"depth": 1}}
    await git_folder(sources, SourceSpec.model_validate(spec), tmp_path)
    for pack in (bench.root / "sources/project-1/git-1").rglob("*.pack"):
        pack.unlink()
    write(bench, "file", b"2")
    later = SourceSpec.model_validate(spec | {"commit": bench.commit()})
    found = await git_folder(sources, later, tmp_path)
    assert has(found, f"{later.commit}:file")
