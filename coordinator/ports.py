"""What the services need from outside; of an object store: `object_ports`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coordinator.domain.model import Artifact
from coordinator.domain.outbox.calls import Call, Reply
from coordinator.domain.pushes.repo_url import RemoteUrl
from coordinator.domain.pushes.submodules import DeclaredSubmodule
from coordinator.domain.results.values import ReadResults, ReportKind
from pipelines_schema import Place, Watch
from pipelines_schema.contract_sources import GitRef, LfsObject

MAX_WORKFLOW_FILES = 100
"""Of one commit; `workflow_files` gives one more, so that the reader notices."""

MAX_CHANGED_PATHS = 3000
"""Beyond these a push counts as changing everything, so that filters stay quick."""

MAX_INPUT_FILES = 100_000
"""Of one step."""


class TooManyFiles(Exception):
    """A step's `inputs` name more files of the commit than are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    sha: str
    """Full 40-digit hexadecimal id."""
    message: str
    """Without its last line ends."""
    author: str
    """`Name <email>`, decoded with replacement where it is not UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFile:
    path: str
    content: bytes
    """At most `max_bytes` + 1 bytes are read, so that the parser can refuse a larger one."""


_Arguments = ParamSpec("_Arguments")
_Found = TypeVar("_Found")


class NotRead(Exception):
    """Text that an outsider wrote could not be read within the limits; nothing came of it."""

    def __init__(self, reason: str, place: Place | None) -> None:
        super().__init__(reason)
        self.reason = reason
        """Goes on after the name of what was read."""
        self.place = place
        """Of the condition that was being evaluated; None if none was."""


class Readings(Protocol):
    """Reads outsiders' text where it can neither hold nor end the coordinator."""

    async def run(
        self,
        account: str,
        read: Callable[Concatenate[Watch, _Arguments], _Found],
        *args: _Arguments.args,
        **keywords: _Arguments.kwargs,
    ) -> _Found:
        """What `read`, a function of a module, gives for values that can be pickled.

        Accounts take turns. Raises NotRead, and what `read` raises.
        """
        ...


