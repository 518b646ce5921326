"""What the wrapper wrote down of a script's end, and of the limits that held."""

from __future__ import annotations

from dataclasses import dataclass

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import StepNotRunError, is_gone
from agent.engines.buildkit.step_graph import RECORD_FOLDER
from agent.engines.buildkit.wrapper import EXIT_FILE, LIMITS_FILE, SOCKETS_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptEnd:
    exit_code: int
    out_of_memory_kills: int
    timed_out: bool


async def read_limits(build: Build, ref: str) -> str:
    """Empty where none were written. Raises BuildFailedError if the engine is gone."""
    return (await _read(build, ref, LIMITS_FILE)).decode()


async def read_sockets(build: Build, ref: str) -> frozenset[str]:
    """Where in the workspace the script left sockets. Raises BuildFailedError if the engine is
    gone."""
    names = (await _read(build, ref, SOCKETS_FILE)).decode("utf-8", "surrogateescape")
    return frozenset(name.removeprefix("./") for name in names.split("\0"))


async def read_end(build: Build, ref: str) -> ScriptEnd:
    """Raises StepNotRunError, and BuildFailedError if the engine is gone."""
    fields = (await _read(build, ref, EXIT_FILE)).decode(errors="replace").split()
    if len(fields) != 3 or not all(field.isdecimal() for field in fields):
        raise StepNotRunError("the step's exit code was lost: the engine's disk may be full")
    code, kills, late = map(int, fields)
    return ScriptEnd(exit_code=code, out_of_memory_kills=kills, timed_out=late > 0)


async def _read(build: Build, ref: str, name: str) -> bytes:
    try:
        return await build.read_file(ref, f"/{RECORD_FOLDER}/{name}")
    except BuildFailedError as failure:
        if is_gone(failure.error):
            raise
        return b""
