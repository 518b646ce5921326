"""Image references and what an image's configuration says about its processes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.engines.buildkit.llb import ROOT, Owner
from agent.engines.buildkit.wrapper import PRIVATE, VALUES_FILE
from pipelines_schema.image_references import DIGEST, DOMAIN, REPOSITORY, TAG, with_registry
from pipelines_schema.paths import WORKSPACE
from pipelines_schema.step_outputs import OUTPUT_VARIABLE

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BadImageError(ValueError):
    """The image can't be used; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    environment: Mapping[str, str]
    user: str
    """As written in the image: empty, a name or number, or two with `:` between them."""
    architecture: str
    arguments: Sequence[str] = ()
    """What the image starts with: its entry point and its command."""
    directory: str = "/"
    entry_point: Sequence[str] = ()
    """The first of the `arguments`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    owner: Owner
    home: str


def complete_reference(written: str) -> str:
    """`busybox` → `docker.io/library/busybox:latest`; `docker://` in front is dropped.

    Raises BadImageError.
    """
    if written.startswith("oci-layout:"):
        raise BadImageError(
            f"image {written!r}: an image from an oci-layout folder is not supported by the "
            "BuildKit engine: push it to a registry or import it into the engine, and give its "
            "reference"
        )
    reference = written.removeprefix("docker://")
    name, _, digest = reference.partition("@")
    if digest and not DIGEST.fullmatch(digest):
        raise BadImageError(f"image {written!r}: {digest!r} is not a digest such as sha256:1f3c…")
    name, tag = _split_tag(name)
    if tag and not TAG.fullmatch(tag):
        raise BadImageError(f"image {written!r}: {tag!r} is not a tag")
    domain, path = with_registry(name)
    if not (DOMAIN.fullmatch(domain) and REPOSITORY.fullmatch(path)):
        raise BadImageError(
            f"image {written!r} is not an image reference: write it as name:tag or "
            "registry.example/name:tag, in lower case"
        )
    suffix = f":{tag}" if tag else ("" if digest else ":latest")
    return f"{domain}/{path}{suffix}" + (f"@{digest}" if digest else "")


def reference_problem(written: str) -> str | None:
    """Why this can't be an image's reference, for people; None if it can."""
    try:
        complete_reference(written)
    except BadImageError as error:
        return str(error)
    return None


def pinned_reference(reference: str, digest: str) -> str:
    """The complete reference with the digest; unchanged where the engine knows none.

    An image that was imported into the engine has no digest.
    """
    return f"{reference.partition('@')[0]}@{digest}" if digest else reference


def parse_config(config: bytes) -> ImageConfig:
    """The parts of an OCI image configuration that a process needs. Raises BadImageError."""
    try:
        document = json.loads(config)
        process = document.get("config") or {}
        pairs = (entry.partition("=") for entry in process.get("Env") or ())
        return ImageConfig(
            environment={name: value for name, _, value in pairs},
            user=process.get("User") or "",
            architecture=document.get("architecture") or "",
            arguments=(*(process.get("Entrypoint") or ()), *(process.get("Cmd") or ())),
            directory=process.get("WorkingDir") or "/",
            entry_point=tuple(process.get("Entrypoint") or ()),
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise BadImageError(
            f"its configuration is not an OCI image configuration: {error}"
        ) from error


def needs_account_files(user: str) -> bool:
    """Whether the image's /etc/passwd must be read to know who `user` is."""
    return user not in ("", "root", "0", "0:0", "root:root")


def resolve_user(user: str, *, passwd: str, group: str) -> User:
    """Who `user` of an image is, in numbers, by the image's own account files.

    Raises BadImageError.
    """
    if not needs_account_files(user):
        return User(owner=ROOT, home="/root")
    name, _, group_name = user.partition(":")
    accounts = [fields for line in passwd.splitlines() if len(fields := line.split(":")) >= 6]
    account = _account(accounts, name)
    if account is None and not name.isdigit():
        raise BadImageError(f"its user {name!r} is not in its /etc/passwd")
    uid = int(account[2]) if account else int(name)
    gid = int(account[3]) if account else 0
    if group_name:
        gid = _group_id(group, group_name)
    return User(owner=Owner(uid=uid, gid=gid), home=(account[5] if account else "") or "/")


def step_environment(
    config: ImageConfig, user: User, step: Mapping[str, str], *, attempt_id: str
) -> dict[str, str]:
    """The step's variables over the image's over the usual ones.

    The attempt's id makes the operation unlike any other: the engine neither takes it from its
    cache nor merges it with one that runs at the same time.
    """
    return {
        "PATH": DEFAULT_PATH,
        "HOME": user.home,
        **config.environment,
        **step,
        "PUSHROD_WORKSPACE": WORKSPACE,
        OUTPUT_VARIABLE: f"{PRIVATE}/record/{VALUES_FILE}",
        "PUSHROD_ATTEMPT_ID": attempt_id,
    }


def _account(accounts: list[list[str]], name: str) -> list[str] | None:
    for column in (0, 2):
        for account in accounts:
            if account[column] == name and account[2].isdigit() and account[3].isdigit():
                return account
    return None


def _group_id(group: str, name: str) -> int:
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    if name.isdigit():
        return int(name)
    raise BadImageError(f"its group {name!r} is not in its /etc/group")


def _split_tag(name: str) -> tuple[str, str]:
    head, colon, tail = name.rpartition(":")
    # A colon before a slash is a registry's port.
    # One without a tag behind it stays, and is refused with the name.
    return (head, tail) if colon and tail and "/" not in tail else (name, "")
