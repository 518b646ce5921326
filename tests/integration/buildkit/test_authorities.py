"""The agent's setting `ca_file` in containers: of steps, and of images that are built."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from tests.conftest import TestEngine
from tests.integration.buildkit.conftest import bench_of
from tests.integration.buildkit.image_bench import image_bench

pytestmark = pytest.mark.engine

AUTHORITIES = "-----BEGIN CERTIFICATE-----\nof the company\n" * 100
MOUNTED = "RUN --mount=type=secret,id=PUSHROD_CA_FILE "


@pytest.mark.parametrize("user", ["", "1234:5"])
async def test_a_step_finds_the_authorities_by_the_variables_of_the_usual_tools(
    engine_under_test: TestEngine, tmp_path: Path, user: str
) -> None:
    async with bench_of(
        engine_under_test, tmp_path, trusted=engine_under_test.lifted, authorities=AUTHORITIES
    ) as bench:
        ran = await bench.run(
            'cat "$SSL_CERT_FILE"; test "$PIP_CERT" = "$NODE_EXTRA_CA_CERTS"; '
            'echo "$CURL_CA_BUNDLE"; echo x 2>/dev/null >> "$SSL_CERT_FILE" || echo kept',
            env={"CURL_CA_BUNDLE": "/mine"},
            user=user,
        )
    assert ran.log.stdout.decode() == AUTHORITIES + "/mine\nkept\n"
    assert ran.result.exit_code == 0


async def test_a_step_without_the_setting_has_what_its_image_has(
    engine_under_test: TestEngine, tmp_path: Path
) -> None:
    async with bench_of(engine_under_test, tmp_path, trusted=engine_under_test.lifted) as bench:
        ran = await bench.run("echo ${SSL_CERT_FILE-none} ${PIP_CERT-none}; ls -A /.pushrod")
    assert b"none none\n" in ran.log.stdout
    assert b"authorities" not in ran.log.stdout


@pytest.mark.parametrize("given", [True, False])
async def test_an_images_build_finds_the_authorities_where_its_dockerfile_mounts_them(
    engine_under_test: TestEngine, tmp_path: Path, given: bool
) -> None:
    mark = secrets.token_hex(6)
    dockerfile = (
        "FROM BASE\nARG PIP_CERT\nARG SSL_CERT_FILE=/else\n"
        f"{MOUNTED}: {mark}; echo pip ${{PIP_CERT-none}} $SSL_CERT_FILE; "
        'wc -l < "${PIP_CERT:-/dev/null}"\n'
        "RUN ls /run/secrets || echo gone\n"
    )
    authorities = AUTHORITIES if given else ""
    async with image_bench(engine_under_test, tmp_path, authorities) as images:
        built = await images.build(dockerfile)
    assert built.message == ""
    path = "/run/secrets/PUSHROD_CA_FILE"
    wanted = f"pip {path} {path}" if given else "pip none /else"
    assert wanted in built.text
    assert re.search(rf"\] {200 if given else 0}\n", built.text), built.text
