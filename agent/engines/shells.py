"""By which program and in which folder a step's script runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_KNOWN = {
    "": ("bash", "-e", "-o", "pipefail"),
    "bash": ("bash", "-e", "-o", "pipefail"),
    "sh": ("sh", "-e"),
    # Its output is a log that people follow, so nothing of it is held back.
    "python": ("python3", "-u"),
}


def command_of(shell: str) -> Sequence[str]:
    """The program and its arguments, to which the script's path is added."""
    return _KNOWN.get(shell) or shell.split()


def no_program(program: str) -> str:
    return f"pushrod: there is no program {program}, which the step's `shell` asks for\n"


def no_folder(workdir: str) -> str:
    return f"pushrod: the workspace has no folder {workdir}, which the step's `workdir` names\n"
