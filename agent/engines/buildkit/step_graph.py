"""What a step is to BuildKit: its filesystems, its wrapper process, its collected outputs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.engines.buildkit import llb
from agent.engines.buildkit.odd_names import NAMES_FILE
from agent.engines.protocol import CacheMount
from pipelines_schema.contract import WORKSPACE

PRIVATE = "/.pushrod"
"""Where the wrapper's own folders are mounted in the step's container."""
SOURCE_FOLDER = "w"
"""Folder of every filesystem of ours that holds the workspace; its owner is the image's user."""
SCRIPT_FOLDER = "s"
RECORD_FOLDER = "r"
CACHE_FOLDER = "c"
COLLECTED_FOLDER = "f"
NAMES_FOLDER = "n"
"""Beside the source, for the commands that give back names which are not UTF-8."""
UNLIKE_FOLDER = "u"
OBJECTS = f"{PRIVATE}/git"
"""Where a step's repository finds the objects of its commits."""
GIT_FILES = ("HEAD", "config", "index", "packed-refs", "shallow")
"""Those of a lent `.git` that a script gets a copy of."""
WRAPPER = f"{PRIVATE}/step/wrapper"
EXIT_FILE = "exit"
LIMITS_FILE = "limits"
OUTPUT_FILE = "output"
END_SOCKET = f"{PRIVATE}/end"
"""The wrapper's way to hear from the agent that the script is to end."""
SECRETS = "/run/secrets"
AUTHORITIES = f"{PRIVATE}/authorities/ca.pem"
"""Where a script finds whose certificates to believe, beside what its image believes."""
MAX_SCRIPT_BYTES = 1024 * 1024

