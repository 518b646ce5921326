"""Plans of images as the tests of this folder ask for them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coordinator.domain.image_builds import (
    Bases,
    ImagePlan,
    ImageRequest,
    Mirrors,
    RefusedSources,
    plan_image,
)

BASES = Bases(
    python="python:3.11-slim",
    node="node:24-slim",
    go="golang:1.25",
    go_run="gcr.example/static",
    shell="debian:12-slim",
    static="busybox:1.37",
)
MAIN_GO = "package main\n\nfunc main() {\n}\n"


AUTHORITIES = "--mount=type=secret,id=PUSHROD_CA_FILE "


def plan(
    files: Mapping[str, str],
    *,
    account: str = "default",
    bases: Bases = BASES,
    mirrors: Mirrors | None = None,
    name: str = "my-agent",
    **request: str,
) -> ImagePlan:
    return plan_image(
        ImageRequest(name=name, files=files, **request),
        account=account,
        bases=bases,
        mirrors=mirrors or Mirrors(),
    )


def refused(files: Mapping[str, str], **request: str) -> str:
    with pytest.raises(RefusedSources) as refusal:
        plan(files, **request)
    return str(refusal.value)


def dockerfile(files: Mapping[str, str], **request: str) -> str:
    return plan(files, **request).files["Dockerfile"]
