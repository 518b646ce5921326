"""A project's remote repository: which URLs are believed, and when two mean the same. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

MAX_URL_CHARACTERS = 2000
DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}
_SCP_LIKE = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+):(?P<path>[^:].*)", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|[0-9A-Fa-f:.]+", re.ASCII)
_USER = re.compile(r"[\w.-]{1,100}", re.ASCII)
_PATH = re.compile(r"/[^\s\\\x00-\x1f\x7f'\"`$;|&<>*?{}()!#]*")
"""Without what a shell at the other end of an ssh connection could take for more than a path."""
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)$", re.ASCII)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedUrl(ValueError):
    """A repository URL that is not fetched; the message says why and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePolicy:
    """What the operator allows besides https and ssh to public addresses."""

    http: bool = False
    file: bool = False
    private_addresses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUrl:
    scheme: str
    host: str
    """Empty for a file."""
    port: int
    user: str
    path: str
    """Without a slash at its front: relative to the user's home, in ssh's short form."""

    @property
    def text(self) -> str:
        """What git is given."""
        if self.scheme == "file":
            return f"file://{self.path}"
        if not self.path.startswith("/"):
            return f"{self.user}@{self.host}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{port}{self.path}"

    @property
    def identity(self) -> tuple[str, str]:
        """Host and path without what spelling adds: one repository has https and ssh URLs."""
        path = re.sub(r"/+", "/", unquote(self.path)).strip("/").removesuffix(".git")
        return self.host, path if self.scheme == "file" else path.lower()


def parse_url(text: str) -> RemoteUrl:
    """Read https, http, ssh and file URLs, and ssh's short `git@host:path`. Raises RefusedUrl."""
    if len(text) > MAX_URL_CHARACTERS or not text.isprintable() or " " in text:
        raise RefusedUrl("a repository URL is one line without spaces")
    if "://" not in text:
        match = _SCP_LIKE.fullmatch(text)
        if match is None:
            raise RefusedUrl("write the URL with its scheme, such as https://host/owner/name.git")
        path = match["path"]
        url = parse_url(f"ssh://{match['user'] or 'git'}@{match['host']}/{path.lstrip('/')}")
        return url if path.startswith("/") else replace(url, path=url.path[1:])
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise RefusedUrl("this is no URL") from error
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _file_url(parts.netloc, parts.path)
    if scheme not in DEFAULT_PORTS:
        raise RefusedUrl(f"the scheme {scheme[:20]!r} is not fetched: write an https or ssh URL")
    host = (parts.hostname or "").rstrip(".").lower()
    if not _HOST.fullmatch(host) or ".." in host:
        raise RefusedUrl("the URL names no host")
    if parts.password is not None or (parts.username and scheme != "ssh"):
        raise RefusedUrl("no user or token in the URL: use `pushrod project credential`")
    user = parts.username or ("git" if scheme == "ssh" else "")
    if user and not _USER.fullmatch(user):
        raise RefusedUrl("the URL's user is not one")
    if parts.query or parts.fragment or not _is_path(parts.path):
        raise RefusedUrl("the URL's path is not one of a repository")
    return RemoteUrl(
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        user=user,
        path=parts.path,
    )


def _file_url(host: str, path: str) -> RemoteUrl:
    if host not in ("", "localhost") or not _is_path(path):
        raise RefusedUrl("write a file URL as file:///absolute/path")
    return RemoteUrl(scheme="file", host="", port=0, user="", path=path)


def _is_path(path: str) -> bool:
    segments = path.split("/")
    # git refuses a relative path that begins as an option does.
    if path.startswith("/-") or ".." in segments:
        return False
    return len(path) > 1 and _PATH.fullmatch(path) is not None


def check_policy(url: RemoteUrl, policy: RemotePolicy) -> None:
    """Raises RefusedUrl. What a host name resolves to is checked at each fetch."""
    if url.scheme == "http" and not policy.http:
        raise RefusedUrl(
            "plain http is fetched only where the operator set allow_http_repositories"
        )
    if url.scheme == "file" and not policy.file:
        raise RefusedUrl("files are fetched only where the operator set allow_file_repositories")
    if _is_odd_address(url.host):
        raise RefusedUrl(f"{url.host} is no host name: write an address as 192.0.2.1")
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:
        private = url.host == "localhost" or url.host.endswith(".localhost")
    else:
        private = not is_public(address)
    if private and url.scheme != "file" and not policy.private_addresses:
        raise RefusedUrl(private_address_refusal(url.host))


def _is_odd_address(host: str) -> bool:
    """Whether resolvers read a host as an IPv4 address that is not in its one usual form.

    What ends in a number is no name: `127.1`, `2130706433`, `0177.0.0.1`, `0x7f.1`, `0`.
    """
    if ":" in host or not _ENDS_IN_NUMBER.search(host.rstrip(".")):
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


def private_address_refusal(host: str) -> str:
    return (
        f"{host} is an address of this machine or a private network: it is fetched only where the "
        "operator set allow_private_addresses"
    )


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet, also through IPv6's ways to reach IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def same_repository(one: str, other: str) -> bool:
    """Whether two URLs, as people and forges write them, mean one repository.

    `one` may be the end of a path alone, of a forge that tells no URL.
    """
    try:
        host, path = parse_url(_without_user(other)).identity
        if one.startswith("/"):
            return f"/{path}".endswith(one.lower())
        return parse_url(_without_user(one)).identity == (host, path)
    except RefusedUrl:
        return False


def _without_user(text: str) -> str:
    """Some forges write `https://user@host/…` in their events."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1", text).replace("git://", "https://", 1)
