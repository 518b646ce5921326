"""A project's mirror: the commits that its work trees were made of, fetched from the coordinator.

`source_files` is imported with the first fetch: libgit2 takes 11 MB, which an idle agent spares.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.removal import remove_folder
from agent.retries import pause_after
from agent.source_trees import SourceError, Wanted

logger = logging.getLogger(__name__)

FETCH_SECONDS = 600.0
"""One fetch, from its start to its end; a stalled one ends after STALLED_SECONDS."""
STALLED_SECONDS = 30
AWAY_SECONDS = 600.0
"""How long a coordinator that can't be reached is waited for."""
MAX_KEPT_REFS = 200
"""Commits that later fetches may build on."""
MAX_PACKS = 20
"""Of fetches that came one after the other; then git makes one of them."""
MAX_OTHER_FAILURES = 4
"""How often a fetch is tried that fails for neither of the reasons below."""
AWAY = re.compile(
    r"returned error: (5\d\d|429|408)|Could not resolve|Failed to connect|Couldn't connect|"
    r"Connection (refused|reset|timed out)|Empty reply|Recv failure|Send failure|"
    r"RPC failed; curl|transfer closed|Operation too slow|git took longer",
    re.IGNORECASE,
)
PERMANENT = re.compile(
    r"returned error: 4\d\d|Authentication failed|not our ref|could not read Username|"
    r"couldn't find remote ref|unable to update url base from redirection",
    re.IGNORECASE,
)


async def bring_commits(
    mirror: Path,
    wanted: Wanted,
    commits: Sequence[str],
    *,
    depth: int | None = 1,
    source: str | None = None,
    again: bool = False,
) -> None:
    """Have the commits, or annotated tags, in the mirror. Raises SourceError.

    `depth`: how much of their history; None is all of it. `source`: another repository on this
    disk to fetch from. `again`: fetch what is here, too, which may have been of another depth.
    """
    missing = list(commits) if again else await asyncio.to_thread(_missing, mirror, commits)
    deadline = time.monotonic() + AWAY_SECONDS
    failures = others = 0
    while missing:
        problem = await _fetch(mirror, wanted, missing, depth, source)
        if problem is None or not again:
            missing = await asyncio.to_thread(_missing, mirror, missing)
        if not missing:
            return
        problem = problem or "the fetched repository does not have it"
        failures += 1
        is_away = AWAY.search(problem) is not None
        others += not is_away
        if time.monotonic() > deadline or not (is_away or _worth_a_try(problem, others)):
            raise SourceError(f"commit {missing[0]} can't be fetched: {problem}")
        logger.info("fetching commit %s: %s", missing[0], problem)
        if others == MAX_OTHER_FAILURES - 1 and not is_away:
            # A mirror that a power cut damaged never gets well by itself; a new one costs little.
            await asyncio.to_thread(remove_folder, mirror)
            missing = list(commits)
        await pause_after(failures)


def _worth_a_try(problem: str, others: int) -> bool:
    """Of one that does not say that the coordinator is away; it is number `others` of these."""
    return not PERMANENT.search(problem) and others < MAX_OTHER_FAILURES


async def _fetch(
    mirror: Path, wanted: Wanted, commits: Sequence[str], depth: int | None, source: str | None
) -> str | None:
    """Return what went wrong, or None. Raises SourceError where this disk has no place for it."""
    try:
        await asyncio.to_thread(_ready_mirror, mirror)
    except OSError as error:
        raise SourceError(f"commit {commits[0]} can't be fetched: no mirror: {error}") from error
    source = source or wanted.repository
    arguments = [
        "git",
        *("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"),
        *("-c", f"http.lowSpeedTime={STALLED_SECONDS}", "-c", "http.lowSpeedLimit=100"),
        *("-c", "http.followRedirects=false", "-c", "credential.helper="),
        *("-c", "gc.packRefs=false", "-c", "core.hooksPath=/dev/null"),
        *("-c", "fetch.unpackLimit=1", "-c", f"gc.autoPackLimit={MAX_PACKS}"),
        f"--git-dir={mirror}",
        *("fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head"),
        *(() if depth is None else (f"--depth={depth}",)),
        *("--end-of-options", source or wanted.source.url),
        *(f"{commit}:refs/pushrod/{commit}" for commit in commits),
    ]
    environment = git_environment(wanted.token)
    if source is not None:
        environment["GIT_ALLOW_PROTOCOL"] = "file"
    return await _run_git(arguments, environment, FETCH_SECONDS)


def git_environment(token: str) -> dict[str, str]:
    """The token goes by the environment: a URL or an argument can be seen by every user."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {token}",
    }


async def _run_git(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float
) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            _, errors = await process.communicate()
    except TimeoutError:
        return f"git took longer than {seconds:g} s"
    finally:
        if process.returncode is None:
            # git's transport is a process of its own: end the whole group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if process.returncode == 0:
        return None
    return errors.decode("utf-8", "replace").strip() or f"git ended with {process.returncode}"


def _ready_mirror(mirror: Path) -> None:
    """Make the mirror where there is none; remove the locks that a killed git left."""
    if not (mirror / "HEAD").exists():
        remove_folder(mirror)
        mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        from agent import source_files

        source_files.make_mirror(mirror)
    for folder, _, files in os.walk(mirror):
        for name in files:
            if name.endswith(".lock"):
                Path(folder, name).unlink()
    refs = mirror / "refs" / "pushrod"
    if refs.is_dir():
        oldest_first = sorted(refs.iterdir(), key=lambda ref: ref.stat().st_mtime)
        for ref in oldest_first[:-MAX_KEPT_REFS]:
            ref.unlink()


def _missing(mirror: Path, commits: Sequence[str]) -> list[str]:
    from agent import source_files

    return source_files.missing_objects(mirror, commits)