_START = """\
# The container's first process. It can't be killed from inside, so it outlives `kill -9 $$`,
# and it adopts and reaps what the script leaves behind. When it ends, the kernel kills the rest.
record={private}/record grace=$2 out= script=
exec 3>&1 2>/dev/null 9<> <(:)  # nobody writes to 9: reading from it is waiting
# The first line of the output tells the agent that from now on it can have us killed.
printf '%s\\n' "$PUSHROD_ATTEMPT_ID" >&3

end_all() {{  # all but tee, ourselves and the first process; false if there was none
  # All are stopped before the first is killed, so that none sees another die and writes of it.
  local found= process others=' ' more=1
  while [ "$more" ]; do
    more=
    for process in /proc/[0-9]*; do
      process=${{process##*/}}
      case " 1 $BASHPID $out $others" in *" $process "*) continue;; esac
      others+="$process "
      kill -STOP "$process" && more=1
    done
  done
  for process in $others; do kill -9 "$process" && found=1; done
  [ "$found" ]
}}

end_script() {{  # its process group is asked to, and has its grace; once, whoever wants it
  if [ "$grace" ]; then
    (set -C; : >"$record/asked") || return
    kill -TERM -- "-$script"
    read -t "$grace" -u 9
  fi
  for round in {{1..50}}; do end_all || break; done
  : >"$record/over"
}}

watch() {{  # the step's timeout, which holds also if there is no agent any more
  exec 3>&- 5>&-
  read -t "$1" -u 9
  : >"$record/timeout"
  end_script
}}

listen() {{  # the agent can have the script end before that
  exec 3>&- 5>&-
  {private}/step/listener && end_script
}}
"""
_NAMES = """\
names={private}/names/{names_file}
if [ -s "$names" ] && ! bash -e "$names" 2>&3; then
  echo 'pushrod: files could not get back their names, which are not UTF-8' >&3
  echo '1 0 0' >"$record/{exit_file}"
  exit 0
fi
"""
_SECRETS = """\
for name in NAMES; do
  IFS= read -r -d '' "$name" <{secrets}/"$name"
  export "$name"
done
"""
_LIMITS = """\
# What limits hold, since an engine that does not know ours says nothing.
for file in memory.max memory/memory.limit_in_bytes; do
  read -r value <"/sys/fs/cgroup/$file" && echo "memory $value"
done >"$record/{limits_file}"
for file in cpu.max cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us; do
  read -r value rest <"/sys/fs/cgroup/$file" && echo "cpu $value" && break
done >>"$record/{limits_file}"
"""
_RUN = """\
# Both streams of a script are one, or its lines would change places on their way to the log.
# Under `set -m` it gets a process group of its own.
set -m
bash -e -o pipefail {private}/step/script </dev/null >&OUT 2>&OUT 3>&- 5>&- 9>&- &
script=$!
set +m
watch "$1" &
LISTEN
wait "$script"
code=$? late=0
[ -e "$record/timeout" ] && late=1
# A bash without a trap ends at once: what it ran has its grace all the same.
while [ -e "$record/asked" ] && [ ! -e "$record/over" ] && kill -0 -- "-$script"; do
  read -t 0.02 -u 9
done
"""
_RUN_DIRECT = (
    _RUN.replace("OUT", "3")
    + """\
for round in {{1..50}}; do end_all || break; done
"""
)
_RUN_RECORDED = (
    """\
if ! command -v tee; then
"""
    + _RUN_DIRECT
    + """\
else
  exec 5> >(exec tee "$record/{output_file}" >&3 3>&- 9>&-); out=$!
"""
    + _RUN.replace("OUT", "5")
    + """\
  exec 5>&-
  # Whoever still holds the script's output would keep tee waiting.
  for round in {{1..50}}; do end_all || break; done
  for round in {{1..20}}; do
    alive=
    for process in /proc/[0-9]*; do
      case ${{process##*/}} in 1|$out) ;; *) alive=1;; esac
    done
    [ "$alive" ] || break
    sleep 0.05
  done
  # A survivor belongs to another user: it may hold the pipe for ever, so don't wait for tee.
  [ "$alive" ] || wait "$out"
fi >/dev/null
"""
)
_END = """\
killed=0
if [ "$code" = 137 ]; then
  for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$file" ] || continue
    while read -r key value; do [ "$key" = oom_kill ] && killed=$value; done <"$file"
    break
  done
fi
echo "$code $killed $late" >"$record/{exit_file}"
exit 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGraph:
    process: llb.Vertex
    record: llb.Output
    """The exit file and the copy of the output, in RECORD_FOLDER."""
    workspace: llb.Output
    """What the script left, in SOURCE_FOLDER."""


def wrapper(
    *,
    keep_output: bool,
    secrets: Sequence[str] = (),
    keep_limits: bool = False,
    listens: bool = False,
) -> str:
    """The script of the container's first process. Its arguments are the timeout and the grace in
    seconds; an empty one is no grace. With `listens` the agent can have the script end.

    With `keep_output` it copies the script's output to the record. `secrets` are names
    of files to export: as the engine's own variables they would stand in its history. With
    `keep_limits` the limits that hold are in the record, too.
    """
    parts = [
        _START,
        _NAMES,
        _LIMITS if keep_limits else "",
        _SECRETS.replace("NAMES", " ".join(secrets)) if secrets else "",
        _RUN_RECORDED if keep_output else _RUN_DIRECT,
        _END,
    ]
    whole = "".join(parts).replace("LISTEN", "listen &" if listens else ":")
    return whole.format(
        private=PRIVATE,
        exit_file=EXIT_FILE,
        secrets=SECRETS,
        limits_file=LIMITS_FILE,
        output_file=OUTPUT_FILE,
        names_file=NAMES_FILE,
    )


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
    limits: llb.Limits | None = None,
    cache_mounts: Sequence[CacheMount],
    timeout_seconds: float,
    grace_seconds: float = 0.0,
    end_listener: bytes | None = None,
    keep_output: bool,
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
    program = llb.files(
        [
            llb.Directory(path=f"/{SCRIPT_FOLDER}"),
            llb.File(path=f"/{SCRIPT_FOLDER}/script", content=script.encode()),
            llb.File(
                path=f"/{SCRIPT_FOLDER}/wrapper",
                content=wrapper(
                    keep_output=keep_output,
                    secrets=secrets,
                    keep_limits=limits is not None,
                    listens=end_listener is not None,
                ).encode(),
            ),
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
        *(
            _cache_mount(mount, owner, folders)
            for mount in sorted(cache_mounts, key=lambda mount: mount.path)
        ),
        *(
            llb.Mount(destination=f"{SECRETS}/{name}", secret_id=name, owner=owner)
            for name in secrets
        ),
        *_listener_mounts(end_listener, owner),
    ]
    process = llb.execute(
        llb.Process(
            arguments=("bash", WRAPPER, f"{timeout_seconds:.3f}", _seconds(grace_seconds)),
            environment=environment,
            directory=WORKSPACE,
            user=owner,
            offline=offline,
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
