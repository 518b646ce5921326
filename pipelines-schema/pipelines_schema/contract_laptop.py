"""What `pushrod run --send` tells a coordinator: results that equal steps of later builds may take.

A request is a line of JSON, a `SentRun`, and behind it, for each of its steps in their order, the
frames of its log (`log_frames`, one after the other up to `log.size` bytes of text), then the
contents of its files in their order, with nothing between them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from pipelines_schema.contract_outputs import OUTPUTS_AT_ONCE, OutputFolder, OutputLink
from pipelines_schema.limits import MAX_NAME_CHARACTERS, MAX_STEPS
from pipelines_schema.wire import DIGEST, WireModel

MAX_HEAD_BYTES = 8 * 1024 * 1024
"""Of the line of JSON."""
MAX_SENT_FILES = 20 * OUTPUTS_AT_ONCE
"""Of one step."""
MAX_STEP_NAME = 3 * MAX_NAME_CHARACTERS
"""With the values of its matrix."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Left = Annotated[str, StringConstraints(pattern=r"^(succeeded|failed|skipped) ([0-9a-f]{64})?$")]
"""How a dependency ended, and a digest of the files that it left."""
Digest = Annotated[str, StringConstraints(pattern=DIGEST)]
SettledImage = Annotated[str, StringConstraints(pattern=r"^[^@\s]{0,500}@sha256:[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=1000)]


class SentFile(WireModel):
    name: str
    size: int = Field(ge=0, le=1 << 50)
    sha256: Sha256
    mode: int = Field(default=0o644, ge=0, le=0o777)
    modified: int | None = Field(default=None, ge=-(1 << 53), le=1 << 53)


class SentLog(WireModel):
    size: int = Field(ge=0, le=1 << 50)
    """Bytes of text."""
    sha256: Sha256
    """Of the text."""


class SentStep(WireModel):
    """One that has succeeded, in an image."""

    written: dict[str, Any]
    """The step as the workflow has it, one combination of its matrix: as steps are stored."""
    files: Sha256
    """Which of the `lists` its `inputs` name."""
    image: Digest
    services: dict[str, SettledImage] = {}
    """Name → its image's tag and digest."""
    values: dict[str, ShortDigest] = {}
    """Digests of the variables that its dependencies handed on, by their names."""
    dependencies: dict[str, Left] = {}
    outputs: dict[str, str] = {}
    """What it hands on itself."""
    log: SentLog
    output_files: list[SentFile] = Field(default=[], max_length=MAX_SENT_FILES)
    output_links: list[OutputLink] = Field(default=[], max_length=MAX_SENT_FILES)
    output_folders: list[OutputFolder] = Field(default=[], max_length=MAX_SENT_FILES)


class SentRun(WireModel):
    workflow: Text
    machine: Text
    """The kind, as `uname -m` has it: an image's digest may stand for several."""
    branch: Text | None = None
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    """On which it ran; counts for steps with `git` alone."""
    params: dict[str, str] | None = None
    lists: dict[Sha256, dict[str, str]] = {}
    """The commit's files that `inputs` name, path → mode and id, by their digests."""
    steps: list[SentStep] = Field(min_length=1, max_length=MAX_STEPS)


class RunTaken(WireModel):
    """The answer."""

    build_id: str | None = None
    """Of the build that holds what is new of it."""
    build_number: int | None = None
    taken: list[str] = []
    """Names of steps whose results later builds may take."""
    known: list[str] = []
    """Of those for which there was an equal result already."""
