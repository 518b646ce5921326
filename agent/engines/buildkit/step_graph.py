"""What a step is to BuildKit: its filesystems, its wrapper process, its collected outputs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agent.engines.buildkit import llb
from agent.engines.buildkit.cache_beginnings import OTHERS, beginnings, read_only
from agent.engines.buildkit.interpreters import SH
from agent.engines.buildkit.wrapper import END_SOCKET, IN_BASH, IN_SH, PRIVATE, SECRETS, wrapper
from agent.engines.protocol import CacheMount
from agent.engines.shells import command_of
from pipelines_schema.paths import WORKSPACE

SOURCE_FOLDER = "w"
"""Folder of every filesystem of ours that holds the workspace; its owner is the image's user."""
SCRIPT_FOLDER = "s"
RECORD_FOLDER = "r"
CACHE_FOLDER = "c"
COLLECTED_FOLDER = "f"
NAMES_FOLDER = "n"
"""Beside the source, for the commands that give back names which are not UTF-8."""
UNLIKE_FOLDER = "u"
HOSTS_FILE = "/pushrod-hosts"
"""Of its own filesystem; the kernel names the mount of no other file so."""
HOSTS = """\
127.0.0.1\tlocalhost buildkitsandbox
::1\tlocalhost ip6-localhost ip6-loopback
"""
"""What the engine writes into the /etc/hosts of a container that has no services."""
OBJECTS = f"{PRIVATE}/git"
"""Where a step's repository finds the objects of its commits."""
GIT_FILES = ("HEAD", "config", "index", "packed-refs", "shallow")
"""Those of a lent `.git` that a script gets a copy of."""
AUTHORITIES = f"{PRIVATE}/authorities/ca.pem"
"""Where a script finds whose certificates to believe, beside what its image believes."""
MAX_SCRIPT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGraph:
    process: llb.Vertex
    record: llb.Output
    """The exit file and the copy of the output, in RECORD_FOLDER."""
    workspace: llb.Output
    """What the script left, in SOURCE_FOLDER."""


def script_problem(script: str) -> str | None:
    """Why the script can't be run, for people; None if it can."""
    if "\0" in script:
        return (
            f"the script has a NUL byte at character {script.index(chr(0))}: bash can't read it; "
            "remove it, or write it as \\0 for printf"
        )
    size = len(script.encode())
    if size > MAX_SCRIPT_BYTES:
        return (
            f"the script has {size} bytes, the most is {MAX_SCRIPT_BYTES}: "
            "put the bulk of it into a file of the repository"
        )
    return None


def unenforced(asked: llb.Limits, record: str) -> list[str]:
    """For people: the limits asked for that the wrapper did not find in force."""
    found = dict(line.split(" ", 1) for line in record.splitlines() if " " in line)
    wanted = {
        "memory": ("memory", asked.memory_bytes),
        "cpus": (
            "cpu",
            None if asked.cpus is None else round(asked.cpus * llb.CPU_PERIOD_MICROSECONDS),
        ),
    }
    names = [
        name
        for name, (key, limit) in wanted.items()
        if limit is not None and not 0 < _number(found.get(key, "")) <= limit
    ]
    if not names:
        return []
    return [f"resources: this engine does not limit {' and '.join(names)}; a buildkitd can."]


def _number(text: str) -> int:
    """-1 for `max` and what is unknown."""
    return int(text) if text.isdecimal() else -1


def cache_problem(cache_mounts: Sequence[CacheMount]) -> str | None:
    """Why the cache folders can't be mounted, for people; None if they can."""
    seen: set[str] = set()
    for mount in cache_mounts:
        path = mount.path.rstrip("/") or "/"
        if not path.startswith(("/", "~/")) or ".." in path.split("/"):
            return f"cache folder {mount.path!r}: give an absolute or `~/` path without `..`"
        if path in ("/", WORKSPACE, "/proc", "/sys", "/dev") or path.startswith(PRIVATE):
            return f"cache folder {mount.path!r}: this folder can't be a cache; name one below it"
        if path in seen:
            return f"cache folder {mount.path!r} is given twice"
        seen.add(path)
    return None


def at_home(mount: CacheMount, home: str) -> CacheMount:
    """The mount with `~/` spelt out: only the image says where that is."""
    if not mount.path.startswith("~/"):
        return mount
    return replace(mount, path=f"{home.rstrip('/')}/{mount.path.removeprefix('~/')}")