class Repositories(Protocol):
    """The bare repository of each project, hosted here. Folders go by project id."""

    async def create(self, project_id: str) -> None:
        """Make the empty repository; nothing happens if it exists."""
        ...

    async def remove(self, project_id: str) -> bool:
        """Remove one whose project is gone, or was never stored; whether nothing of it is left."""
        ...

    async def size(self, project_id: str) -> int:
        """Bytes of its files on the disk; 0 where there is none."""
        ...

    async def refs(self, project_id: str) -> Mapping[str, str]:
        """Full ref name (`refs/heads/…`, `refs/tags/…`) → full sha it points to."""
        ...

    async def values_of_ref(
        self, project_id: str, ref: str, old: str | None, new: str
    ) -> Sequence[str]:
        """What the ref pointed to after `old` (None: since it was made), up to `new`, in order.

        Two pushes may be received before the first is read: what was pushed in between stands in
        the ref's log. Only `new` where that doesn't reach back to `old`.
        """
        ...

    async def commit(self, project_id: str, revision: str) -> Commit | None:
        """The commit of a full or abbreviated sha (tags are peeled); None where there is none."""
        ...

    async def workflow_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """`.pushrod.yml`, `.pushrod.yaml` and `.pushrod/*.yml|*.yaml` at that commit, by path.

        The file of modules is none of them.
        """
        ...

    async def files_at(
        self, project_id: str, sha: str, paths: Collection[str]
    ) -> Mapping[str, bytes]:
        """The contents of those paths that are files at that commit; a link is none.

        Of one that is larger than a workflow may be, a little more than that.
        """
        ...

    async def input_files(
        self, project_id: str, sha: str, wanted: Sequence[Sequence[str]]
    ) -> Sequence[Mapping[str, str]]:
        """For each list of patterns the files of the commit that it names: path → mode and id.

        A submodule counts where a file in it might be meant. Raises LookupError where the commit is
        not here; TooManyFiles beyond MAX_INPUT_FILES in a list.
        """
        ...

    async def module_files(self, project_id: str, sha: str) -> Sequence[WorkflowFile]:
        """Those of `pipelines_schema.MODULE_FILES` that there are at that commit."""
        ...

    async def files_named(
        self, project_id: str, sha: str, folder: str, names: Collection[str]
    ) -> Sequence[str]:
        """The folder's own files that have one of the names, in whatever case; `names` are in
        lower case. `.` is the whole repository; a link is no file."""
        ...

    async def folders_among(
        self, project_id: str, sha: str, paths: Collection[str]
    ) -> Collection[str]:
        """Those of the paths that are folders at that commit; a submodule is one."""
        ...

    async def store_files(
        self, project_id: str, files: Mapping[str, str], *, name: str, message: str
    ) -> str:
        """Keep files as a commit without parents, under a ref that nobody is shown; its full sha.

        The same files and message are always the same commit. A file that begins with `#!` is
        executable.
        """
        ...

    async def default_branch(self, project_id: str) -> str | None:
        """The short name of the branch that HEAD names, here or at the forge as far as is known;
        None where that has no commit yet."""
        ...

    async def default_commit(self, project_id: str) -> str | None:
        """The full sha of that branch's tip, as far as is known; None where there is none."""
        ...

    async def set_default_branch(self, project_id: str, branch: str) -> bool:
        """Let HEAD name a branch; whether there is such a one here."""
        ...

    async def settle_default_branch(
        self, project_id: str, gone: Mapping[str, str]
    ) -> tuple[str, str | None] | None:
        """Where HEAD names no branch that is here: its old name, and the one that is chosen.

        `gone`: full names of refs that are no more → what they pointed to. None: it named one.
        """
        ...

    async def changed_paths(
        self, project_id: str, old: str | None, new: str
    ) -> Sequence[str] | None:
        """The files that differ between two commits, removed ones too.

        Without `old`: since `new` left the default branch. None where there is nothing to compare
        with, or where more than MAX_CHANGED_PATHS differ.
        """
        ...

    async def oldest(self, project_id: str, commits: Sequence[str]) -> str | None:
        """The first of those commits that are here of which none of the others is an ancestor."""
        ...

    async def merge_base(self, project_id: str, branch: str, sha: str) -> str | None:
        """Where a commit left a branch; None where they have nothing in common, or one is not
        here."""
        ...

    async def submodules(self, project_id: str, sha: str) -> Sequence[DeclaredSubmodule]:
        """Those that `.gitmodules` at that commit declares and the commit has.

        Raises UnreadableSubmodules.
        """
        ...

    async def history_refs(
        self, project_id: str, *, remote: bool, tag: str | None
    ) -> Sequence[GitRef]:
        """The project's branches and tags in order of their names.

        Of a remote one, as `Remotes.fetch_history` brought them last, and the tag that is built.
        """
        ...

    async def is_on_branch(self, project_id: str, sha: str) -> bool:
        """Whether a branch of the remote, as far as they were fetched, has the commit."""
        ...

    async def tidy(self, project_id: str) -> None:
        """Pack loose objects, small packs and refs; nothing is removed. Pushes go on meanwhile."""
        ...

    async def collect_garbage(self, project_id: str, needed: Collection[str], now: float) -> int:
        """Put aside what neither a ref nor one of the commits `needed` reaches, delete what was put
        aside days ago, and drop what keeps fetched commits that are not needed; bytes put aside.

        `now`: seconds since 1970. Raises GarbageLeft: nothing is lost, and another time will do.
        """
        ...

    async def restore_garbage(self, project_id: str, needed: Collection[str]) -> bool:
        """Whether one of the commits had been put aside; all that went with it is back."""
        ...

    async def garbage_bytes(self, project_id: str) -> int:
        """Of what was put aside and is still to be deleted; part of its size."""
        ...

    async def pointed_objects(self, project_id: str) -> Collection[str]:
        """Oids of Git LFS that a file of any commit here points to. Raises GarbageLeft."""
        ...


