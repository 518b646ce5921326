"""How a cache in a container begins as a copy of another: a script in sh that runs first. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from agent.engines.protocol import BEGINS_AS_COPY, CacheMount

OTHERS = "/.pushrod/caches"
"""Below it are the caches that are only read, in the order of `read_only`."""

_SCRIPT = """\
# What a copy that was cut short left behind does not count, and goes with the next one.
all_of() {
  for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    case ${entry##*/} in .pushrod-*) continue;; esac
    if [ -e "$entry" ] || [ -L "$entry" ]; then "$2"; fi
  done
}
found() { any=1; }
holds_any() { any=; all_of "$1" found; [ "$any" ]; }
place() {  # whole entries alone get their names, whenever this is ended
  name=${entry##*/}
  [ -e "$cache/$name" ] || [ -L "$cache/$name" ] || mv "$entry" "$cache/$name"
}
begin() {  # the cache, how the log calls it, then the others
  cache=$1 line=$2
  shift 2
  holds_any "$cache" && return
  for other; do
    holds_any "$other" || continue
    part=$cache/.pushrod-$PUSHROD_ATTEMPT_ID
    mkdir "$part" || return
    cp -a "$other/." "$part"
    all_of "$part" place
    rm -rf "$cache"/.pushrod-*
    echo "$line"
    return
  done
}
command -v cp >/dev/null && command -v mv >/dev/null || exit 0
"""


def read_only(mounts: Sequence[CacheMount]) -> list[str]:
    """Identities of the caches that others begin as, each once."""
    return list(dict.fromkeys(other for mount in mounts for other in mount.begins_as))


def beginnings(mounts: Sequence[CacheMount]) -> str:
    """The script; empty where there is nothing to do. The mounts' paths are absolute."""
    others = read_only(mounts)
    if not others:
        return ""
    lines = []
    for mount in mounts:
        places = [f"{OTHERS}/{others.index(other)}" for other in mount.begins_as]
        line = BEGINS_AS_COPY.format(path=mount.path)
        lines.append(shlex.join(["begin", mount.path, line, *places]))
    return _SCRIPT + "\n".join(lines) + "\n"
