"""Whose certificates scripts believe, where the agent's setting `ca_file` adds a company's own."""

from __future__ import annotations

import ssl
from pathlib import Path

MAX_BYTES = 1024 * 1024
MOUNTED_AS = "PUSHROD_CA_FILE"
"""The secret's name under which an image's build finds the file, if the Dockerfile mounts it."""
IN_BUILDS = f"/run/secrets/{MOUNTED_AS}"
VARIABLES = (
    MOUNTED_AS,
    "SSL_CERT_FILE",  # OpenSSL, Python, Ruby, Go, Rust
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",  # Node.js, npm
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
)
"""By which the usual tools are told of a file of authorities, most of them instead of their own."""


class BadAuthoritiesError(ValueError):
    """The file can't be used; the message says why."""


def bundle(ca_file: Path) -> str:
    """The certificates of the file after those that this machine believes, in PEM.

    Blocking. Raises BadAuthoritiesError.
    """
    own = _certificates(ca_file)
    machine = ssl.get_default_verify_paths().cafile
    known = Path(machine).read_text(errors="replace").rstrip() + "\n" if machine else ""
    return known + own


def _certificates(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
        if len(text) > MAX_BYTES or "PRIVATE KEY" in text:
            limit = f"{MAX_BYTES // 1024} KiB"
            raise ValueError(f"it must hold certificates alone, at most {limit}")
        ssl.create_default_context(cadata=text or "no certificate")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise BadAuthoritiesError(
            f"ca_file: {path} can't be used ({reason}): name a file of certificates in PEM"
        ) from error
    return text


def variables(path: str) -> dict[str, str]:
    return dict.fromkeys(VARIABLES, path)
