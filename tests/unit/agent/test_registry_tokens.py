import base64
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from agent.engines.buildkit.registry_logins import RegistryLogins
from agent.engines.registry_tokens import (
    REGISTRY,
    TokenSigner,
    make_keys,
    share_keys,
    signer_beside,
)
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.own_registries import OwnRegistries

ALPHA = OwnRegistries(registries=[REGISTRY], account="alpha", public=[f"{REGISTRY}/beta/shown:1"])


def claims(folder: Path, token: str) -> dict[str, Any]:
    """As the registry reads them, by the certificate that it has."""
    certificate = x509.load_pem_x509_certificate((folder / "registry.crt").read_bytes())
    key = ECKey.import_key(certificate.public_bytes(Encoding.PEM))
    longer = JWSRegistry(algorithms=["ES256"])
    longer.max_header_length = 4096  # the certificate stands in it
    return jwt.decode(token, key, registry=longer).claims


@pytest.fixture
def signer(tmp_path: Path) -> TokenSigner:
    make_keys(tmp_path)
    found = signer_beside(tmp_path / "docker.sock")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("repository:alpha/a:pull,push", ["pull", "push"]),
        ("repository:alpha:pull,push", []),
        ("repository:alphabet/a:pull,push", []),
        ("repository:beta/a:pull,push", []),
        ("repository:beta/shown:pull,push", ["pull"]),
        ("repository:pushrod/debian:pull,push", ["pull"]),
        ("repository:alpha/a:*", []),
        ("registry:catalog:*", []),
        ("repository:alpha/../beta/a:push", []),
        ("nonsense", []),
    ],
)
def test_a_token_is_for_what_the_account_may_do(
    tmp_path: Path, signer: TokenSigner, scope: str, allowed: list[str]
) -> None:
    access = claims(tmp_path, signer.sign_scopes([scope], ALPHA))["access"]

    assert [action for one in access for action in one["actions"]] == allowed


def test_a_token_is_short_lived_and_for_one_service(tmp_path: Path, signer: TokenSigner) -> None:
    told = claims(tmp_path, signer.sign("pushrod/debian", "pull", "push"))

    assert told["access"] == [
        {"type": "repository", "name": "pushrod/debian", "actions": ["pull", "push"]}
    ]
    assert (told["iss"], told["aud"]) == ("pushrod", "pushrod")
    assert told["exp"] - told["iat"] == 3600


def test_the_key_is_its_owners_until_the_socket_is_there(
    tmp_path: Path, signer: TokenSigner
) -> None:
    key = tmp_path / "registry.key"
    modes = [stat.S_IMODE(key.stat().st_mode)]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "docker.sock"))
        for mode in (0o660, 0o600):
            (tmp_path / "docker.sock").chmod(mode)
            share_keys(tmp_path, tmp_path / "docker.sock")
            modes.append(stat.S_IMODE(key.stat().st_mode))

    assert modes == [0o600, 0o640, 0o600]
    assert key.stat().st_gid == os.getgid()


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        (f"{REGISTRY}/alpha/a:1", "token"),
        ("localhost:5000/alpha/a:1", "nothing"),
        ("leads-to-loopback.example:5000/alpha/a:1", "nothing"),
        ("r.example/alpha/a:1", "login"),
    ],
)
def test_a_push_shows_a_token_to_the_registry_by_its_one_name(
    signer: TokenSigner, tag: str, told: str
) -> None:
    kept = [
        RegistryLogin(host=host, username="u", password="p") for host in (REGISTRY, "r.example")
    ]
    logins = RegistryLogins(kept, signer, ALPHA)

    header = json.loads(base64.urlsafe_b64decode(logins.docker_header(tag)))

    fields = {"token": {"registrytoken"}, "login": {"username", "password", "serveraddress"}}
    assert set(header) == fields.get(told, set())


def test_an_engine_without_a_key_has_no_signer(tmp_path: Path) -> None:
    assert signer_beside(tmp_path / "docker.sock") is None


def test_a_push_may_take_layers_from_what_the_account_may_read(
    tmp_path: Path, signer: TokenSigner
) -> None:
    origins = [f"{REGISTRY}/pushrod/debian:12", f"{REGISTRY}/beta/a:1", "r.example/alpha/b:1"]
    header = RegistryLogins((), signer, ALPHA).docker_header(f"{REGISTRY}/alpha/a:1", origins)

    token = json.loads(base64.urlsafe_b64decode(header))["registrytoken"]

    assert [(one["name"], one["actions"]) for one in claims(tmp_path, token)["access"]] == [
        ("alpha/a", ["pull", "push"]),
        ("pushrod/debian", ["pull"]),
    ]
