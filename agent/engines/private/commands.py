"""Programs that are run to their end, with a deadline, and their output kept for the error."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

TAIL_CHARACTERS = 2000


class CommandFailedError(Exception):
    """A program ended with a code other than 0, or not in time (`code` is None)."""

    def __init__(self, argv: tuple[str, ...], code: int | None, output: str) -> None:
        ending = "did not end in time" if code is None else f"ended with code {code}"
        super().__init__(f"{argv[0]} {ending}: {output[-TAIL_CHARACTERS:].strip()}")
        self.argv = argv
        self.code = code
        self.output = output


async def run_command(
    *argv: str,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it wrote on stdout; stderr is kept for the error alone.

    Raises: CommandFailedError. On a deadline or when cancelled, the program is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CommandFailedError(argv, 127, str(error)) from error
    try:
        async with asyncio.timeout(timeout_seconds):
            stdout, stderr = await process.communicate()
    except TimeoutError as error:
        raise CommandFailedError(argv, None, "") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    text = stdout.decode(errors="replace")
    if process.returncode != 0:
        raise CommandFailedError(argv, process.returncode, text + stderr.decode(errors="replace"))
    return text
