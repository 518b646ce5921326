"""The container's first process: a script, in bash or sh, that runs the step's. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from agent.engines.buildkit.interpreters import BASH, SH, Interpreter
from agent.engines.buildkit.odd_names import NAMES_FILE
from agent.engines.shells import command_of, no_folder, no_program
from pipelines_schema.paths import WORKSPACE

PRIVATE = "/.pushrod"
"""Where the wrapper's own folders are mounted in the step's container."""
EXIT_FILE = "exit"
LIMITS_FILE = "limits"
OUTPUT_FILE = "output"
SOCKETS_FILE = "sockets"
VALUES_FILE = "values"
"""In the record, where the script finds it as PUSHROD_OUTPUT."""
END_SOCKET = f"{PRIVATE}/end"
"""The wrapper's way to hear from the agent that the script is to end."""
OPEN_FILE = "open"
"""In the record, once the step may reach its services, which are ready, and knows their names."""
SECRETS = "/run/secrets"
RECORD = f"{PRIVATE}/record"
IN_BASH = f"{PRIVATE}/step/wrapper"
"""Where the script in bash is mounted, and beside it, where the step's own is not bash's, the one
in sh."""
IN_SH = f"{IN_BASH}.sh"
_BASH_IF_THERE = f'command -v bash >/dev/null 2>&1 && exec bash -p {IN_BASH} "$@"\n'

_START = """\
# The container's first process, in words that bash, dash and busybox have alike where they can.
# It can't be killed from inside, so it outlives `kill -9 $$`, and it adopts and
# reaps what the script leaves behind. When it ends, the kernel kills the rest.
# What is set before the script begins has names that are no step's own: they may be exported.
PUSHROD__grace=$2 PUSHROD__out=
{start}# The first line of the output tells the agent that from now on it can have us killed.
printf '%s\\n' "$PUSHROD_ATTEMPT_ID" >&3
{await_open}{check}
end_all() {{  # all but tee, ourselves and the first process; false if there was none
  # All are stopped before the first is killed, so that none sees another die and writes of it.
  local found= process self others=' ' more=1
  read -r self process </proc/self/stat
  while [ "$more" ]; do
    more=
    for process in /proc/[0-9]*; do
      process=${{process##*/}}
      case " 1 $self $PUSHROD__out $others" in *" $process "*) continue;; esac
      others="$others$process "
      kill -STOP "$process" && more=1
    done
  done
  for process in $others; do kill -9 "$process" && found=1; done
  [ "$found" ]
}}

end_rest() {{
  for round in {fifty}; do end_all || break; done
}}

end_script() {{  # its process group is asked to, and has its grace; once, whoever wants it
  if [ "$PUSHROD__grace" ]; then
    (set -C; : >{record}/asked) || return
{ask}    pause "$PUSHROD__grace"
  fi
  end_rest
  : >{record}/over
}}

watch() {{  # the step's timeout, which holds also if there is no agent any more
  exec 3>&- 5>&-
  pause "$1"
  : >{record}/timeout
  end_script
}}

listen() {{  # the agent can have the script end before that
  exec 3>&- 5>&-
  {private}/step/listener && end_script
}}
"""
_AWAIT_OPEN = f"until [ -e {RECORD}/{OPEN_FILE} ]; do pause 0.01; done\n"
_NAMES = """\
if [ -s {names} ] && ! {command} -e {names} 2>&3; then
  echo 'pushrod: files could not get back their names, which are not UTF-8' >&3
  echo '1 0 0 0' >{record}/{exit_file}
  exit 0
fi
"""
_CACHES = "{command} {private}/step/caches >&3\n"
_LIMITS = """\
limits() {{  # what limits hold, since an engine that does not know ours says nothing
  local file value rest
  for file in memory.max memory/memory.limit_in_bytes; do
    read -r value <"/sys/fs/cgroup/$file" && echo "memory $value"
  done
  for file in cpu.max cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us; do
    read -r value rest <"/sys/fs/cgroup/$file" && echo "cpu $value" && break
  done
}}
limits >{record}/{limits_file}
"""
_RUN = """\
# Both streams of a script are one, or its lines would change places on their way to the log.
{run}[ -e {record}/timeout ] && late=1
# A shell without a trap ends at once: what it ran has its grace all the same.
while [ -e {record}/asked ] && [ ! -e {record}/over ] && kill -0 "-$script"; do
  pause 0.02
done
"""
_RUN_DIRECT = _RUN.replace("{run}", "{run_to_log}") + "end_rest\n"
_RUN_RECORDED = (
    """\
if ! {{ {copies}; }}; then
"""
    + _RUN_DIRECT
    + """\
else
{copy}"""
    + _RUN.replace("{run}", "{run_to_copy}")
    + """\
  exec 5>&-
  # Whoever still holds the script's output would keep tee waiting.
  end_rest
  for round in {twenty}; do
    alive=
    for process in /proc/[0-9]*; do
      case ${{process##*/}} in 1|$PUSHROD__out) ;; *) alive=1;; esac
    done
    [ "$alive" ] || break
    pause 0.05
  done
  # A survivor belongs to another user: it may hold the pipe for ever, so don't wait for tee.
  [ "$alive" ] || wait "$PUSHROD__out"
fi >/dev/null
"""
)
_TO_FOLDER = """\
  cd -P -- {workdir} 2>/dev/null && case "$PWD/" in {workspace}/*) ;; *) false;; esac || {{
    printf %s {no_folder}
    exit 1
  }}
"""
_FIND_PROGRAM = """\
  command -v {program} >/dev/null || {{
    printf %s {no_program}
    exit 127
  }}
"""
_SOCKETS = """\
# The engine delivers a socket as an empty file, so we say where the script left any.
find . -path ./.git -prune -o -type s -print0 >{record}/{sockets_file}
"""
_END = """\
killed=0
if [ "$code" = 137 ]; then
  for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$file" ] || continue
    while read -r key value; do [ "$key" = oom_kill ] && killed=$value; done <"$file"
    break
  done
fi
handed=0
[ -e {record}/{values_file} ] || [ -L {record}/{values_file} ] && handed=1
echo "$code $killed $late $handed" >{record}/{exit_file}
exit 0
"""


