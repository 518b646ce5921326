"""The `.git` of a work tree, for engines to give copies of it to scripts.

Objects are fetched into a bare repository of ours, the *store*, one for each kind of history that
the project's steps ask for. What is lent is a folder made of it once and never changed: packs (hard
links to the store's, which scripts only ever get copies of, or see read-only), an index of the work
tree's files, and a few small files that are written here. git itself runs in stores alone, never
where a script has been. A fork's has a store of its own, so that it holds nothing but what its
commit and the refs it may see reach.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from agent.carried import in_thread
from agent.git_index import index_of, indexed
from agent.removal import remove_folder
from agent.source_mirror import bring_commits, git_environment
from agent.source_trees import GitFolder, PartsError, SourceError, Wanted, WorkTree
from pipelines_schema.contract_sources import GitRef, GitSpec

logger = logging.getLogger(__name__)

OBJECTS_AT_ONCE = 1000
HISTORY_SECONDS = 60.0
_BRANCHES, _TAGS = "refs/heads/", "refs/tags/"
_PLAIN_NAME = re.compile(r"refs/(heads|tags)/[^\x00-\x20\x7f~^:?*\[\\]+")
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\tcheckStat = minimal
\ttrustctime = false
[remote "origin"]
\turl = {url}
\tfetch = +refs/heads/*:refs/remotes/origin/*
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _History:
    """What a store has for one `.git`."""

    commits: Collection[str] | None
    """Those that are reachable; None where all of the history is there."""
    refs: Sequence[GitRef]


async def bring_git(
    shared: Path, mirror: Path, tree: WorkTree, wanted: Wanted, git: GitSpec
) -> GitFolder:
    """The `.git` for a tree of the commit, which is in the mirror or the store. Raises SourceError.

    `shared`: the store, if it is not apart.
    """
    target = GitFolder(tree.git_folder / _name_of(wanted.source.commit, git))
    if target in tree.lent_git:
        return target
    if tree.readers == 1:
        tree.lent_git.clear()  # nobody but who asks reads the tree: what is there may go
    store = tree.folder / "apart" / "store" if git.apart else shared
    if git.apart:
        await asyncio.to_thread(remove_folder, store.parent)
    try:
        history = await _bring_history(store, wanted, git, mirror)
        await in_thread(_publish, store, tree, target, wanted, history)
    except PartsError:
        raise
    except SourceError as error:
        # A store or mirror that lost objects (a power cut) never gets well by itself.
        logger.warning("%s; fetching anew", error)
        await asyncio.to_thread(remove_folder, store.parent)
        history = await _bring_history(store, wanted, git, None)
        await in_thread(_publish, store, tree, target, wanted, history)
    finally:
        if git.apart:
            await asyncio.to_thread(remove_folder, store.parent)
    tree.lent_git.add(target)
    return target


def _name_of(commit: str, git: GitSpec) -> str:
    words = f"{commit} {git.depth} {git.tags} {git.apart} {git.state}"
    return hashlib.sha256(words.encode()).hexdigest()[:20]


async def _bring_history(
    store: Path, wanted: Wanted, git: GitSpec, mirror: Path | None
) -> _History:
    """Have it in the store; the commit itself may be taken from the mirror."""
    commit, whole = wanted.source.commit, git.depth is None
    asked = wanted.parts.refs(history=whole or git.tags) if wanted.parts else None
    refs = [ref for ref in (await asked if asked else ()) if _PLAIN_NAME.fullmatch(ref.name)]
    if whole:
        objects = list(dict.fromkeys([commit, *(ref.object for ref in refs)]))
        await _bring(store, wanted, objects)
        return _History(commits=None, refs=refs)
    source = await in_thread(_having, mirror, commit) if mirror and git.depth == 1 else None
    again = git.depth != 1  # a longer history may have come as a shorter one's end
    await bring_commits(store, wanted, [commit], depth=git.depth, source=source, again=again)
    commits = {commit} if git.depth == 1 else await in_thread(_reachable, store, commit)
    refs = [ref for ref in refs if ref.commit in commits and ref.name.startswith(_TAGS)]
    await _bring(store, wanted, [ref.object for ref in refs if ref.object != ref.commit])
    return _History(commits=commits, refs=refs)


def _having(mirror: Path, commit: str) -> str | None:
    """The mirror, if the commit is in it. Blocking."""
    from agent.source_files import missing_objects

    return None if missing_objects(mirror, [commit]) else str(mirror)


async def _bring(store: Path, wanted: Wanted, objects: Sequence[str]) -> None:
    """Have these, with all their history unless that is cut off already."""
    for start in range(0, len(objects), OBJECTS_AT_ONCE):
        await bring_commits(store, wanted, objects[start : start + OBJECTS_AT_ONCE], depth=None)


def _reachable(store: Path, commit: str) -> set[str]:
    command = ["git", f"--git-dir={store}", "rev-list", "--end-of-options", commit]
    try:
        done = subprocess.run(
            command,
            env=git_environment(""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HISTORY_SECONDS,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SourceError(f"the history of {commit} can't be read: {error}") from error
    return set(done.stdout.split())


def _publish(
    store: Path, tree: WorkTree, target: GitFolder, wanted: Wanted, history: _History
) -> None:
    """Put the whole folder in its place. Raises SourceError."""
    commit = wanted.source.commit
    making = GitFolder(target.path.with_suffix(".new"))
    try:
        if not tree.lent_git:
            remove_folder(tree.git_folder)  # of an earlier commit, or an earlier process
        remove_folder(making.path)
        for folder in (making.dot / "refs", making.dot / "objects" / "info", making.packs):
            folder.mkdir(parents=True)
        repository = pygit2.Repository(str(store))
        _link_packs(store, making.packs)
        (making.dot / "HEAD").write_text(f"{commit}\n", "ascii")
        (making.dot / "config").write_text(_CONFIG.format(url=wanted.source.url), "utf-8")
        (making.dot / "packed-refs").write_text(_packed_refs(history.refs), "utf-8")
        cut_off = _cut_off(store, history)
        if cut_off:
            (making.dot / "shallow").write_text("".join(f"{one}\n" for one in cut_off), "ascii")
        tree.indexed = indexed(repository, commit, tree.files, tree.indexed)
        (making.dot / "index").write_bytes(index_of(tree.indexed))
        _make_readable(making.path)
        making.path.replace(target.path)
    except (OSError, pygit2.GitError, KeyError, ValueError) as error:
        raise SourceError(f"the repository at {commit} can't be laid out: {error}") from error


def _link_packs(store: Path, target: Path) -> None:
    for pack in (store / "objects" / "pack").glob("pack-*.idx"):
        for suffix in (".idx", ".pack"):
            os.link(pack.with_suffix(suffix), target / f"{pack.stem}{suffix}")


def _packed_refs(refs: Sequence[GitRef]) -> str:
    lines = {}
    for ref in refs:
        name = ref.name
        if name.startswith(_BRANCHES):
            name = "refs/remotes/origin/" + name.removeprefix(_BRANCHES)
        peeled = "" if ref.object == ref.commit else f"^{ref.commit}\n"
        lines[name.encode()] = f"{ref.object} {name}\n{peeled}"
    return "# pack-refs with: peeled fully-peeled sorted \n" + "".join(
        lines[name] for name in sorted(lines)
    )


def _cut_off(store: Path, history: _History) -> list[str]:
    """The commits of the history whose parents are not there."""
    if history.commits is None:
        return []
    try:
        known = (store / "shallow").read_text("ascii").split()
    except FileNotFoundError:
        return []
    return [commit for commit in known if commit in history.commits]


def _make_readable(root: Path) -> None:
    """For whoever a script runs as, whatever this process's umask. The packs are so already."""
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o755)  # noqa: S103 - what scripts get copies of
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o444 if name.startswith("pack-") else 0o644)
