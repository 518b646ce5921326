"""Fetching a project's own remote repository into its bare one, by the git command.

libgit2 can neither be killed nor be kept from an address; a process group can be killed, and git
lets us pin the address we checked, so that a name can't point elsewhere a moment later. Nothing
secret stands in an argument or a URL: tokens go by the environment, keys by a file of mode 0600
that lives as long as the fetch.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.domain.pushes.repo_url import (
    RefusedUrl,
    RemotePolicy,
    RemoteUrl,
    check_policy,
)
from coordinator.domain.pushes.stored_repository import RefsMoved
from coordinator.git.addresses import CONNECT_SECONDS, reachable_address
from coordinator.git.branch_names import HEADS
from coordinator.git.changes import Changes, ChangesInPlace
from coordinator.git.environment import git_environment
from coordinator.git.head import own_ref, set_head, symbolic_head
from coordinator.git.opened import OWN_REFS, REMOTE_BRANCHES, REMOTE_TAGS, opened
from coordinator.git.process import GitProcess, git_process
from coordinator.git.remote_failures import failure_of
from coordinator.git.repository_folders import TOLERATED_FAULTS
from coordinator.ports import Credential, RemoteFailed

MAX_WORDS_BYTES = 16 * 1024
DEFAULT_USER = "x-access-token"
"""GitHub's; the others take any user beside a token."""
_FILE_BLOCK_BYTES = 512
NO_CONFIG: Mapping[str, str] = {}
_AUTHORIZATION = "Authorization: Basic "


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    seconds: float
    stalled_seconds: int
    max_bytes: int


