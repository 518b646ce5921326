"""The demo's repository: a temporary clone, a new commit, and a real `git push`."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pushrod
from pushrod.errors import CommandError

GIT_SECONDS = 120.0
BRANCH = "main"
EXAMPLE = "examples/hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """Where to push, and the file of the token that the coordinator at `url` accepts."""

    url: str
    push_url: str
    token_file: Path


def example_folder() -> Path:
    """The example as it was installed, or as it stands in the repository."""
    package = Path(pushrod.__file__).parent
    for place in (package / EXAMPLE, package.parent / EXAMPLE):
        if place.is_dir():
            return place
    raise CommandError(f"{EXAMPLE} is missing from this installation: install pushrod again")


async def push_example(target: PushTarget, message: str) -> str:
    """Push the example as a new commit on what was pushed before; the commit's sha.

    git's own output, with the coordinator's `remote:` lines, goes to our stderr.
    Raises CommandError.
    """
    if shutil.which("git") is None:
        raise CommandError("git is missing: apt-get install git")
    with tempfile.TemporaryDirectory(prefix="pushrod-demo-") as scratch:
        folder = Path(scratch) / "hello"
        await asyncio.to_thread(
            shutil.copytree, example_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        repository = _Repository(folder, target)
        await repository.git("init", "--quiet", f"--initial-branch={BRANCH}")
        if await repository.git("ls-remote", "--heads", target.push_url, BRANCH):
            await repository.git("fetch", "--quiet", target.push_url, BRANCH)
            await repository.git("update-ref", f"refs/heads/{BRANCH}", "FETCH_HEAD")
        await repository.git("add", "--all")
        # Also when nothing changed: each run of the demo shows a push and its build.
        await repository.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        await repository.push()
        return await repository.git("rev-parse", "HEAD")


def credential_helper(target: PushTarget) -> str:
    """A shell command for git: the token comes from its file, never by an argument or a URL."""
    command = (sys.executable, "-P", "-m", "pushrod", "git-credential")
    return "!" + shlex.join((*command, "--url", target.url, "--token-file", str(target.token_file)))


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Nobody's git configuration, no questions, and no proxy before this machine."""
    kept = {name: text for name, text in environment.items() if not name.startswith("GIT_")}
    person = {"NAME": "pushrod demo", "EMAIL": "demo@pushrod.invalid"}
    people = {
        f"GIT_{role}_{part}": text
        for role in ("AUTHOR", "COMMITTER")
        for part, text in person.items()
    }
    return {
        **kept,
        **people,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "no_proxy": "127.0.0.1,localhost",
    }


class _Repository:
    def __init__(self, folder: Path, target: PushTarget) -> None:
        self._folder = folder
        self._target = target

    async def git(self, *arguments: str) -> str:
        """What git printed, without its last line end. Raises CommandError."""
        status, output = await self._run(arguments, asyncio.subprocess.PIPE)
        if status != 0:
            raise CommandError(f"git {arguments[0]} failed: {' '.join(output.split())}")
        return output.strip()

    async def push(self) -> None:
        arguments = ("push", self._target.push_url, f"HEAD:refs/heads/{BRANCH}")
        status, _ = await self._run(arguments, None)
        if status != 0:
            raise CommandError("the push failed: git says above why")

    async def _run(self, arguments: tuple[str, ...], output: int | None) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            "git",
            "-c",
            "credential.helper=",
            "-c",
            f"credential.helper={credential_helper(self._target)}",
            *arguments,
            cwd=self._folder,
            env=git_environment(os.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(GIT_SECONDS):
                printed, _ = await process.communicate()
        except TimeoutError as error:
            seconds = f"{GIT_SECONDS:.0f} s"
            raise CommandError(f"git {arguments[0]} took longer than {seconds}") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, (printed or b"").decode(errors="replace")