def step_graph(
    *,
    image: str,
    platform: llb.Platform,
    owner: llb.Owner,
    environment: Mapping[str, str],
    script: str,
    source: llb.Output | None,
    git: llb.Output | None = None,
    secrets: Sequence[str] = (),
    offline: bool = False,
    privileged: bool = False,
    awaits_services: bool = False,
    limits: llb.Limits | None = None,
    cache_mounts: Sequence[CacheMount],
    timeout_seconds: float,
    grace_seconds: float = 0.0,
    end_listener: bytes | None = None,
    keep_output: bool,
    keep_sockets: bool = False,
    workdir: str = "",
    shell: str = "",
    authorities: str = "",
    description: str,
    unlike: str = "",
) -> StepGraph:
    """The graph of one attempt. The wrapper itself keeps the timeout, so that a log and outputs
    remain of a late script, too. `unlike`, a word, makes the copy of the source this attempt's own,
    with the times of its files. `end_listener`: the program by which the wrapper hears that the
    script is to end; None where it can't.

    Whatever its outcome the script's process succeeds as far as BuildKit knows, so that there
    always are outputs; its exit code stands in the record.
    """
    folders = llb.files(
        [
            llb.Directory(path=f"/{SOURCE_FOLDER}", owner=owner),
            llb.Directory(path=f"/{RECORD_FOLDER}", owner=owner, mode=0o700),
            llb.Directory(path=f"/{CACHE_FOLDER}", owner=owner),
        ],
        description="folders",
    )
    caches = sorted(cache_mounts, key=lambda mount: mount.path)
    caches_begin = beginnings(caches)
    first = partial(
        wrapper,
        keep_output=keep_output,
        secrets=secrets,
        keep_limits=limits is not None,
        listens=end_listener is not None,
        keep_sockets=keep_sockets,
        begins_caches=bool(caches_begin),
        awaits_services=awaits_services,
        workdir=workdir,
        shell=shell,
        shell_options=environment.get("SHELLOPTS", ""),
    )
    # An image whose script is bash's has a bash; of any other that is seen in the container.
    needs_bash = command_of(shell)[0] == "bash"
    wrappers = {IN_BASH: first()} | ({} if needs_bash else {IN_SH: first(interpreter=SH)})
    program = llb.files(
        [
            llb.Directory(path=f"/{SCRIPT_FOLDER}"),
            llb.File(path=f"/{SCRIPT_FOLDER}/script", content=script.encode()),
            *(
                llb.File(path=f"/{SCRIPT_FOLDER}/{path.rpartition('/')[2]}", content=text.encode())
                for path, text in wrappers.items()
            ),
            *_caches_file(caches_begin),
            *_listener_files(end_listener),
        ],
        description="script",
    )
    workspace = _own_copy(source, git, owner, unlike) if source else folders
    mounts = [
        # An output, though nobody wants it: BuildKit mounts a root without output read-only.
        llb.Mount(destination="/", source=llb.image(image, platform), keep=True),
        llb.Mount(
            destination=f"{PRIVATE}/step",
            source=program,
            selector=f"/{SCRIPT_FOLDER}",
            readonly=True,
        ),
        llb.Mount(
            destination=f"{PRIVATE}/record",
            source=folders,
            selector=f"/{RECORD_FOLDER}",
            keep=True,
        ),
        llb.Mount(
            destination=WORKSPACE,
            source=workspace,
            selector=f"/{SOURCE_FOLDER}",
            keep=True,
        ),
        *([_names_mount(workspace)] if source else []),
        *([_authorities_mount(authorities)] if authorities else []),
        *(
            # The packs themselves, since git never writes to one: nothing of them is copied.
            [
                llb.Mount(
                    destination=OBJECTS,
                    source=git,
                    selector="/.git/objects",
                    readonly=True,
                )
            ]
            if git
            else []
        ),
        *(_cache_mount(mount, owner, folders) for mount in caches),
        *_other_caches(caches, owner, folders),
        *(
            llb.Mount(destination=f"{SECRETS}/{name}", secret_id=name, owner=owner)
            for name in secrets
        ),
        *_listener_mounts(end_listener, owner),
        *([_hosts_mount()] if awaits_services else []),
    ]
    process = llb.execute(
        llb.Process(
            # -p: what the step's or the image's BASH_ENV and SHELLOPTS say is for the script.
            arguments=(
                *(("bash", "-p", IN_BASH) if needs_bash else ("sh", IN_SH)),
                f"{timeout_seconds:.3f}",
                _seconds(grace_seconds),
            ),
            environment=environment,
            directory=WORKSPACE,
            user=owner,
            offline=offline,
            privileged=privileged,
            limits=limits,
            mounts=mounts,
        ),
        platform=platform,
        description=description,
    )
    return StepGraph(process=process, record=process.output(1), workspace=process.output(2))


