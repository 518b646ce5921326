"""The agent's setting `ca_file` on the host: scripts believe a company's own server."""

from __future__ import annotations

import http.server
import ipaddress
import ssl
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from agent.engines.authorities import bundle
from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from tests.integration.agent.test_host_engine import Bench


def certificate_with_key() -> tuple[bytes, bytes]:
    """A server's certificate for 127.0.0.1, its own authority, and its private key, in PEM."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Company CA")])
    now = datetime.now(UTC) - timedelta(days=1)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), private


@pytest.fixture
def company(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of an https server, and the file of its authority."""
    certificate, private = certificate_with_key()
    (ca_file := tmp_path / "ca.pem").write_bytes(certificate)
    (chain := tmp_path / "chain.pem").write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/", ca_file
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="pushrod-host-"))
    root.chmod(0o711)
    yield Bench(root)
    remove_tree(root)


@pytest.mark.parametrize("given", [True, False])
async def test_a_script_reaches_a_server_of_an_authority_that_the_setting_names(
    company: tuple[str, Path], bench: Bench, given: bool
) -> None:
    url, ca_file = company
    bench.engine = HostEngine(
        data_dir=bench.root,
        work_dir=bench.root / "work",
        user_id_table=bench.root / "users" / "user-ids.json",
        authorities=bundle(ca_file) if given else "",
    )
    result = await bench.run(
        f"python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\").status)' || echo $?"
    )
    assert result.exit_code == 0
    said = bench.output.text
    assert ("200\n" in said, "CERTIFICATE_VERIFY_FAILED" in said) == (given, not given), said
    await bench.engine.close()
