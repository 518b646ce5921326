"""What the container's first process is written in: where bash and plain sh differ. Pure.

bash is there wherever a script is bash's. Any other image may have no more than a POSIX sh, with
the programs that busybox and every distribution have beside it: `sleep`, and `setsid`, `mkfifo`,
`tee` where they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    command: str
    """By which its scripts run."""
    start: str
    """With fd 3 as the log; defines `pause SECONDS`."""
    check: str
    """Once the agent was greeted: whether all is there that it needs."""
    ask: str
    """The script's group to end, by another process."""
    itself: str
    """Of the process that becomes the script, first of all."""
    group: str
    """Before the script's command, where that makes a group of its own."""
    export: str
    """Of the secrets `names`, whose files are in `secrets`."""
    run: str
    """The script, to OUT: its process is `script`, its end `code`."""
    copies: str
    """Whether the output can be copied."""
    copy: str
    """The output that goes to fd 5, by the process PUSHROD__out."""


BASH = Interpreter(
    command="bash -p",
    start="""\
exec 3>&1 2>/dev/null 9<> <(:)  # nobody writes to 9: reading from it is waiting
pause() {{ read -t "$1" -u 9; }}
""",
    check="",
    ask="""\
    kill -TERM "-$script"
""",
    itself="",
    group="",
    export="""\
  for PUSHROD__name in {names}; do
    IFS= read -r -d '' "$PUSHROD__name" <{secrets}/"$PUSHROD__name"
    export "$PUSHROD__name"
  done
""",
    run="""\
# Under `set -m` it gets a process group of its own.
set -m
run_script </dev/null >&OUT 2>&OUT 3>&- 5>&- 9>&- &
script=$!
set +m
watch "$1" &
{listen}
wait "$script"
code=$? late=0
""",
    copies="command -v tee",
    copy="""\
  exec 5> >(exec tee {record}/{output_file} >&3 3>&- 9>&-); PUSHROD__out=$!
""",
)

SH = Interpreter(
    command="sh",
    start="""\
exec 3>&1 2>/dev/null
pause() {{  # also where sleep knows whole seconds alone, or a script kills each that there is
  local now rest end= left
  while :; do
    read -r now rest </proc/uptime
    now=${{now%.*}}${{now#*.}} rest=${{1#*.}}00
    [ "$end" ] || end=$((now + ${{1%.*}} * 100 + 1${{rest%"${{rest#??}}"}} - 100))
    left=$((end - now))
    [ "$left" -gt 0 ] || return 0
    sleep $((left / 100)).$((left % 100 / 10))$((left % 10)) || sleep 1
  done
}}
""",
    check="""\
if ! command -v sleep >/dev/null; then
  echo 'pushrod: the image has neither bash nor the program sleep: install one of them' >&3
  echo '127 0 0 0' >{record}/{exit_file}
  exit 0
fi
""",
    ask="""\
    for round in {fifty}; do read -r script <{record}/script && break; pause 0.02; done
    kill -TERM "-$script" || kill -TERM "$script"
""",
    itself="""\
  # The number of this very process, which bash calls BASHPID; so others know the script's.
  read -r PUSHROD__self PUSHROD__rest </proc/self/stat
  echo "$PUSHROD__self" >{record}/script
""",
    group="  PUSHROD__group=; command -v setsid >/dev/null && PUSHROD__group=setsid\n",
    export="""\
  for PUSHROD__name in {names}; do
    PUSHROD__value= PUSHROD__line=
    while IFS= read -r PUSHROD__line; do
      PUSHROD__value="$PUSHROD__value$PUSHROD__line
"
    done <{secrets}/"$PUSHROD__name"
    export "$PUSHROD__name=$PUSHROD__value$PUSHROD__line"
  done
""",
    # In the foreground: sh lets what it runs in the background ignore SIGINT and SIGQUIT, for ever.
    run="""\
watch "$1" &
{listen}
(run_script) </dev/null >&OUT 2>&OUT 3>&- 5>&-
code=$? late=0
read -r script <{record}/script
""",
    copies="command -v tee && command -v mkfifo && mkfifo {record}/pipe",
    copy="""\
  tee {record}/{output_file} <{record}/pipe >&3 3>&- & PUSHROD__out=$!
  exec 5>{record}/pipe
  rm {record}/pipe
""",
)
