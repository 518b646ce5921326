"""Why a build failed, as its tools said it."""

from __future__ import annotations

import pytest

from coordinator.domain.image_builds import build_failure

PIP = "Dockerfile:7: RUN pip install --no-cache-dir -r requirements.txt: exit code 1"
NPM = "Dockerfile:7: RUN npm install --no-audit --no-fund --omit=dev: exit code 1"
GO = 'Dockerfile:7: RUN ["go", "build", "-trimpath", "-o", "/out/agent", "."]: exit code 1'


@pytest.mark.parametrize(
    ("message", "lines", "cause"),
    [
        (
            PIP,
            [
                "ERROR: Could not find a version that satisfies the requirement "
                "nonexistent-package (from versions: none)",
                "ERROR: No matching distribution found for nonexistent-package",
                "[notice] A new release of pip is available: 24.0 -> 25.1",
            ],
            "pip install failed: no matching distribution found for nonexistent-package",
        ),
        (
            PIP,
            [
                "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
                "'NewConnectionError(...)': /simple/requests/",
                "ERROR: No matching distribution found for requests",
            ],
            "pip install failed: the package index can't be reached for requests",
        ),
        (
            PIP,
            [
                "ERROR: Cannot install a==1 and b==2 because these package versions have "
                "conflicting dependencies.",
                "ERROR: ResolutionImpossible: for help visit https://pip.example/",
            ],
            "pip install failed: cannot install a==1 and b==2 because these package versions have "
            "conflicting dependencies.",
        ),
        (
            PIP,
            ["ERROR: Invalid requirement: 'a b' (from line 1 of requirements.txt)"],
            "pip install failed: invalid requirement: 'a b' (from line 1 of requirements.txt)",
        ),
        (
            PIP,
            ["#8 [4/6] 1.204 ERROR: No matching distribution found for x\x1b[0m"],
            "pip install failed: no matching distribution found for x",
        ),
        (
            NPM,
            [
                "npm error code E404",
                "npm error 404 Not Found - GET http://npm.example/nonexistent - Not found",
                "npm error 404",
                "npm error A complete log of this run can be found in: /root/.npm/_logs/x.log",
            ],
            "npm failed: E404: Not Found - GET http://npm.example/nonexistent - Not found",
        ),
        (
            GO,
            ["# agent", "./main.go:4:2: undefined: fmt.Printl", "./main.go:9:2: more"],
            "go build failed: main.go:4:2: undefined: fmt.Printl",
        ),
        (
            GO,
            ["go: downloading example.org/x v1", "go: example.org/x@v1: reading: 404 Not Found"],
            "go build failed: example.org/x@v1: reading: 404 Not Found",
        ),
        (
            "Dockerfile:3: RUN apt-get install x: exit code 100",
            ["E: Unable to locate package x"],
            "apt-get failed: unable to locate package x",
        ),
        (
            "Dockerfile:3: RUN frobnicate: exit code 127",
            ["/bin/sh: 1: frobnicate: not found"],
            "command failed: frobnicate: not found",
        ),
        (
            "Dockerfile:1: FROM busybox:1.37: its registry can't be reached",
            [
                "[internal] load metadata for registry.example/library/busybox:1.37",
                "[internal] ERROR: failed to do request: Head "
                '"https://registry.example/v2/library/busybox/manifests/1.37": dial tcp: lookup '
                "registry.example: no such host",
            ],
            "base image busybox:1.37 could not be fetched: its registry can't be reached",
        ),
        (
            "agent/Dockerfile:3: FROM --platform=linux/amd64 127.0.0.1:5000/nope:1 AS pip: "
            "there is none of this name (127.0.0.1:5000/nope:1: not found)",
            ["[internal] ERROR: 127.0.0.1:5000/nope:1: not found"],
            "base image 127.0.0.1:5000/nope:1 could not be fetched: there is none of this name "
            "(127.0.0.1:5000/nope:1: not found)",
        ),
        (
            "Dockerfile: no such host",
            [
                "[internal] ERROR: failed to do request: Head "
                '"https://registry.example/v2/library/busybox/manifests/1.37": no such host'
            ],
            "Dockerfile: no such host",
        ),
        (
            "Dockerfile:5: COPY a b: a is not in the context",
            ["[2/3] ERROR: failed to calculate checksum of ref x: not found"],
            "Dockerfile:5: COPY a b: a is not in the context",
        ),
        (
            "Dockerfile:5: RUN make dependencies: exit code 2",
            ["[2/3] Collecting x", "[2/3] ERROR: No matching distribution found for x"],
            "pip install failed: no matching distribution found for x",
        ),
        ("denied: no right to push to x", ["pushing layers"], "denied: no right to push to x"),
        (PIP, [], PIP),
    ],
)
def test_the_cause_is_what_the_tool_said(message: str, lines: list[str], cause: str) -> None:
    assert build_failure(lines, message) == cause


def test_of_two_tools_the_one_whose_instruction_failed_is_believed() -> None:
    lines = ["ERROR: No matching distribution found for x", "./main.go:1:1: oh"]
    assert build_failure(lines, GO) == "go build failed: main.go:1:1: oh"
    assert build_failure(lines, PIP).startswith("pip install failed")


def test_a_cause_is_one_line_of_bounded_length() -> None:
    cause = build_failure([], "a\nb " + "x" * 2000)
    assert "\n" not in cause
    assert len(cause) == 500


@pytest.mark.parametrize(
    ("tool", "message", "lines"),
    [
        (
            "pip install",
            PIP,
            [
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'SSLError("
                "SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify "
                "failed: unable to get local issuer certificate'))': /simple/x/",
                "ERROR: Could not find a version that satisfies the requirement x",
                "ERROR: No matching distribution found for x",
            ],
        ),
        (
            "npm",
            NPM,
            [
                "npm error code SELF_SIGNED_CERT_IN_CHAIN",
                "npm error request to https://npm.example/x failed, reason: self-signed "
                "certificate in certificate chain",
            ],
        ),
        (
            "go build",
            "Dockerfile:7: RUN go mod tidy: exit code 1",
            ["go: x@v1: tls: failed to verify certificate: x509: certificate signed by unknown"],
        ),
    ],
)
def test_an_index_whose_certificate_nobody_knows_is_told_with_the_setting(
    tool: str, message: str, lines: list[str]
) -> None:
    cause = build_failure(lines, message)
    assert cause.startswith(f"{tool} failed: the certificate of the package index is signed by")
    assert "ca_file" in cause
