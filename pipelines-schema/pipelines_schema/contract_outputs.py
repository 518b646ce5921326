"""Of the wire contract: what steps leave, and how it travels. See `contract`."""

from __future__ import annotations

from pydantic import Field

from pipelines_schema.wire import WireModel

OUTPUTS_AT_ONCE = 1000
BATCH_BYTES = 4 * 1024 * 1024
"""The most that the files of a batch may have together; a file with more goes alone."""
BATCH_HEAD_BYTES = 4 * 1024 * 1024
MAX_TARGET_BYTES = 4096
"""Of a link, as the kernel has it."""


class ArtifactRef(WireModel):
    name: str
    """Path relative to the workspace, `/` separated, never `..`."""
    size: int
    sha256: str
    mode: int = 0o644
    """Permission bits, 0 to 0o777."""
    modified: int | None = None
    """Seconds since 1970, of the file that the script left."""
    url: str


class OutputLink(WireModel):
    name: str
    target: str
    """As it is written: it may lead anywhere, and nobody but scripts follows it."""


class OutputFolder(WireModel):
    name: str
    mode: int = Field(default=0o755, ge=0, le=0o777)


class DependencySpec(WireModel):
    step_id: str
    name: str
    artifacts: list[ArtifactRef] = []
    links: list[OutputLink] = []
    folders: list[OutputFolder] = []
    """Outer ones before those within them; some folders of files and links may be missing."""


class OutputFile(WireModel):
    """A file of a batch."""

    name: str
    size: int = Field(ge=0, le=BATCH_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mode: int = Field(default=0o644, ge=0, le=0o777)
    modified: int | None = Field(default=None, ge=-(1 << 53), le=1 << 53)


class OutputBatch(WireModel):
    """What stands in the first line of a batch; the contents of its files follow, in their order
    and with nothing between them."""

    files: list[OutputFile] = Field(default=[], max_length=OUTPUTS_AT_ONCE)
    links: list[OutputLink] = Field(default=[], max_length=OUTPUTS_AT_ONCE)
    folders: list[OutputFolder] = Field(default=[], max_length=OUTPUTS_AT_ONCE)


class WantedArtifacts(WireModel):
    """Asks for the contents of artifacts of one dependency, in this order and with nothing between
    them."""

    step_id: str
    names: list[str] = Field(max_length=OUTPUTS_AT_ONCE)
