"""Branches and tags as a coordinator would know them, and the repository that has them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pushrod.local.git_calls import git, git_text
from pushrod.local.snapshot import Snapshot

DETACHED = "HEAD"
"""Stands for a branch where none is checked out."""
USUAL_NAMES = ("main", "master")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRefs:
    """`heads` and `tags` by their names, without `refs/…/`."""

    branch: str
    heads: Mapping[str, str]
    tags: Mapping[str, str]
    default_branch: str
    before: str | None
    """What a push of the branch would find there; None where that is as new, or nothing."""
    project: str
    """What the project is called, by its remote repository or its folder."""


async def known_refs(snapshot: Snapshot) -> KnownRefs:
    root = snapshot.root
    branch = await git_text(root, "symbolic-ref", "--quiet", "--short", "HEAD") or DETACHED
    remote = await _remote(root, branch)
    there = {} if remote is None else await _refs(root, f"refs/remotes/{remote}/")
    there.pop("HEAD", None)
    heads = dict(there) if there else await _refs(root, "refs/heads/")
    default = await _default_branch(root, remote, heads, branch)
    before = there.get(branch)
    if before is None and snapshot.is_dirty and branch == default:
        before = snapshot.head
    return KnownRefs(
        branch=branch,
        heads={**_beside(branch, heads), branch: snapshot.commit},
        tags=await _refs(root, "refs/tags/"),
        default_branch=default,
        before=None if before == snapshot.commit else before,
        project=await _project(root, remote),
    )


async def _remote(root: Path, branch: str) -> str | None:
    """The branch's, else origin, else the only one."""
    listed = (await git_text(root, "remote") or "").split()
    own = await git_text(root, "config", "--get", f"branch.{branch}.remote")
    for one in (own, "origin"):
        if one in listed:
            return one
    return listed[0] if len(listed) == 1 else None


async def _refs(root: Path, below: str) -> dict[str, str]:
    listed = await git(root, "for-each-ref", "--format=%(objectname) %(refname)", below)
    pairs = (os.fsdecode(line).partition(" ") for line in listed.splitlines())
    return {name.removeprefix(below): sha for sha, _, name in pairs}


async def _default_branch(
    root: Path, remote: str | None, heads: Mapping[str, str], branch: str
) -> str:
    if remote is not None:
        head = await git_text(root, "symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD")
        name = (head or "").removeprefix(f"refs/remotes/{remote}/")
        if name in heads:
            return name
    return next((name for name in USUAL_NAMES if name in heads), branch)


def _beside(branch: str, heads: Mapping[str, str]) -> dict[str, str]:
    """Without those that git could not keep beside the branch: one's name is another's folder."""
    return {
        name: sha
        for name, sha in heads.items()
        if not name.startswith(f"{branch}/") and not branch.startswith(f"{name}/")
    }


async def _project(root: Path, remote: str | None) -> str:
    url = None if remote is None else await git_text(root, "remote", "get-url", remote)
    path = (urlsplit(url).path if "://" in url else url.rpartition(":")[2]) if url else ""
    return path.rstrip("/").rpartition("/")[2].removesuffix(".git") or root.name or "project"


def lay_out(repository: Path, snapshot: Snapshot, refs: KnownRefs) -> None:
    """Let a new bare repository have the snapshot and all that it builds on. Blocking."""
    alternates = "".join(f"{_line(path)}\n" for path in snapshot.objects)
    (repository / "objects/info").mkdir(exist_ok=True)
    (repository / "objects/info/alternates").write_bytes(os.fsencode(alternates))
    named = {
        **{f"refs/heads/{name}": sha for name, sha in refs.heads.items()},
        **{f"refs/tags/{name}": sha for name, sha in refs.tags.items()},
    }
    (repository / "packed-refs").write_bytes(_packed(named))
    if snapshot.shallow.exists():
        shutil.copyfile(snapshot.shallow, repository / "shallow")


def _line(path: Path) -> str:
    text = str(path)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"' if text[:1] in '"#' or "\n" in text else text


def _packed(refs: Mapping[str, str]) -> bytes:
    lines: Sequence[tuple[bytes, str]] = sorted(
        (os.fsencode(name), sha) for name, sha in refs.items()
    )
    return b"# pack-refs with: sorted \n" + b"".join(
        sha.encode() + b" " + name + b"\n" for name, sha in lines
    )
