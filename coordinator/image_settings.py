"""The settings of images: where they are pushed, and what those built of source files stand on."""

from __future__ import annotations

from pydantic import BaseModel, Field

from coordinator.domain.image_builds.dockerfile import Bases, Mirrors

IMAGE_REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,499}$"
REGISTRY = r"[A-Za-z0-9.-]+(:\d{1,5})?(/[a-z0-9]+([._-][a-z0-9]+)*)*"
MIRROR = r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?$"
"""No credentials and nothing that a Dockerfile would take apart."""


class ImageSettings(BaseModel):
    image_registry: str = Field(
        default="127.0.0.1:5000",
        pattern=f"^{REGISTRY}$",
        description="HOST[:PORT][/PREFIX] that images built from source files are pushed to, as "
        "the agents' engines reach it.",
    )
    own_registries: str = Field(
        default="127.0.0.1:5000",
        pattern=rf"^({REGISTRY}(\s*,\s*{REGISTRY})*)?$",
        description="Registries common to all accounts, HOST[:PORT][/PREFIX], separated by commas: "
        "an account pushes to and reads its own folder of each, PREFIX/ACCOUNT, alone.",
    )
    image_base_python: str = Field(
        default="python:3.11-slim",
        pattern=IMAGE_REFERENCE,
        description="Base image of Python programs.",
    )
    image_base_node: str = Field(
        default="node:24-slim", pattern=IMAGE_REFERENCE, description="Base image of Node programs."
    )
    image_base_go: str = Field(
        default="golang:1.25",
        pattern=IMAGE_REFERENCE,
        description="Image that Go programs are compiled in.",
    )
    image_base_go_run: str = Field(
        default="gcr.io/distroless/static-debian12:nonroot",
        pattern=IMAGE_REFERENCE,
        description="Base image of compiled Go programs.",
    )
    image_base_shell: str = Field(
        default="debian:12-slim",
        pattern=IMAGE_REFERENCE,
        description="Base image of shell scripts; it has bash.",
    )
    image_base_static: str = Field(
        default="busybox:1.37",
        pattern=IMAGE_REFERENCE,
        description="Base image of files that are only served; it has busybox.",
    )
    image_pip_index_url: str | None = Field(
        default=None,
        pattern=MIRROR,
        description="Package index that pip uses in image builds; without a password, which "
        "anybody could read in the image.",
    )
    image_npm_registry: str | None = Field(
        default=None, pattern=MIRROR, description="Registry that npm uses in image builds."
    )
    image_go_proxy: str | None = Field(
        default=None, pattern=MIRROR, description="Module proxy that go uses in image builds."
    )
    insecure_registries: str = Field(
        default="",
        description="Registries that images are pushed to by plain http or by https unchecked: "
        "HOST:PORT, separated by commas. 127.0.0.1 needs none.",
    )

    @property
    def image_bases(self) -> Bases:
        return Bases(
            python=self.image_base_python,
            node=self.image_base_node,
            go=self.image_base_go,
            go_run=self.image_base_go_run,
            shell=self.image_base_shell,
            static=self.image_base_static,
        )

    @property
    def package_mirrors(self) -> Mirrors:
        return Mirrors(
            pip_index_url=self.image_pip_index_url,
            npm_registry=self.image_npm_registry,
            go_proxy=self.image_go_proxy,
        )

    @property
    def insecure_hosts(self) -> tuple[str, ...]:
        return listed(self.insecure_registries)

    @property
    def common_registries(self) -> tuple[str, ...]:
        """The folder of images built from source files is one, where it is within another."""
        common = listed(self.own_registries)
        within = any(self.image_registry.startswith(f"{one}/") for one in common)
        return (*common, self.image_registry) if within else common


def listed(text: str) -> tuple[str, ...]:
    """Separated by commas."""
    parts = (part.strip() for part in text.split(","))
    return tuple(part for part in parts if part)
