"""Why an image could not be built or pushed, in words for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.engines.buildkit.failures import EngineError, image_reason, process_exit_code
from pipelines_schema.image_references import registry_of
from pipelines_schema.masking import Masker

MAX_INSTRUCTION_CHARACTERS = 200
KILLED = 137
_DENIED = re.compile(r'source "(?:docker-image://)?(?P<source>[^"]+)" (?:is )?denied by policy')
_SYNTAX = re.compile(r"^dockerfile parse error(?: on line \d+)?: ", re.IGNORECASE)
_NOT_IN_CONTEXT = re.compile(
    r"failed to calculate checksum of ref [^:]+::?[^:]*: (?P<what>.+): not found"
)
_UNKNOWN_IMAGE = re.compile(r"failed to resolve source metadata for (?P<image>[^ ]+): ")
_NO_SECRET = re.compile(r"secret (?P<name>\S+): not found")
_NO_STAGE = re.compile(r"target stage \"?(?P<name>[^\" ]+)\"? could not be found")
_PUSH = re.compile(r"failed to push (?P<reference>[^ ]+): |push access denied|failed to authorize")
_REFUSED = re.compile(
    r"denied|unauthorized|no basic auth credentials|insufficient_scope|authorization failed|"
    r"failed to authorize|401|403 Forbidden",
    re.IGNORECASE,
)
_PLAIN_HTTP = re.compile(r"server gave HTTP response to HTTPS client")
_UNKNOWN_CERTIFICATE = re.compile(r"x509: |certificate signed by unknown authority")
_UNREACHABLE = re.compile(
    r"no such host|connection refused|i/o timeout|network is unreachable|deadline exceeded"
)


def build_problem(dockerfile: str, error: EngineError, secrets: Iterable[str] = ()) -> str:
    """`Dockerfile:7: RUN make: exit code 2`; `dockerfile` is its path in the workspace. Of the
    secrets nothing is in an instruction that is shortened."""
    where, instruction = dockerfile, ""
    if error.place is not None:
        where = f"{dockerfile}:{error.place.line}"
        instruction = f"{_shortened(Masker(secrets).hide(error.place.instruction))}: "
    code = process_exit_code(error)
    if code is not None:
        return f"{where}: {instruction}{_ended_with(code)}"
    if _SYNTAX.search(error.details):
        return f"{where}: {_SYNTAX.sub('', error.details)}"
    return f"{where}: {instruction}{_reason(error)}"


def _reason(error: EngineError) -> str:
    details = error.details
    if found := _DENIED.search(details):
        return (
            f"{found['source']} is not this account's to read: only its own folder of a registry "
            "that all accounts share is, and what an administrator made public"
        )
    if found := _UNKNOWN_IMAGE.search(details):
        return f"{image_reason(found['image'], error)} ({details[found.end() :]})"
    if found := _NOT_IN_CONTEXT.search(details):
        return f"{found['what']} is not in the context, or .dockerignore leaves it out"
    if found := _NO_SECRET.search(details):
        return (
            f"there is no secret {found['name']}: name it in the step's `secrets`, beside `build`"
        )
    if found := _NO_STAGE.search(details):
        return f"it has no stage `{found['name']}`, which `build: {{target: …}}` names"
    return details


def _ended_with(code: int) -> str:
    if code == KILLED:
        return "killed (exit code 137), most likely for lack of memory on the engine's machine"
    return f"exit code {code}"


def _shortened(instruction: str) -> str:
    if len(instruction) <= MAX_INSTRUCTION_CHARACTERS:
        return instruction
    return instruction[: MAX_INSTRUCTION_CHARACTERS - 1] + "…"


def is_of_push(error: EngineError) -> bool:
    """Whether the image was built, and only its push failed."""
    if error.place is not None or _UNKNOWN_IMAGE.search(error.details):
        return False
    return _PUSH.search(error.details) is not None


def push_problem(reference: str, details: str) -> str:
    """Why the image could not be pushed."""
    return f"{reference} could not be pushed: {_push_reason(reference, details)} ({details})"


def _push_reason(reference: str, details: str) -> str:
    host = registry_of(reference)
    if _PLAIN_HTTP.search(details):
        return (
            f"{host} speaks plain http: the operator must name it in the setting "
            "`insecure_registries`, and in the `insecure-registries` of a Docker Engine"
        )
    if _UNKNOWN_CERTIFICATE.search(details):
        return f"the engine does not know who signed the certificate of {host}"
    if _UNREACHABLE.search(details):
        return f"{host} can't be reached from the engine: check its name and the engine's network"
    if _REFUSED.search(details):
        return (
            f"{host} refuses it: give the project a login that may push, by "
            f"`pushrod registry login {host}`"
        )
    return "the engine says why"
