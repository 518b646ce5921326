"""What the agent's setting `ca_file` may name, and what scripts are told of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.engines.authorities import BadAuthoritiesError, bundle, variables


def authority() -> str:
    """A certificate of an authority of our own, in PEM."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Company CA")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def test_a_bundle_has_the_companys_authorities_and_the_machines(tmp_path: Path) -> None:
    own, file = authority(), tmp_path / "ca.pem"
    file.write_text(own)
    whole = bundle(file)
    assert whole.endswith(own)
    context = ssl.create_default_context(cadata=whole)
    names = [str(found.get("subject")) for found in context.get_ca_certs()]
    assert any("Example Company CA" in name for name in names)
    machine = ssl.get_default_verify_paths().cafile
    assert machine is None or Path(machine).read_text().strip() in whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "can't be used"),
        (b"no certificate", "can't be used"),
        (b"\xff", "can't be used"),
        (b"%s-----BEGIN PRIVATE KEY-----\n", "certificates alone"),
    ],
)
def test_a_file_without_certificates_is_refused_with_its_name(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content.replace(b"%s", authority().encode()))
    with pytest.raises(BadAuthoritiesError, match=said) as refused:
        bundle(file)
    assert str(file) in str(refused.value)


def test_each_variable_names_the_file() -> None:
    told = variables("/x/ca.pem")
    assert set(told.values()) == {"/x/ca.pem"}
    assert {"SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "PUSHROD_CA_FILE"} <= told.keys()