class GarbageLeft(Exception):
    """git refused, or took too long; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """With what a remote repository lets us in; never shown, not even in a traceback."""

    user: str = ""
    token: str = field(default="", repr=False)
    deploy_key: str = field(default="", repr=False)
    """An OpenSSH private key without a passphrase."""


class RemoteFailed(Exception):
    """A remote repository could not be fetched; the message is for people."""

    def __init__(
        self, message: str, *, permanent: bool, missing: bool = False, closed: bool = False
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        """Another try would end the same until somebody changes something."""
        self.missing = missing
        """The remote was reached but has no such ref or commit."""
        self.closed = closed
        """The remote was reached but gives nothing to whoever comes with this credential."""


class Remotes(Protocol):
    """Repositories elsewhere, brought into a project's own."""

    async def fetch(
        self, project_id: str, url: RemoteUrl, names: Sequence[str], credential: Credential | None
    ) -> Mapping[str, str]:
        """Bring full ref names or full commit ids, all or none; what each of them is now.

        Which branch is the remote's HEAD, and its tip, are learned by the way.
        Bounded in time and bytes. Raises RemoteFailed.
        """
        ...

    async def fetch_branches(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> None:
        """Bring what every branch is now; `is_on_branch` knows them from then on.

        Bounded in time and bytes. Raises RemoteFailed.
        """
        ...

    async def learn_head(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> str | None:
        """The short name of the branch that the remote's HEAD names; None where it tells none.

        Raises RemoteFailed.
        """
        ...

    async def fetch_history(
        self, project_id: str, url: RemoteUrl, credential: Credential | None
    ) -> None:
        """Bring what every branch and tag is now.

        Bounded in time and bytes. Raises RemoteFailed.
        """
        ...

    async def fetch_module(
        self,
        project_id: str,
        url: RemoteUrl,
        commit: str,
        credential: Credential | None,
        *,
        trusted: bool,
    ) -> None:
        """Bring a commit of another repository, which is told nothing of the project's own.

        Nothing happens if it came from that very URL before, for one as trusted; that it is in
        the project's repository for another reason doesn't count.
        Bounded in time and bytes. Raises RemoteFailed.
        """
        ...

    async def fetch_fork(self, project_id: str, url: RemoteUrl, name: str) -> str:
        """Bring a full ref name of a fork, which gets no credential and becomes none of the
        project's; the commit that it is at.

        Bounded in time and bytes. Raises RemoteFailed.
        """
        ...

    async def copy(self, project_id: str, from_project_id: str, commit: str) -> None:
        """Bring a commit from another project's repository here. Raises RemoteFailed."""
        ...


KeepObject = Callable[[LfsObject, AsyncIterator[bytes]], Awaitable[None]]


class RemoteLfs(Protocol):
    """Git LFS's batch API of repositories elsewhere."""

    async def download(
        self,
        url: RemoteUrl,
        credential: Credential | None,
        objects: Sequence[LfsObject],
        keep: KeepObject,
    ) -> None:
        """Give each object's bytes, unchecked, to `keep`. Raises RemoteFailed."""
        ...


class ReportReader(Protocol):
    """Reads the files in which a step's tools report, as `Readings` does text."""

    async def read(
        self,
        account_id: str,
        files: Sequence[tuple[ReportKind, Artifact]],
        secrets: Sequence[str],
    ) -> ReadResults:
        """What they say, with a warning for each that says nothing, or not all, and `***` for each
        secret. Raises NotRead."""
        ...


class OutgoingHttp(Protocol):
    """Other people's servers, as far as the operator lets them be reached."""

    async def send(self, call: Call) -> Reply:
        """One request, no redirect followed; bounded in time and bytes. Raises RemoteFailed."""
        ...

    def server_of(self, url: str) -> str:
        """What may be shown of an address. Raises RemoteFailed for one that is not reached."""
        ...


class Mailer(Protocol):
    """The operator's mail server."""

    async def send(self, address: str, subject: str, text: str) -> None:
        """Raises RemoteFailed."""
        ...
