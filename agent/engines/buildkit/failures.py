"""What went wrong in the engine, in words for people. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


class StepNotRunError(Exception):
    """The engine could not run the step; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPlace:
    """An instruction of a Dockerfile."""

    line: int
    """Its first line, from 1."""
    instruction: str
    """As written, its lines joined by spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineError:
    """A failed call, without gRPC's types."""

    code: str
    """gRPC's name of the status: `UNAVAILABLE`, `UNKNOWN`, …"""
    details: str
    place: FailedPlace | None = None
    """Where in a Dockerfile it failed, if it did there."""


class PathTooLongError(Exception):
    """The engine can't reach a file that the script made; says so for people."""


_TOO_LONG = re.compile(r"/w/(?P<first>[^/]+)/.*: file name too long", re.DOTALL)
"""It names the path by that of the engine's mount of the workspace; the path alone fills pages."""
_NO_SHELL = re.compile(
    r'exec: "?(bash|sh)"?: (?:executable file not found|no such file)|"(bash|sh)": executable'
)
_FIRST_WORD = re.compile(r'process "(bash|sh) ')
_EXIT_CODE = re.compile(r"did not complete successfully: exit code: (\d+)")
_NO_IMAGE = re.compile(r"not found|pull access denied|repository does not exist|manifest unknown")
_NO_RIGHTS = re.compile(
    r"unauthorized|authorization failed|failed to authorize|access denied|403 Forbidden"
)
_NO_REGISTRY = re.compile(
    r"no such host|connection refused|i/o timeout|network is unreachable|failed to do request"
)
_NO_SPACE = re.compile(r"no space left on device")


NO_PRIVILEGES = (
    "this engine gives nobody the rights that `privileged` means: of dockerd, set `builder: "
    "{{entitlements: {{security-insecure: true}}}}` in its daemon.json, of buildkitd "
    "`insecure-entitlements`, and start it again; of pushrod's own, `pushrod engine down` and "
    "`pushrod engine up` ({details})"
)


NOT_ALLOWED = (
    "this agent does not let steps be `privileged`: start it with `pushrod agent "
    "--allow-privileged`, on a machine of its own"
)


def refuses_privileges(error: EngineError) -> bool:
    return "security.insecure is not allowed" in error.details


def raise_if_too_long(error: EngineError) -> None:
    """Raises PathTooLongError."""
    if found := _TOO_LONG.search(error.details):
        raise PathTooLongError(
            f"outputPaths: {found['first']}/… has a path that is longer than the engine can read: "
            "it can't be kept, and nothing else was."
        )


def process_exit_code(error: EngineError) -> int | None:
    """The exit code of the container's first process, if that is what failed."""
    found = _EXIT_CODE.search(error.details)
    return int(found.group(1)) if found else None


def is_gone(error: EngineError) -> bool:
    """Whether the engine itself is away, not only this step in trouble.

    To be asked only of errors that our own cancelling did not cause.
    """
    return error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED") or (
        "context canceled" in error.details
    )


def gone(address: str, details: str) -> str:
    return (
        f"the engine at {address} went away during the step ({details}): "
        "see that it runs (`pushrod engine status`); the step is run again"
    )


def image_problem(image: str, error: EngineError) -> str:
    """Why an image could not be had, which is what a build asks for first."""
    if refuses_privileges(error):
        return NO_PRIVILEGES.format(details=error.details)
    return f"image {image!r} could not be fetched: {image_reason(image, error)} ({error.details})"


def image_reason(image: str, error: EngineError) -> str:
    if _NO_REGISTRY.search(error.details):
        return (
            "its registry can't be reached from the engine: check the registry's name and the "
            "engine's network, or use an image that the engine has"
        )
    if _NO_RIGHTS.search(error.details) and "pull access denied" not in error.details:
        return (
            "the registry refuses: give the project a login by `pushrod registry login`, or make "
            "the image public"
        )
    if _NO_IMAGE.search(error.details):
        return "there is none of this name: check the name and the tag, or push it first"
    return "the engine says why"


def _shell_in(found: re.Match[str] | None) -> str | None:
    return next(filter(None, found.groups()), None) if found else None


def step_problem(image: str, error: EngineError) -> str:
    """Why the step's process could not be run."""
    if refuses_privileges(error):
        return NO_PRIVILEGES.format(details=error.details)
    # Our wrapper always succeeds, so a failed first process is one that could not be started.
    missing = _NO_SHELL.search(error.details)
    if missing or process_exit_code(error) is not None:
        shell = _shell_in(missing) or _shell_in(_FIRST_WORD.search(error.details)) or "bash"
        other = "" if shell == "sh" else ", `shell: sh`"
        return (
            f"image {image!r} has no {shell} that could run the step's script: install {shell} in "
            f"the image, on its PATH, or use another image{other} ({error.details})"
        )
    if _NO_SPACE.search(error.details):
        return f"the engine's disk is full: free space on the engine's machine ({error.details})"
    if "failed to resolve source metadata" in error.details or "failed to load cache key" in (
        error.details
    ):
        return image_problem(image, error)
    return f"the engine could not run the step: {error.details} ({error.code})"
