"""Tokens for the private engine's registry, which answers nobody without one.

The registry knows neither accounts nor its own name: whatever leads to its port leads to it, be it
another name for the loopback or a redirect. So it asks for a token that names the repositories it
is good for, signed by a key that lies beside the engine's socket, for this machine's agents and
commands.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines_schema.image_references import REPOSITORY
from pipelines_schema.own_registries import OwnRegistries

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

REGISTRY = "127.0.0.1:5000"
"""As the private engine reaches it, in a network of its own."""
TOKEN_SECONDS = 3600
"""A large image is pushed with one token."""
SERVICE = ISSUER = "pushrod"
PULL, PUSH = "pull", "push"
_KEY, _CERTIFICATE = "registry.key", "registry.crt"
_CERTIFICATE_DAYS = 3650
_EARLY_SECONDS = 60
"""A clock may be set back."""


def authorization_settings(folder: Path) -> dict[str, object]:
    """docker-registry's, for the keys of the folder. Nobody gives tokens at the realm."""
    return {
        "token": {
            "realm": f"http://{REGISTRY}/v2/",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(folder / _CERTIFICATE),
        }
    }


def make_keys(folder: Path) -> None:
    """New ones in the folder: one to sign by, for its owner alone, and one to check by."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    certificate = _certificate(key)
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / _CERTIFICATE).write_bytes(certificate)
    draft = folder / f"{_KEY}.new"
    draft.unlink(missing_ok=True)
    with open(draft, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(private + certificate)
    draft.replace(folder / _KEY)


def _certificate(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


def share_keys(folder: Path, socket: Path) -> None:
    """Let those sign who may use the engine's socket: they can do anything with it already."""
    found = socket.stat()
    os.chown(folder / _KEY, -1, found.st_gid)
    (folder / _KEY).chmod(0o600 | (stat.S_IRGRP if found.st_mode & stat.S_IRGRP else 0))


def signer_beside(socket: Path | str) -> TokenSigner | None:
    """Of the engine at the socket; None where its registry is not one of ours, or asks nobody."""
    file = Path(socket).with_name(_KEY)
    return TokenSigner(file) if os.access(file, os.R_OK) else None


@dataclass(frozen=True, slots=True)
class TokenSigner:
    file: Path
    """Read for each token: the engine's next start makes another."""

    def sign(self, repository: str, *actions: str) -> str:
        """A token for one repository, named without its registry. Raises OSError."""
        return self.sign_access([{"type": "repository", "name": repository, "actions": actions}])

    def sign_scopes(self, scopes: Sequence[str], rule: OwnRegistries | None) -> str:
        """A token for what the account may do of what is asked for, such as
        `repository:NAME:pull,push`: it may be for nothing at all. Raises OSError."""
        allowed = (_allowed(scope, rule) for scope in scopes)
        return self.sign_access([access for access in allowed if access["actions"]])

    def sign_access(self, access: Sequence[dict[str, object]]) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding
        from joserfc import jwt
        from joserfc.jwk import ECKey

        pem = self.file.read_bytes()
        chain = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        now = int(time.time())
        header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(chain).decode()]}
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "",
            "jti": secrets.token_hex(8),
            "iat": now,
            "nbf": now - _EARLY_SECONDS,
            "exp": now + TOKEN_SECONDS,
            "access": access,
        }
        return jwt.encode(header, claims, ECKey.import_key(pem))


def _allowed(scope: str, rule: OwnRegistries | None) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, asked = rest.rpartition(":")
    actions = [action for action in asked.split(",") if _may(kind, name, action, rule)]
    return {"type": kind, "name": name, "actions": actions}


def _may(kind: str, name: str, action: str, rule: OwnRegistries | None) -> bool:
    if kind != "repository" or action not in (PULL, PUSH) or not REPOSITORY.fullmatch(name):
        return False
    if rule is None:
        return True
    reference = f"{REGISTRY}/{name}"
    if action == PUSH:
        return rule.push_problem(reference) is None
    return rule.may_pull_some_of(reference)
