"""Names that are not UTF-8, which the engine can't be sent: they travel under others. Pure.

Each entry with such a name is sent as `.pushrod-name-…`, and a file of commands beside the
workspace gives the names back before the script begins. A link whose target is not UTF-8 is not
sent but made there.
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass, field

NAMES_FILE = "names"
_STANDS_FOR = ".pushrod-name-"
_PLAIN = frozenset((string.ascii_letters + string.digits + "._-/").encode())


@dataclass(frozen=True, slots=True)
class OddNames:
    """What has to be done in the workspace, found while its tree is walked from the top."""

    _commands: list[str] = field(default_factory=list)

    def rename(self, folder: str, name: bytes) -> None:
        """The entry `name` of a folder of the workspace, given by the path it was sent under."""
        real = _joined(folder, name)
        sent = _joined(folder, sent_name(name))
        self._commands.append(f"named mv {_escaped(sent)} {_escaped(real)}")

    def link(self, path: str, target: bytes) -> None:
        self._commands.append(f"named 'ln -s' {_escaped(target)} {_escaped(path.encode())}")

    def script(self) -> bytes:
        """For sh, to run in the workspace: what lies in a folder comes before the folder itself.
        Empty where there is nothing to do."""
        if not self._commands:
            return b""
        return "".join([_NAMED, *(f"{command}\n" for command in reversed(self._commands))]).encode()


def sent_name(name: bytes) -> bytes:
    """The name itself where it is UTF-8."""
    if is_utf8(name):
        return name
    return (_STANDS_FOR + hashlib.sha256(name).hexdigest()[:40]).encode()


def is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _joined(folder: str, name: bytes) -> bytes:
    return folder.encode() + b"/" + name if folder else name


_NAMED = """\
named() {  # the dots keep line ends that a name may end with
  from=$(printf '%b.' "$2") to=$(printf '%b.' "$3")
  $1 -- "${from%.}" "${to%.}"
}
"""


def _escaped(path: bytes) -> str:
    """As the `%b` of any printf reads it, whatever the locale."""
    return "'" + "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in path) + "'"
