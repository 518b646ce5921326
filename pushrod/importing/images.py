"""Which images stand for the machines and toolchains of other systems."""

from __future__ import annotations

import re

DEFAULT_IMAGE = "buildpack-deps:bookworm"
"""git, curl, make, gcc and python3, as the machines that other systems lend."""

TOOLCHAINS = {
    "python": "python:{}",
    "node": "node:{}",
    "go": "golang:{}",
    "java": "eclipse-temurin:{}",
    "ruby": "ruby:{}",
    "rust": "rust:{}",
    "php": "php:{}",
    "dotnet": "mcr.microsoft.com/dotnet/sdk:{}",
    "deno": "denoland/deno:{}",
    "bun": "oven/bun:{}",
    "elixir": "elixir:{}",
    "gradle": "gradle:{}",
}
NEWEST = {
    "python": "3",
    "node": "lts",
    "go": "1",
    "java": "21",
    "ruby": "3",
    "rust": "1",
    "php": "8",
    "dotnet": "9.0",
    "deno": "latest",
    "bun": "1",
    "elixir": "1",
    "gradle": "jdk21",
}
"""What is taken where no version is named."""

CACHES = {
    "pip": ["~/.cache/pip"],
    "pipenv": ["~/.cache/pip"],
    "poetry": ["~/.cache/pypoetry"],
    "uv": ["~/.cache/uv"],
    "npm": ["~/.npm"],
    "yarn": ["~/.cache/yarn"],
    "pnpm": ["~/.local/share/pnpm/store"],
    "go": ["~/.cache/go-build", "/go/pkg/mod"],
    "maven": ["~/.m2/repository"],
    "gradle": ["~/.gradle/caches"],
    "sbt": ["~/.ivy2/cache"],
    "cargo": ["/usr/local/cargo/registry", "target"],
    "bundler": ["/usr/local/bundle"],
    "composer": ["~/.composer/cache"],
    "ivy": ["~/.ivy2/cache"],
    "dotnetcore": ["~/.nuget/packages"],
}
"""Where the package managers of these images keep what they fetched."""

_UBUNTU = {"20.04": "focal", "22.04": "jammy", "24.04": "noble"}


def toolchain(name: str, version: str | None) -> str:
    """The image of a toolchain; the version may hold `${{ … }}`."""
    chosen = (version or "").strip()
    if not chosen or chosen in ("stable", "latest", "lts/*", "nightly", "beta"):
        chosen = NEWEST[name]
    chosen = chosen.removeprefix("v") if chosen[1:2].isdigit() else chosen
    return TOOLCHAINS[name].format(re.sub(r"(\.x|\.\*)+$", "", chosen.lstrip("^~>= ")))


def of_ubuntu(label: str) -> str:
    """The image for a machine's label, such as `ubuntu-22.04`."""
    name = _UBUNTU.get(label.removeprefix("ubuntu-")[:5])
    return f"buildpack-deps:{name}" if name else DEFAULT_IMAGE