def _authorities_mount(authorities: str) -> llb.Mount:
    folder, _, name = AUTHORITIES.rpartition("/")
    file = llb.File(path=f"/{name}", content=authorities.encode())
    # The same for every step, so the engine makes it once.
    made = llb.files([file], description="authorities")
    return llb.Mount(destination=folder, source=made, readonly=True)


def _hosts_mount() -> llb.Mount:
    """In the place of the engine's own, which nobody can write to once the container is there: the
    addresses of services become known while it is made."""
    made = llb.files([llb.File(path=HOSTS_FILE, content=HOSTS.encode())], description="hosts")
    return llb.Mount(destination="/etc/hosts", source=made, selector=HOSTS_FILE)


def _names_mount(copy: llb.Output) -> llb.Mount:
    folder = f"{PRIVATE}/names"
    return llb.Mount(destination=folder, source=copy, selector=f"/{NAMES_FOLDER}", readonly=True)


def _seconds(grace: float) -> str:
    return f"{grace:.3f}" if grace else ""


def _listener_files(program: bytes | None) -> list[llb.File]:
    if program is None:
        return []
    return [llb.File(path=f"/{SCRIPT_FOLDER}/listener", content=program, mode=0o755)]


def _listener_mounts(program: bytes | None, owner: llb.Owner) -> list[llb.Mount]:
    if program is None:
        return []
    return [llb.Mount(destination=END_SOCKET, socket_id="end", owner=owner)]


def _cache_mount(mount: CacheMount, owner: llb.Owner, folders: llb.Output) -> llb.Mount:
    # A cache's root folder belongs to root unless the cache begins as a copy of a folder of ours.
    begins_as = None if owner == llb.ROOT else folders
    return llb.Mount(
        destination=mount.path.rstrip("/"),
        source=begins_as,
        selector=f"/{CACHE_FOLDER}" if begins_as else "",
        cache_id=f"pushrod/{mount.id}",
    )


def _caches_file(script: str) -> list[llb.File]:
    if not script:
        return []
    return [llb.File(path=f"/{SCRIPT_FOLDER}/caches", content=script.encode())]


def _other_caches(
    mounts: Sequence[CacheMount], owner: llb.Owner, folders: llb.Output
) -> list[llb.Mount]:
    return [
        replace(
            _cache_mount(CacheMount(id=other, path=f"{OTHERS}/{number}"), owner, folders),
            readonly=True,
        )
        for number, other in enumerate(read_only(mounts))
    ]


def _own_copy(
    source: llb.Output, git: llb.Output | None, owner: llb.Owner, unlike: str
) -> llb.Output:
    # A process may not write to the source itself: the engine would have to keep it as it is then,
    # could not update it in place, and would ask for the whole tree the next time.
    copy = llb.Copy(
        source=source,
        source_path="/",
        destination="/",
        owner=None if owner == llb.ROOT else owner,
    )
    repository = _own_repository(git, owner) if git else []
    return llb.files([*_unlike(unlike), copy, *repository], description="workspace")


def _own_repository(
    git: llb.Output, owner: llb.Owner
) -> Sequence[llb.Directory | llb.Copy | llb.File]:
    """A `.git` that finds its objects where they are mounted, and whose own are the script's."""
    folder = f"/{SOURCE_FOLDER}/.git"
    return [
        llb.Directory(path=f"{folder}/refs", owner=owner),
        llb.Directory(path=f"{folder}/objects/info", owner=owner),
        llb.Copy(
            source=git,
            source_path="/.git",
            destination=folder,
            include=GIT_FILES,
            owner=None if owner == llb.ROOT else owner,
        ),
        llb.File(
            path=f"{folder}/objects/info/alternates", content=f"{OBJECTS}\n".encode(), owner=owner
        ),
    ]


def _unlike(word: str) -> list[llb.Directory]:
    """The engine knows copies by their content, not by their times: it would take an earlier one
    with its times for a new one of the same files."""
    return [llb.Directory(path=f"/{UNLIKE_FOLDER}/{word}")] if word else []


def collected(workspace: llb.Output, include: Sequence[str], *, unlike: str) -> llb.Output:
    """What matches the patterns, in COLLECTED_FOLDER."""
    copy = llb.Copy(
        source=workspace,
        source_path=f"/{SOURCE_FOLDER}",
        destination=f"/{COLLECTED_FOLDER}",
        include=tuple(include),
    )
    return llb.files([*_unlike(unlike), copy], description="outputs")
