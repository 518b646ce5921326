"""What the wrapper wrote down of a script's end, and of the limits that held."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import StepNotRunError, is_gone
from agent.engines.buildkit.filesync import GO_TYPES
from agent.engines.buildkit.step_graph import RECORD_FOLDER
from agent.engines.buildkit.wrapper import EXIT_FILE, LIMITS_FILE, SOCKETS_FILE, VALUES_FILE
from agent.engines.value_file import NOT_A_FILE, TOO_MUCH, Values
from pipelines_schema.step_outputs import MAX_OUTPUT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptEnd:
    exit_code: int
    out_of_memory_kills: int
    timed_out: bool
    hands_on: bool = False
    """It has written values."""


async def read_limits(build: Build, ref: str) -> str:
    """Empty where none were written. Raises BuildFailedError if the engine is gone."""
    return (await _read(build, ref, LIMITS_FILE)).decode()


async def read_sockets(build: Build, ref: str) -> Mapping[str, int]:
    """Where in the workspace the script left sockets, each with that type.

    Raises BuildFailedError if the engine is gone.
    """
    names = (await _read(build, ref, SOCKETS_FILE)).decode("utf-8", "surrogateescape")
    return {name.removeprefix("./"): stat.S_IFSOCK for name in names.split("\0") if name}


async def read_end(build: Build, ref: str) -> ScriptEnd:
    """Raises StepNotRunError, and BuildFailedError if the engine is gone."""
    fields = (await _read(build, ref, EXIT_FILE)).decode(errors="replace").split()
    if len(fields) != 4 or not all(field.isdecimal() for field in fields):
        raise StepNotRunError("the step's exit code was lost: the engine's disk may be full")
    code, kills, late, handed = map(int, fields)
    return ScriptEnd(
        exit_code=code, out_of_memory_kills=kills, timed_out=late > 0, hands_on=handed > 0
    )


async def read_values(build: Build, ref: str, ended: ScriptEnd) -> Values:
    """What the script wrote to PUSHROD_OUTPUT. Nobody changes the record any more, so what was
    looked at is what is read. Raises BuildFailedError.
    """
    if not ended.hands_on:
        return Values()
    entries = await build.list_folder(ref, f"/{RECORD_FOLDER}", include=VALUES_FILE)
    for entry in entries:
        if entry.mode & GO_TYPES:
            return NOT_A_FILE
        if entry.size > MAX_OUTPUT_BYTES:
            return TOO_MUCH
        return Values(written=await build.read_file(ref, f"/{RECORD_FOLDER}/{VALUES_FILE}"))
    return Values()


async def _read(build: Build, ref: str, name: str) -> bytes:
    try:
        return await build.read_file(ref, f"/{RECORD_FOLDER}/{name}")
    except BuildFailedError as failure:
        if is_gone(failure.error):
            raise
        return b""
