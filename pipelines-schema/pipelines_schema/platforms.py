"""Platforms of images, as workflows and engines name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines_schema.contract import Capability

PREFIX = "platform:"
"""Of what an agent's poll says that its engine runs: `platform:linux/arm64`."""
_IMPLIED = {"linux/amd64/v1": "linux/amd64", "linux/arm64/v8": "linux/arm64"}
_MEANT = {
    "linux/arm": "linux/arm/v7",
    "linux/aarch64": "linux/arm64",
    "linux/x86_64": "linux/amd64",
}


def plain_platform(written: str) -> str:
    """One name for each platform: `linux/arm64` for `linux/arm64/v8`."""
    return _IMPLIED.get(written) or _MEANT.get(written, written)


def runs(platforms: Iterable[str], wanted: str) -> bool:
    """Whether an engine that names these runs programs of the wanted one."""
    return plain_platform(wanted) in {plain_platform(one) for one in platforms}


def platform_need(platform: str) -> str:
    """What a step needs of its agent that is to be done where the platform's programs run."""
    return f"{PREFIX}{plain_platform(platform)}"


def part_capabilities(platforms: Sequence[str]) -> Sequence[str]:
    """What an agent says whose engine builds parts of images for these."""
    if not platforms:
        return ()
    needs = dict.fromkeys(map(platform_need, platforms))
    return (Capability.IMAGE_PARTS.value, *needs)


def needed_platform(need: str) -> str | None:
    """`linux/arm64` of `platform:linux/arm64`; None where it is another need."""
    return need.removeprefix(PREFIX) if need.startswith(PREFIX) else None


def in_a_tag(platform: str) -> str:
    """`linux-arm64`, as a part of a tag or a step's name."""
    return platform.replace("/", "-")
