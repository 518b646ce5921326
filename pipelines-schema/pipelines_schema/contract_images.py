"""Of the wire contract: images, and who may have them. See `contract`."""

from __future__ import annotations

from pydantic import Field

from pipelines_schema.wire import DIGEST, WireModel


class RegistryLogin(WireModel):
    """What a registry is told when it asks who pushes or pulls."""

    host: str
    """With its port where it has one, as references name it: `registry.example:5000`."""
    username: str
    password: str = Field(repr=False)


class ImageBuildSpec(WireModel):
    """An image to build from a Dockerfile, every value filled in."""

    context: str = "."
    """Path of a folder, relative to the workspace."""
    dockerfile: str = "Dockerfile"
    """Path of the file, relative to the context."""
    target: str | None = None
    args: dict[str, str] = {}
    tags: list[str] = []
    push: bool = False
    """To every tag; else the image is only built."""
    platforms: list[str] = []
    """All in one image; empty: the engine's own."""
    cache_from: str | None = None
    cache_to: str | None = None
    """References under which registries keep layers."""
    provenance: bool = False
    sbom: bool = False
    not_pushed_because: str | None = None
    """For people, where the workflow asks for a push that is not done."""
    cache_scope: str = ""
    """Whose cache mounts the build may see: a digest."""
    insecure_registries: list[str] = []
    """Hosts that the operator lets be spoken to by plain http, or by https unchecked."""
    may_split: bool = False
    """An agent whose engine does not run what the Dockerfile runs for one of the platforms may say
    so by `parts` of its completion: others build it then, in parts."""
    part: bool = False
    """It is a part of an image, for the one platform that `platforms` names: pushed by its digest
    alone, to the repository of the first tag."""
    parts: dict[str, str] | None = None
    """Platform → reference with digest: its parts are built, and it is to be made of them; empty
    references where nothing is pushed."""
    settled_images: dict[str, str] | None = None
    """Complete tag → digest: what tags mean in this build, where its steps found or pushed them
    already. Others that the Dockerfile names are to be settled. Where this is missing, the
    coordinator keeps none of them."""


class BuiltImage(WireModel):
    """A reference under which a registry has what a step built."""

    reference: str = Field(min_length=1, max_length=500)
    digest: str = Field(pattern=DIGEST)


class SettleImageRequest(WireModel):
    """Which image an agent found under a tag."""

    epoch: int
    digest: str = Field(pattern=DIGEST)
    reference: str | None = Field(default=None, max_length=500)
    """The complete tag, which a Dockerfile names; where it is missing, the step's own image."""


class SettleImageResponse(WireModel):
    digest: str
    """The image to use: what the first of the build's steps found under the tag."""


class OwnRegistriesSpec(WireModel):
    """Whose images are whose at registries common to all accounts: see `own_registries`."""

    registries: list[str] = []
    account: str
    public: list[str] = []