class GitRemotes:
    """Implements ports.Remotes over the repositories below `root`.

    `scratch` is ours alone; what a killed coordinator left there is removed when this is made.
    """

    def __init__(
        self,
        root: Path,
        scratch: Path,
        *,
        policy: RemotePolicy,
        limits: FetchLimits,
        known_hosts: Path | None = None,
        changes: Changes | None = None,
    ) -> None:
        """Without `changes` they are made in place."""
        self._scratch, self._changes = scratch, changes or ChangesInPlace(root)
        self._policy, self._limits = policy, limits
        self._known_hosts = known_hosts
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o700)

    async def fetch(
        self, project_id: str, url: RemoteUrl, names: Sequence[str], credential: Credential | None
    ) -> Mapping[str, str]:
        """Refs are kept under hashed names, so that `a` and later `a/b` don't stand in each
        other's way; agents fetch by commit id. Raises RemoteFailed."""
        with await self._ready(url, credential) as environment:
            async with self._changing(project_id) as repository:
                await self._fetch_names(repository, url, names, environment)
                return await asyncio.to_thread(_values, repository, names)

    @asynccontextmanager
    async def _changing(self, project_id: str) -> AsyncIterator[Path]:
        """The repository, to fetch into. Raises RemoteFailed."""
        try:
            async with self._changes.changing(project_id) as draft:
                yield draft.path
        except RefsMoved as error:
            raise RemoteFailed(str(error), permanent=False) from error

    async def _fetch_names(
        self,
        repository: Path,
        url: RemoteUrl,
        names: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        head = await self._learn_head(repository, url, environment)
        refspecs = [f"+{name}:{own_ref(name)}" for name in names]
        also = [f"+{head}:{own_ref(head)}"] if head and head not in names else []
        try:
            await self._fetch(repository, url.text, refspecs + also, environment)
        except RemoteFailed as error:
            if not error.missing or not also:
                raise
            await self._fetch(repository, url.text, refspecs, environment)

    async def learn_head(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> str | None:
        with await self._ready(url, credential) as environment:
            async with self._changing(project_id) as repository:
                head = await self._learn_head(repository, url, environment)
        return head.removeprefix(HEADS) if head else None

    async def _learn_head(
        self, repository: Path, url: RemoteUrl, environment: Mapping[str, str]
    ) -> str | None:
        """The full name of what HEAD names there; what was known stays where it tells none."""
        command = ["git", "ls-remote", "--quiet", "--symref", "--", url.text, "HEAD"]
        head = symbolic_head(await self._run(command, environment))
        if head is not None:
            await asyncio.to_thread(set_head, repository, head)
        return head

    async def fetch_branches(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> None:
        """Below a folder of their own, where no fetched commit or pull request stands."""
        refspec = f"+refs/heads/*:{REMOTE_BRANCHES}*"
        with await self._ready(url, credential) as environment:
            async with self._changing(project_id) as repository:
                await self._fetch(repository, url.text, [refspec], environment, ("--prune",))

    async def fetch_history(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> None:
        refspecs = [f"+refs/heads/*:{REMOTE_BRANCHES}*", f"+refs/tags/*:{REMOTE_TAGS}*"]
        with await self._ready(url, credential) as environment:
            async with self._changing(project_id) as repository:
                await self._fetch(repository, url.text, refspecs, environment, ("--prune",))

    async def fetch_module(
        self,
        project_id: str,
        url: RemoteUrl,
        commit: str,
        credential: Credential | None,
        *,
        trusted: bool,
    ) -> None:
        """git tells the other side what it has; here only what came from that very URL."""
        here = await self._changes.ready(project_id)
        kept = _module_refs(url, trusted)
        if await asyncio.to_thread(_has_refs, here, kept + commit):
            return
        refspecs = [f"+{commit}:{kept}{commit}"]
        if not trusted or await asyncio.to_thread(_has_commit, here, commit):
            async with self._changing(project_id) as repository:
                await self._fetch_apart(repository, url, refspecs, credential)
            return
        known = await asyncio.to_thread(_has_refs, here, kept)
        negotiation = (f"--negotiation-tip={kept}*",) if known else ()
        config = {} if known else {"fetch.negotiationAlgorithm": "noop"}
        with await self._ready(url, credential, config) as environment:
            async with self._changing(project_id) as repository:
                await self._fetch(repository, url.text, refspecs, environment, negotiation)

    async def fetch_fork(self, project_id: str, url: RemoteUrl, name: str) -> str:
        """Under a name that no other ref has, be it called as a branch of the project."""
        digest = hashlib.sha256(f"{url.text} {name}".encode()).hexdigest()[:40]
        kept = f"{OWN_REFS}forks/{digest}"
        async with self._changing(project_id) as repository:
            await self._fetch_apart(repository, url, [f"+{name}:{kept}"], None)
            return await asyncio.to_thread(_target, repository, kept)

    async def _fetch_apart(
        self,
        repository: Path,
        url: RemoteUrl,
        refspecs: Sequence[str],
        credential: Credential | None,
    ) -> None:
        """By way of an empty repository: git takes any object that is already there for fetched,
        and asks nobody, or believes a server that leaves it out."""
        import pygit2

        with tempfile.TemporaryDirectory(prefix="apart-", dir=self._scratch) as folder:
            apart = Path(folder) / "module.git"
            await asyncio.to_thread(pygit2.init_repository, apart, bare=True)
            with await self._ready(url, credential) as environment:
                await self._fetch(apart, url.text, refspecs, environment)
            kept = [refspec.rpartition(":")[2] for refspec in refspecs]
            await self._copy(repository, apart, [f"+{name}:{name}" for name in kept])

    async def _ready(
        self, url: RemoteUrl, credential: Credential | None, config: Mapping[str, str] = NO_CONFIG
    ) -> AbstractContextManager[Mapping[str, str]]:
        """The environment to fetch from there, for as long as it is needed. Raises RemoteFailed."""
        try:
            check_policy(url, self._policy)
        except RefusedUrl as error:
            raise RemoteFailed(str(error), permanent=True) from error
        address = await reachable_address(url, self._policy)
        return self._lent_environment(url, address, credential, config)

    @contextmanager
    def _lent_environment(
        self,
        url: RemoteUrl,
        address: str | None,
        credential: Credential | None,
        config: Mapping[str, str] = NO_CONFIG,
    ) -> Iterator[Mapping[str, str]]:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=self._scratch) as folder:
            yield self._environment(url, address, credential, Path(folder), config)

    async def copy(self, project_id: str, from_project_id: str, commit: str) -> None:
        """Within our own folder, so no policy is asked. Raises RemoteFailed."""
        source = await self._changes.ready(from_project_id)
        async with self._changing(project_id) as repository:
            await self._copy(repository, source, [f"+{commit}:{own_ref(commit)}"])

    async def _copy(self, repository: Path, source: Path, refspecs: Sequence[str]) -> None:
        url = RemoteUrl(scheme="file", host="", port=0, user="", path=str(source))
        with self._lent_environment(url, None, None) as environment:
            await self._fetch(repository, str(source), refspecs, environment)

    async def _fetch(
        self,
        repository: Path,
        source: str,
        refspecs: Sequence[str],
        environment: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> None:
        command = [
            # dash's and bash's unit; the pack is one file, so this bounds the fetch.
            *("sh", "-c", 'ulimit -f "$0" && exec "$@"'),
            str(self._limits.max_bytes // _FILE_BLOCK_BYTES + 1),
            *("git", "--git-dir", str(repository), "fetch", "--quiet", "--no-tags"),
            *("--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"),
            *options,
            *("--", source, *refspecs),
        ]
        await self._run(command, environment)

    async def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> bytes:
        """The beginning of what git wrote to its output. Raises RemoteFailed."""
        try:
            async with (
                asyncio.timeout(self._limits.seconds),
                git_process(command, environment, patience_seconds=0) as process,
            ):
                process.end_input()
                words, output = await asyncio.gather(_last_words(process), _first_output(process))
                code = await process.exit_code()
        except TimeoutError as error:
            message = f"the fetch took more than {self._limits.seconds:g} s"
            raise RemoteFailed(message, permanent=False) from error
        if code != 0:
            raise failure_of(words, code, with_token=_has_token(environment))
        return output

    def _environment(
        self,
        url: RemoteUrl,
        address: str | None,
        credential: Credential | None,
        folder: Path,
        more: Mapping[str, str],
    ) -> dict[str, str]:
        config = {
            **more,
            "protocol.allow": "never",
            f"protocol.{url.scheme}.allow": "always",
            "protocol.version": "2",
            # A custom header follows a redirect to anywhere, and so may a fetch to an address
            # that was not checked.
            "http.followRedirects": "false",
            "http.proxy": "",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(self._limits.stalled_seconds),
            "http.emptyAuth": "false",
            "credential.helper": "",
            "fetch.fsckObjects": "true",
            "gc.auto": "0",
            **{f"fetch.fsck.{fault}": "warn" for fault in TOLERATED_FAULTS},
        }
        if url.scheme in ("http", "https") and address is not None:
            if url.host != address:
                shown = f"[{address}]" if ":" in address else address
                config["http.curloptResolve"] = f"{url.host}:{url.port}:{shown}"
            if credential is not None and credential.token:
                pair = f"{credential.user or DEFAULT_USER}:{credential.token}".encode()
                basic = base64.b64encode(pair).decode("ascii")
                config["http.extraHeader"] = f"{_AUTHORIZATION}{basic}"
        environment = git_environment(config) | {"TMPDIR": str(folder)}
        if url.scheme == "ssh":
            environment["GIT_SSH_COMMAND"] = self._ssh(url, address, credential, folder)
            environment["GIT_SSH_VARIANT"] = "ssh"
        if url.scheme == "file":
            # git drops the configuration of its environment for the upload-pack it starts here.
            (folder / "config").write_text("[safe]\n\tdirectory = *\n")
            environment["GIT_CONFIG_GLOBAL"] = str(folder / "config")
        return environment

    def _ssh(
        self, url: RemoteUrl, address: str | None, credential: Credential | None, folder: Path
    ) -> str:
        known = self._known_hosts or self._scratch.parent / "known_hosts"
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": f"{CONNECT_SECONDS:.0f}",
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "3",
            "HostName": address or url.host,
            "HostKeyAlias": url.host if url.port == 22 else f"[{url.host}]:{url.port}",
            "UserKnownHostsFile": _ssh_path(known),
            "GlobalKnownHostsFile": os.devnull,
            "StrictHostKeyChecking": "yes" if self._known_hosts else "accept-new",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": os.devnull,
            "PreferredAuthentications": "publickey",
            "ForwardAgent": "no",
            "ClearAllForwardings": "yes",
            "UpdateHostKeys": "no",
        }
        if credential is not None and credential.deploy_key:
            key = folder / "key"
            descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(credential.deploy_key.strip() + "\n")
            options["IdentityFile"] = _ssh_path(key)
        words = ["ssh", "-F", os.devnull]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return shlex.join(words)


def _ssh_path(path: Path) -> str:
    """ssh splits at spaces and expands `%` in its own options."""
    return '"' + str(path).replace("%", "%%") + '"'


def _module_refs(url: RemoteUrl, trusted: bool) -> str:
    """Where commits of that URL are kept, apart from those that the credential may have brought."""
    place = hashlib.sha256(url.text.encode()).hexdigest()[:40]
    return f"{OWN_REFS}{'modules' if trusted else 'modules-of-forks'}/{place}/"


def _has_commit(path: Path, commit: str) -> bool:
    with opened(path) as repository:
        return commit in repository


def _values(path: Path, names: Sequence[str]) -> dict[str, str]:
    with opened(path) as repository:
        return {name: str(repository.references[own_ref(name)].target) for name in names}


def _target(path: Path, ref: str) -> str:
    with opened(path) as repository:
        return str(repository.references[ref].target)


def _has_refs(path: Path, prefix: str) -> bool:
    with opened(path) as repository:
        return any(name.startswith(prefix.encode()) for name in repository.raw_listall_references())


async def _first_output(process: GitProcess) -> bytes:
    output = b""
    while chunk := await process.read():
        output = (output + chunk)[:MAX_WORDS_BYTES]
    return output


async def _last_words(process: GitProcess) -> str:
    words = b""
    while chunk := await process.read_errors():
        words = (words + chunk)[-MAX_WORDS_BYTES:]
    return words.decode(errors="replace")


def _has_token(environment: Mapping[str, str]) -> bool:
    return any(value.startswith(_AUTHORIZATION) for value in environment.values())
