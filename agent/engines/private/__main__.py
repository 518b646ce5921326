"""`python -m agent.engines.private up|down|status|base-image|test-image`, for make and tests."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields

from agent.engines.private import EngineError


async def _up(arguments: argparse.Namespace) -> str:
    from agent.engines.private import up

    address = await up(reuse=not arguments.private)
    return address.url


async def _down(_: argparse.Namespace) -> str:
    from agent.engines.private import down

    return "stopped" if await down() else "no private engine was running"


async def _status(_: argparse.Namespace) -> str:
    from agent.engines.private import status

    found = await status(measure_disk=True)
    return "\n".join(f"{field.name}: {getattr(found, field.name)}" for field in fields(found))


async def _base_image(_: argparse.Namespace) -> str:
    from agent.engines.private import ensure_base_image

    return await ensure_base_image()


async def _test_image(_: argparse.Namespace) -> str:
    from agent.engines.private import ensure_test_image

    return await ensure_test_image()


async def _service_images(_: argparse.Namespace) -> str:
    from agent.engines.private import ensure_service_images

    return "\n".join((await ensure_service_images()).values())


async def _python_images(_: argparse.Namespace) -> str:
    from agent.engines.private import ensure_python_images

    return "\n".join((await ensure_python_images()).values())


COMMANDS: dict[str, Callable[[argparse.Namespace], Awaitable[str]]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "base-image": _base_image,
    "test-image": _test_image,
    "service-images": _service_images,
    "python-images": _python_images,
}


async def _run(arguments: argparse.Namespace) -> str:
    return await COMMANDS[arguments.command](arguments)


def main() -> int:
    """Print the command's result on stdout; 1 with the error and its remedy on stderr."""
    parser = argparse.ArgumentParser(prog="python -m agent.engines.private")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--private", action="store_true", help="don't reuse a system engine")
    try:
        sys.stdout.write(asyncio.run(_run(parser.parse_args())) + "\n")
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
