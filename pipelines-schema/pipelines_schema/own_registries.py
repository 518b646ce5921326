"""Whose images are whose at the registries that the operator keeps for all accounts. Pure.

Such a registry knows no accounts, so this rule is what keeps them apart. The coordinator holds to
it when a build is made and when a step is handed out, the agent before it pushes or pulls, and when
it signs a token for the private engine's registry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from pipelines_schema.image_references import DOCKER_HUB, is_registry

OPERATOR = "pushrod"
"""Whose images every account may read, such as the base images, and no account may push."""
_LOOPBACK = "127.0.0.1"
_TAG_OR_DIGEST = re.compile(r"(:[^/]*)?(@.*)?$", re.DOTALL)
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+")
# However a registry on the engine's own machine can be spelt.
_LOOPBACK_SPELT = (
    r"(?:(?i:(?:[^/:]*\.)?localhost)|127(?:\.[0-9a-fx.]*)?|0[0-9a-fx.]*|[0-9]{4,}"
    r"|\[[0:]*1?(?:%[^\]]*)?\]|\[[0:]*(?i:ffff):[^\]]*\])"
)
_DEFAULT_PORTS = ("80", "443")
"""Which a client takes where none is named: whoever names one means the same registry."""
_USER = r"(?:[^/?#]*@)?"
_MAPPED_NAME = r"[^/?#]*[^\x00-\x7f][^/?#]*?"
"""A client may take other letters and digits for those of ASCII."""
_ODD_PATH = r"/(?:[/.]|[^?#]*(?:%|//|/\.))"
"""What a site may read as another path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRegistries:
    """The rule for one account."""

    registries: Sequence[str]
    """`HOST[:PORT][/PREFIX]` of each."""
    account: str
    """Its slug: the folder below each of them that it may push to and read."""
    public: Sequence[str] = ()
    """References that an administrator lets every account read."""

    def push_problem(self, reference: str) -> str | None:
        """Why the account may not push to it, as in `the tag … {problem}`; None if it may."""
        found = self._found(reference)
        if found is None:
            return None
        registry, path = found
        if self._is_own(path):
            return None
        return f"is not your account's to push to: {self._hint(registry, path)}"

    def pull_problem(self, reference: str) -> str | None:
        """Why the account may not read it, as in `the image … {problem}`; None if it may."""
        found = self._found(reference)
        if found is None:
            return None
        registry, path = found
        if self._is_own(path) or path.startswith(f"{OPERATOR}/") or self._is_public(reference):
            return None
        return (
            f"is not your account's to read: {self._hint(registry, path)}, or ask an administrator "
            "to make the image public"
        )

    def may_pull_some_of(self, repository: str) -> bool:
        """Whether it may read any tag of a repository, which is written without one."""
        public = any(_parts(one) == _parts(repository) for one in self.public)
        return public or self.pull_problem(repository) is None

    def source_rules(self) -> Sequence[tuple[bool, str]]:
        """For an engine that fetches by itself: may it, and which sources; the last that fits
        counts. Sources are patterns (RE2) of a whole `scheme://…`."""
        rules: list[tuple[bool, str]] = []
        for registry in sorted(self.registries, key=len):  # one within another comes after it
            host, prefix = _registry_parts(registry)
            folder = rf"{re.escape(prefix)}/" if prefix else ""
            rules.append((False, rf"^[a-z-]+://{_USER}{_spelt(host)}{_below(folder)}"))
            own = "|".join(re.escape(one) for one in self._readable_folders)
            rules.append((True, rf"^docker-image://{_written(host)}/{folder}(?:{own})/"))
        for reference in self.public:
            if self._found(reference) is not None:
                rules.append((True, f"^docker-image://{_pattern(reference)}$"))
        return rules

    @property
    def _readable_folders(self) -> Sequence[str]:
        return (OPERATOR,) if self.account == OPERATOR else (OPERATOR, self.account)

    def _found(self, reference: str) -> tuple[str, str] | None:
        """The registry of ours that has the reference, and the path below it."""
        host, path = _parts(reference)
        for registry in sorted(self.registries, key=len, reverse=True):
            own_host, prefix = _registry_parts(registry)
            if host != own_host:
                continue
            if not prefix:
                return registry, path
            if path.startswith(f"{prefix}/"):
                return registry, path.removeprefix(f"{prefix}/")
        return None

    def _is_own(self, path: str) -> bool:
        # An account of the operator's name, made before that was refused, has no folder.
        folder, slash, _ = path.partition("/")
        return bool(slash) and folder == self.account != OPERATOR

    def _is_public(self, reference: str) -> bool:
        name = _without_digest(reference)
        return any(_without_digest(public) == name for public in self.public)

    def _hint(self, registry: str, path: str) -> str:
        if self.account == OPERATOR:
            return f"`{registry}/{OPERATOR}/` is the operator's, and this account has no folder"
        name = path.rpartition("/")[2]
        return f"write `{registry}/{self.account}/{name}`"


def _parts(reference: str) -> tuple[str, str]:
    """Host and path of a reference, its tag and digest left out."""
    name = _TAG_OR_DIGEST.sub("", reference.removeprefix("docker://"))
    domain, slash, rest = name.partition("/")
    if not slash or not is_registry(domain):
        return DOCKER_HUB, name
    return _canonical(domain), rest


def _registry_parts(registry: str) -> tuple[str, str]:
    host, _, prefix = registry.partition("/")
    return _canonical(host), prefix.strip("/")


def _canonical(domain: str) -> str:
    host, port = _host_and_port(domain.lower())
    host = _LOOPBACK if _is_loopback(host) else host
    return f"{host}:{port}" if port and port not in _DEFAULT_PORTS else host


def _host_and_port(domain: str) -> tuple[str, str]:
    host, colon, port = domain.rpartition(":")
    if not colon or not port.isdecimal():
        return domain, ""
    return host, str(int(port))


def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return _is_short_loopback(host)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _is_short_loopback(host: str) -> bool:
    """`127.1`, `0x7f000001`, `2130706433`: what the C library takes for an address as well."""
    parts = host.split(".")
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return False
    first, *rest = map(_number, parts)
    return (first if rest else first >> 24) in (0, 127)


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") and set(text) <= set("01234567") else int(text)


def _spelt(host: str) -> str:
    name, port = _host_and_port(host)
    spelt = _LOOPBACK_SPELT if name == _LOOPBACK else rf"(?i:{re.escape(name)})\.?"
    ports = f":0*{port}" if port else f"(?::0*(?:{'|'.join(_DEFAULT_PORTS)})?)?"
    return f"(?:{spelt}|{_MAPPED_NAME}){ports}"


def _written(host: str) -> str:
    """A registry's host in the references that mean it."""
    port = "" if _host_and_port(host)[1] else f"(?::(?:{'|'.join(_DEFAULT_PORTS)}))?"
    return re.escape(host) + port


def _below(folder: str) -> str:
    """All of a registry's paths, or those of a folder of it."""
    return rf"(?:/(?:v2/)?{folder}|{_ODD_PATH})" if folder else "(?:[/?#]|$)"


def _without_digest(reference: str) -> str:
    host, path = _parts(reference)
    tag = reference.partition("@")[0].rpartition("/")[2].partition(":")[2] or "latest"
    return f"{host}/{path}:{tag}"


def _pattern(reference: str) -> str:
    return rf"{re.escape(_without_digest(reference))}(?:@[a-z0-9:]+)?"
