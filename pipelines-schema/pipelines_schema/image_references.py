"""References of images, and which of them an image can be pushed to. Pure."""

from __future__ import annotations

import re

REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
DOMAIN = re.compile(r"(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(?::[0-9]+)?|\[[0-9a-f:]+\](?::[0-9]+)?")
TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
DOCKER_HUB = "docker.io"
MAX_REPOSITORY_CHARACTERS = 255
MAX_TAG_CHARACTERS = 128
_UNFIT_FOR_TAGS = re.compile(r"[^\w.-]", re.ASCII)


def tag_problem(text: str) -> str | None:
    """Why no image can be pushed to this reference, as in `… {problem}`; None if one can.

    It names its registry: what has none would go to Docker Hub by accident.
    """
    if "@" in text:
        return "names a digest, which only the finished image has: write registry/name:tag"
    domain, slash, rest = text.partition("/")
    if not slash or not is_registry(domain):
        return "names no registry: write it whole, such as `registry.example/team/app:1.0`"
    repository, colon, tag = rest.partition(":")
    if not DOMAIN.fullmatch(domain):
        return f"names no registry: `{domain}` is no host"
    if not REPOSITORY.fullmatch(repository) or len(text) > MAX_REPOSITORY_CHARACTERS:
        return "is no reference of an image: write registry/name:tag, the name in small letters"
    if not colon:
        return "has no tag: add one, such as `:latest`"
    if not TAG.fullmatch(tag):
        return "has an impossible tag: letters, digits, `_`, `.` and `-` make one"
    return None


def is_registry(domain: str) -> bool:
    """Whether the first part of a reference is a registry rather than a folder of names."""
    return "." in domain or ":" in domain or domain == "localhost"


def registry_of(reference: str) -> str:
    """The host, with its port where it has one; Docker Hub's where none is named."""
    domain, slash, _ = reference.partition("/")
    return domain.lower() if slash and is_registry(domain) else DOCKER_HUB


def repository_of(reference: str) -> str:
    """The reference without its tag and its digest."""
    head = reference.partition("@")[0]
    name, colon, tag = head.rpartition(":")
    return name if colon and "/" not in tag else head  # else it is a registry's port


def with_registry(name: str) -> tuple[str, str]:
    """`busybox` → `docker.io`, `library/busybox`: registry and path of a name without its tag."""
    first, slash, rest = name.partition("/")
    if slash and is_registry(first):
        if first == "index.docker.io":
            first = DOCKER_HUB
        return first, f"library/{rest}" if first == DOCKER_HUB and "/" not in rest else rest
    return DOCKER_HUB, name if slash else f"library/{name}"


def whole_tag(written: str) -> str | None:
    """The reference with its registry and its tag, `latest` where it names none; None for one
    that names a digest, and so means one image for ever."""
    reference = written.removeprefix("docker://")
    if "@" in reference:
        return None
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:  # a colon before a slash is a registry's port
        head, tag = reference, "latest"
    return "{}/{}:{}".format(*with_registry(head), tag)


def fit_for_tag(value: str) -> str:
    """The value as a part of a reference: it can add no `/`, `:` or `@` to it."""
    return _UNFIT_FOR_TAGS.sub("-", value)