def wrapper(
    *,
    keep_output: bool,
    secrets: Sequence[str] = (),
    keep_limits: bool = False,
    listens: bool = False,
    keep_sockets: bool = False,
    begins_caches: bool = False,
    awaits_services: bool = False,
    workdir: str = "",
    shell: str = "",
    shell_options: str = "",
    interpreter: Interpreter = BASH,
) -> str:
    """The script of the container's first process. Its arguments are the timeout and the grace in
    seconds; an empty one is no grace. With `listens` the agent can have the script end.

    With `keep_output` it copies the script's output to the record. `secrets` are names
    of files to export: as the engine's own variables they would stand in its history. With
    `keep_limits` the limits that hold are in the record, too, with `keep_sockets` the names of
    the sockets that are left in the workspace. With `begins_caches` it runs the script of
    `cache_beginnings` first. With `awaits_services` it begins once OPEN_FILE is in the record.
    `workdir` and `shell` are the step's, `shell_options` is the variable SHELLOPTS that it sets:
    our own bash hears of it as little as of BASH_ENV, since it runs with
    -p, but it can't hand it on.

    That of SH goes on as that of BASH, which is at IN_BASH, where there is a bash.
    """
    filled = _filled(interpreter, "listen &" if listens else ":", awaits_services)
    parts = [
        _START,
        _NAMES,
        _CACHES if begins_caches else "",
        _LIMITS if keep_limits else "",
        _RUN_RECORDED if keep_output else _RUN_DIRECT,
        _SOCKETS if keep_sockets else "",
        _END,
    ]
    run_script = _run_script(interpreter, secrets, workdir, shell, shell_options)
    text = "".join([run_script, *(part.format(**filled) for part in parts)])
    return _BASH_IF_THERE + text if interpreter is SH else text


def _filled(interpreter: Interpreter, listen: str, awaits_services: bool) -> Mapping[str, str]:
    places = {
        "private": PRIVATE,
        "record": RECORD,
        "names": f"{PRIVATE}/names/{NAMES_FILE}",
        "exit_file": EXIT_FILE,
        "limits_file": LIMITS_FILE,
        "output_file": OUTPUT_FILE,
        "sockets_file": SOCKETS_FILE,
        "values_file": VALUES_FILE,
        "await_open": _AWAIT_OPEN if awaits_services else "",
        "listen": listen,
        "fifty": " ".join(map(str, range(50))),
        "twenty": " ".join(map(str, range(20))),
    }
    run = interpreter.run.format(**places)
    return {
        **places,
        "command": interpreter.command,
        "start": interpreter.start.format(**places),
        "check": interpreter.check.format(**places),
        "ask": interpreter.ask.format(**places),
        "run_to_log": run.replace("OUT", "3"),
        "run_to_copy": run.replace("OUT", "5"),
        "copies": interpreter.copies.format(**places),
        "copy": interpreter.copy.format(**places),
    }


def _run_script(
    interpreter: Interpreter, secrets: Sequence[str], workdir: str, shell: str, shell_options: str
) -> str:
    """Of the process that becomes the script: with the secrets, and where and by what it runs."""
    command = command_of(shell)
    lines = [
        "run_script() {  # by a process of its own\n",
        interpreter.itself.format(record=RECORD),
    ]
    if workdir:
        lines.append(
            _TO_FOLDER.format(
                workdir=shlex.quote(workdir),
                workspace=WORKSPACE,
                no_folder=shlex.quote(no_folder(workdir)),
            )
        )
    if secrets:
        lines.append(interpreter.export.format(names=" ".join(secrets), secrets=SECRETS))
    if shell:
        lines.append(
            _FIND_PROGRAM.format(
                program=shlex.quote(command[0]), no_program=shlex.quote(no_program(command[0]))
            )
        )
    begin = f"env {shlex.quote(f'SHELLOPTS={shell_options}')} " if shell_options else ""
    lines.append(interpreter.group)
    group = "$PUSHROD__group " if interpreter.group else ""
    lines.append(f"  exec {group}{begin}{shlex.join(command)} {PRIVATE}/step/script\n}}\n")
    return "".join(lines)
